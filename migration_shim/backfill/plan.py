"""Reading legacy rows with all that is needed to class them: a page of rows in, a page of classed rows out."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass

from django.core.files.storage import Storage

from ..conf import ShimSettings
from ..core.mapping import Decision, ParsedRow, Policy, classify, parse_row
from ..core.wire import parse_callback, parse_header
from ..data import Leg, LegacyRow, RowClass
from ..errors import FileUnavailable, Malformed
from ..legacy import rows as legacy_rows
from ..models import LedgerEntry
from ..target import writer
from .files import file_keys


@dataclass(slots=True, kw_only=True)
class ClassedRow:
    """One row, its class, and what writing it would need."""

    parsed: ParsedRow
    decision: Decision
    keys: dict[str, str]
    entry: LedgerEntry | None


def policy(
    settings: ShimSettings,
    *,
    courses: frozenset[str] | None = None,
    queues: frozenset[str] | None = None,
    history: bool = False,
    unsampled: bool = False,
) -> Policy:
    """What a backfill of this scope wants; by default, everything that is in flight."""
    return Policy(
        courses=courses,
        queues=queues,
        history=history,
        answer_limit=writer.ANSWER_LIMIT,
        files_readable=bool(settings.legacy_storage),
        sample_percent={} if unsampled else settings.sample_percent,
    )


def read(row: LegacyRow, storage: Storage | None) -> tuple[ParsedRow, dict[str, str]]:
    """One row read: parsed, and its files' keys. A row whose file names cannot be read says so in ``problem``."""
    try:
        keys = file_keys(row, storage)
    except FileUnavailable:
        return parse_row(row, None), {}
    return parse_row(row, keys), keys


def family(page: Iterable[LegacyRow], storage: Storage | None) -> dict[str, list[ParsedRow]]:
    """All rows that share a truncated callback with a row of the page, read, by ``callback_key``."""
    return {key: [read(row, storage)[0] for row in rows] for key, rows in legacy_rows.siblings(page).items()}


def others(parsed: ParsedRow, families: dict[str, list[ParsedRow]]) -> list[ParsedRow]:
    """The siblings of one row, without itself."""
    rows = families.get(legacy_rows.callback_key(parsed.row.lms_callback_url), [])
    return [other for other in rows if other.row.id != parsed.row.id]


def class_page(
    page: list[LegacyRow], policy: Policy, storage: Storage | None, wanted_history: frozenset[int]
) -> list[ClassedRow]:
    """Class every row of a page. ``wanted_history`` holds the ids of the graded rows that --per-problem leaves in."""
    families = family(page, storage)
    read_rows = [read(row, storage) for row in page]
    identities = [parsed.digests.identity for parsed, _ in read_rows if parsed.digests]
    entries = {entry.identity: entry for entry in LedgerEntry.objects.filter(identity__in=identities)}
    classed = []
    for parsed, keys in read_rows:
        entry = entries.get(parsed.digests.identity) if parsed.digests else None
        present = entry is not None and entry.target_leg == Leg.STORED
        owed = entry is not None and entry.target_leg in (Leg.MISSING, Leg.FAILED)
        wanted = owed and entry.superseded_at is None
        decision = classify(parsed, others(parsed, families), policy, present=present, wanted=wanted)
        if decision.row_class is RowClass.FINAL and parsed.row.id not in wanted_history:
            decision = Decision(row_class=RowClass.OUT_OF_SCOPE, reason="beyond_per_problem")
        classed.append(ClassedRow(parsed=parsed, decision=decision, keys=keys, entry=entry))
    return classed


def newest_per_problem(per_problem: int, size: int) -> frozenset[int]:
    """
    The ids of the newest ``per_problem`` acknowledged rows of every problem, by one walk over the headers.

    Memory grows with problems times ``per_problem``, not with the history.
    """
    newest: dict[tuple[str, str], deque[int]] = defaultdict(lambda: deque(maxlen=per_problem))
    for row_id, header in legacy_rows.acknowledged_headers(size=size):
        try:
            callback = parse_callback(parse_header(header).callback_url)
        except Malformed:
            continue  # classed as malformed when its page is read
        newest[callback.course_id, callback.item_id].append(row_id)
    return frozenset(row_id for ids in newest.values() for row_id in ids)
