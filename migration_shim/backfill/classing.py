"""Classing legacy's rows for a backfill: a page of rows in, a page of classed rows out."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..conf import ShimSettings
from ..core.classification import Decision, ParsedRow, Policy, classify, legacy_state
from ..core.data import Leg, LegacyRow, RowClass, State
from ..core.errors import Malformed
from ..core.wire import parse_callback, parse_header
from ..db import bulk
from ..legacy import by_callback, reading
from ..legacy.files import Source
from ..models import LedgerEntry
from ..target import collation, writer

#: Classes of rows that are written.
WRITTEN = (RowClass.IMPORTED, RowClass.FINAL)


@dataclass(slots=True, kw_only=True)
class ClassedRow:
    """One legacy row, its class, and what writing it needs. ``state`` is legacy's; only a row to be written has one."""

    parsed: ParsedRow
    decision: Decision
    keys: dict[str, str]
    entry: LedgerEntry | None
    state: State | None = None
    #: The storage key of the missing file that keeps the row on legacy; else empty.
    missing: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchContext:
    """What all batches of one run share."""

    policy: Policy
    settings: ShimSettings
    storage: Source
    #: Ids of the graded rows that ``--per-problem`` selects.
    wanted_history: frozenset[int]
    #: Whether the rows written are read back before they are committed.
    verify: bool
    #: The points resolver's answers by course and problem: it is asked once a run.
    points: dict[tuple[str, str], int] = field(default_factory=dict)
    #: Which StudentItem each row of a plan would go to, as far as the plan has come.
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
    """
    Return the rules by which a backfill selects rows; by default it selects everything that is in flight.

    Args:
        settings: the settings in force.
        courses: their ids; None for all.
        queues: their names on legacy; None for all.
        history: select graded rows too.
        collided: select rows too that XQueue retired for another row with the same first 128 characters of callback.
        unsampled: ignore the setting ``SAMPLE_PERCENT``: select all learners.
    """
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


def class_page(
    page: list[LegacyRow], policy: Policy, storage: Source, wanted_history: frozenset[int]
) -> list[ClassedRow]:
    """
    Return the classed rows of a page, one for each row, in the same order.

    Args:
        page: legacy's rows.
        policy: which rows are selected.
        storage: where legacy's files are.
        wanted_history: ids of the graded rows that ``--per-problem`` selects.
    """
    read_rows = [reading.read_or_why(row, storage) for row in page]
    outside = [reading.read(row, storage)[0] for row in by_callback.siblings_outside(page)]
    together = reading.siblings_by_callback([*(parsed for parsed, *_ in read_rows), *outside])
    identities = [parsed.digests.identity for parsed, *_ in read_rows if parsed.digests]
    there = [pk for (pk,) in bulk.select(LedgerEntry, ("id",), identity=identities)]
    entries = {entry.identity: entry for entry in LedgerEntry.objects.filter(pk__in=there)}
    classed = []
    for parsed, keys, unread in read_rows:
        missing = unread.name if unread else ""
        entry = entries.get(parsed.digests.identity) if parsed.digests else None
        # An entry without its residue is not copied any more: a grader would get half of the submission.
        present = entry is not None and (entry.target_leg == Leg.STORED or entry.purged_at is not None)
        owed = entry is not None and entry.target_leg in (Leg.MISSING, Leg.FAILED)
        wanted = owed and entry is not None and entry.superseded_at is None
        siblings = reading.siblings_of(parsed, together)
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
    Return the ids of the newest ``per_problem`` acknowledged rows of every problem.

    ``headers`` are (id, header) in the order of the ids, as ``legacy.rows.acknowledged_headers()`` yields them, and are
    read once. Memory grows with problems times ``per_problem``, not with the history.
    """
    newest: dict[tuple[str, str], deque[int]] = defaultdict(lambda: deque(maxlen=per_problem))
    for row_id, header in headers:
        try:
            callback = parse_callback(parse_header(header).callback_url)
        except Malformed:
            continue  # classed as malformed when its page is read
        newest[callback.course_id, callback.item_id].append(row_id)
    return frozenset(row_id for ids in newest.values() for row_id in ids)
