"""Legacy's side of ledger entries: what its rows say became of each submission."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .backfill import files, plan
from .conf import ShimSettings
from .core.mapping import ParsedRow, is_copy, legacy_state
from .core.scoring import read_reply
from .data import LegacyRow, Outcome, State
from .legacy import rows as legacy_rows
from .models import LedgerEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class LegacySide:
    """One legacy row and the outcome read out of it."""

    row: LegacyRow
    outcome: Outcome


def legacy_sides(entries: Iterable[LedgerEntry], settings: ShimSettings) -> dict[int, LegacySide]:
    """Legacy's side of these entries, by legacy id; what is not there is left out. Two queries, however many rows."""
    storage = files.legacy_storage(settings)
    rows = legacy_rows.by_id(entry.legacy_id for entry in entries if entry.legacy_id is not None)
    families = plan.family(rows.values(), storage)
    sides = {}
    for row in rows.values():
        parsed = plan.read(row, storage)[0]
        sides[row.id] = LegacySide(row=row, outcome=_outcome(parsed, plan.others(parsed, families)))
    return sides


def _outcome(parsed: ParsedRow, siblings: list[ParsedRow]) -> Outcome:
    state, row = legacy_state(parsed, siblings), parsed.row
    return Outcome(
        state=state,
        copy=is_copy(row),
        reply=read_reply(row.grader_reply) if state is State.GRADED else None,
        arrived_at=row.arrival_time,
        returned_at=row.return_time,
    )
