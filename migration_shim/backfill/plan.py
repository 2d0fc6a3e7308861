"""Reading legacy rows with all that is needed to class them: a page of rows in, a page of classed rows out."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from .. import multirow
from ..conf import ShimSettings
from ..core.family import Family
from ..core.mapping import Decision, ParsedRow, Policy, classify, legacy_state, parse_row
from ..core.wire import parse_callback, parse_header
from ..data import Leg, LegacyRow, RowClass, State, Whose
from ..errors import FileUnavailable, Malformed
from ..legacy import rows as legacy_rows
from ..models import LedgerEntry
from ..target import collation, writer
from .files import Source, file_keys, may_pass

#: Classes of rows that are written.
WRITTEN = (RowClass.IMPORTED, RowClass.FINAL)


@dataclass(slots=True, kw_only=True)
class ClassedRow:
    """One row, its class, and what writing it would need. ``state`` is legacy's own, of a row that is to be written."""

    parsed: ParsedRow
    decision: Decision
    keys: dict[str, str]
    entry: LedgerEntry | None
    state: State | None = None
    #: The storage key of the file for want of which the row stays on legacy.
    missing: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What the batches of one run share."""

    policy: Policy
    settings: ShimSettings
    storage: Source
    #: Ids of the graded rows that --per-problem leaves in.
    wanted_history: frozenset[int]
    #: Whether the rows written are read back before they are committed.
    verify: bool
    #: What the points resolver has said so far, by course and problem: it is asked once a run.
    points: dict[tuple[str, str], tuple[int, bool]] = field(default_factory=dict)
    #: What a plan has found to go to which StudentItem.
    taken: collation.Taken = field(default_factory=collation.Taken)


def policy(
    settings: ShimSettings,
    *,
    courses: frozenset[str] | None = None,
    queues: frozenset[str] | None = None,
    history: bool = False,
    collided: bool = False,
    unsampled: bool = False,
) -> Policy:
    """What a backfill of this scope wants; by default, everything that is in flight."""
    return Policy(
        courses=courses,
        queues=queues,
        history=history,
        collided=collided,
        reverse_suffix=settings.reverse_queue_suffix,
        suffixes=settings.suffixes,
        answer_limit=writer.ANSWER_LIMIT,
        files_readable=bool(settings.legacy_storage or settings.legacy_file_hosts),
        sample_percent={} if unsampled else settings.sample_percent,
    )


def read(row: LegacyRow, storage: Source) -> tuple[ParsedRow, dict[str, str]]:
    """One row read: parsed, and its files' keys. A row whose file names cannot be read says so in ``problem``."""
    parsed, keys, _ = _read(row, storage)
    return parsed, keys


def read_for_now(row: LegacyRow, storage: Source) -> tuple[ParsedRow, bool]:
    """One row read, and whether its file names, which cannot be read now, may be readable another time."""
    parsed, _, error = _read(row, storage)
    return parsed, may_pass(error)


def _read(row: LegacyRow, storage: Source) -> tuple[ParsedRow, dict[str, str], FileUnavailable | None]:
    """With the reason why the names of its files cannot be read."""
    if row.s3_keys in ("", "{}") or row.whose is not Whose.OURS:
        return parse_row(row, ()), {}, None
    try:
        keys = file_keys(row, storage)
    except FileUnavailable as error:
        return parse_row(row, None), {}, error
    return parse_row(row, keys), keys, None


def family(page: Iterable[LegacyRow], storage: Source) -> dict[str, Family]:
    """All rows that share a truncated callback with a row of the page, read, by ``callback_key``."""
    return {key: Family(read(row, storage)[0] for row in rows) for key, rows in legacy_rows.siblings(page).items()}


def families(rows: Iterable[ParsedRow]) -> dict[str, Family]:
    """Rows that were read and that share a truncated callback with another one, by ``callback_key``."""
    found: dict[str, list[ParsedRow]] = defaultdict(list)
    for parsed in rows:
        found[legacy_rows.callback_key(parsed.row.lms_callback_url)].append(parsed)
    return {key: Family(same) for key, same in found.items() if len(same) > 1}


def others(parsed: ParsedRow, families: dict[str, Family]) -> list[ParsedRow]:
    """The siblings of one row by which it is told what it is. See ``Family.beside``."""
    found = families.get(legacy_rows.callback_key(parsed.row.lms_callback_url))
    return found.beside(parsed) if found is not None else []


def class_page(
    page: list[LegacyRow], policy: Policy, storage: Source, wanted_history: frozenset[int]
) -> list[ClassedRow]:
    """Class every row of a page. ``wanted_history`` holds the ids of the graded rows that --per-problem leaves in."""
    read_rows = [_read(row, storage) for row in page]
    outside = [read(row, storage)[0] for row in legacy_rows.siblings_outside(page)]
    together = families([*(parsed for parsed, *_ in read_rows), *outside])
    identities = [parsed.digests.identity for parsed, *_ in read_rows if parsed.digests]
    there = [pk for (pk,) in multirow.select(LedgerEntry, ("id",), identity=identities)]
    entries = {entry.identity: entry for entry in LedgerEntry.objects.filter(pk__in=there)}
    classed = []
    for parsed, keys, unread in read_rows:
        missing = unread.name if unread else ""
        entry = entries.get(parsed.digests.identity) if parsed.digests else None
        # One whose residue was dropped is not copied any more: a grader would get half of it.
        present = entry is not None and (entry.target_leg == Leg.STORED or entry.purged_at is not None)
        owed = entry is not None and entry.target_leg in (Leg.MISSING, Leg.FAILED)
        wanted = owed and entry is not None and entry.superseded_at is None
        siblings = others(parsed, together)
        decision = classify(parsed, siblings, policy, present=present, wanted=wanted)
        if decision.row_class is RowClass.FINAL and parsed.row.id not in wanted_history:
            reason = "beyond_per_problem" if policy.history else "graded"
            decision = Decision(row_class=RowClass.OUT_OF_SCOPE, reason=reason)
        state = legacy_state(parsed, siblings) if decision.row_class in WRITTEN else None
        classed.append(
            ClassedRow(parsed=parsed, decision=decision, keys=keys, entry=entry, state=state, missing=missing)
        )
    return classed


def newest_per_problem(per_problem: int, headers: Iterable[tuple[int, str]]) -> frozenset[int]:
    """
    The ids of the newest ``per_problem`` acknowledged rows of every problem, by one walk over the headers.

    Memory grows with problems times ``per_problem``, not with the history. ``headers`` is
    ``legacy.rows.acknowledged_headers()``, or what is left of it by a run that may be stopped on the way.
    """
    newest: dict[tuple[str, str], deque[int]] = defaultdict(lambda: deque(maxlen=per_problem))
    for row_id, header in headers:
        try:
            callback = parse_callback(parse_header(header).callback_url)
        except Malformed:
            continue  # classed as malformed when its page is read
        newest[callback.course_id, callback.item_id].append(row_id)
    return frozenset(row_id for ids in newest.values() for row_id in ids)
