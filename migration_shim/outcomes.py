"""Legacy's side of ledger entries: what its rows say became of each submission."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

from .backfill import files, plan
from .conf import ShimSettings
from .core.mapping import ParsedRow, is_copy, legacy_state
from .core.scoring import read_reply
from .data import LegacyRow, Outcome, State
from .legacy import rows as legacy_rows
from .models import LedgerEntry

_RETIRED_WITHOUT_A_WORD = (State.GIVEN_UP, State.COLLIDED)


@dataclass(frozen=True, slots=True, kw_only=True)
class LegacySide:
    """One legacy row and the outcome read out of it."""

    row: LegacyRow
    outcome: Outcome


def legacy_sides(entries: Iterable[LedgerEntry], settings: ShimSettings) -> dict[int, LegacySide]:
    """Legacy's side of these entries, by legacy id; what is not there is left out. Two queries, however many rows."""
    storage = files.legacy_storage(settings)
    linked = {entry.legacy_id: entry for entry in entries if entry.legacy_id is not None}
    rows = legacy_rows.by_id(linked)
    families = plan.family(rows.values(), storage)
    sides = {}
    for row in rows.values():
        parsed = plan.read(row, storage)[0]
        outcome = _outcome(parsed, plan.others(parsed, families))
        if outcome.state in _RETIRED_WITHOUT_A_WORD and not row.num_failures and linked[row.id].superseded_at:
            # The router has retired it for a newer attempt that XQueue never saw.
            outcome = dataclasses.replace(outcome, state=State.SUPERSEDED)
        sides[row.id] = LegacySide(row=row, outcome=outcome)
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
