"""
The short path of a comparison: pairs that are plainly equal are read, judged and stored without the full rules.

``pair_rows`` reads the pairs whose columns pass the checks of the servers, and ``core/plain_pair.py`` checks the texts.
Every pair that fails a check is left to ``pairs``. Of those that pass, ``pairs`` would store the same result.

The learners of pairs that have ended for good are asked in the same go: so an entry is written once in its life, where
all goes well.
"""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from django.db import Error, connection, transaction
from django.utils.timezone import now

from ..core import plain_pair
from ..core.buckets import Facts, Row, equal_facts, equal_flags
from ..core.data import PairStatus, State
from ..core.histograms import Bin, Learned, equal_bins, learner_bin
from ..core.plain_pair import EqualOutcome, Pair
from ..db import bulk, bulk_update
from ..db.retry import on_contention
from ..delivery import said
from ..ledger import buckets, hosts
from ..models import LedgerEntry
from ..target.prediction import points_for
from .candidates import Fingerprints, Rules
from .pair_rows import AS_READ, EntryRow, read_pairs
from .pairs import ComparisonContext


def store(ids: Sequence[int], context: ComparisonContext, rules: Rules) -> list[int]:
    """
    Store the results of the entries that are plainly equal; return the ids of all others, in their order.

    An entry that another session has changed since it was read is among the others.
    """
    moment = now()
    stamp = str(connection.ops.adapt_datetimefield_value(moment))  # once, and not for every row
    ended_before = moment - timedelta(seconds=context.settings.late_reply_seconds)
    latency = context.settings.grading_deadline_seconds * 1_000_000
    known = hosts.known()
    equal: dict[int, PlainResult] = {}
    to_ask: dict[int, said.Graded] = {}
    for pair, row, seen, ended in read_pairs(ids, moment, ended_before):
        verdict = plain_pair.equal(pair, known, context.styles.style(pair.queue_name), latency, points_for)
        if verdict is None or not context.copies_queues.are_for(pair.queue_name, pair.target_queue_name):
            continue
        stored_with = Fingerprints(rules.of_queue(pair.queue_name), seen, row.digest)
        columns = _columns(pair, verdict, stored_with, row, stamp if ended and row.ended else None)
        equal[pair.entry_id] = PlainResult(row.depends_on, columns)
        if row.to_ask and ended and row.ended:
            asked = said.Graded(pair.raw_header, pair.student_info, pair.learner, row.arrived_at, row.newest)
            to_ask[pair.entry_id] = asked
    # After the rows, and before anything is locked.
    for pk, answer in _answers(to_ask, context).items():
        equal[pk] = equal[pk]._replace(learner=to_ask[pk].learner, answer=answer)
    # In one transaction, however many: no grader's session writes to rows that both systems have graded.
    done = on_contention(functools.partial(_write, equal, moment)) if equal else set()
    return [pk for pk in ids if pk not in done]


def _answers(to_ask: Mapping[int, said.Graded], context: ComparisonContext) -> dict[int, said.Answer]:
    """
    Return what learners' states say. Where they cannot be read, the results are stored all the same, and the rest of
    the run does not ask: each batch would wait for the same timeout. The later look asks, and its error is the run's.
    """
    if context.learners_away:
        return {}
    try:
        return said.of_graded(to_ask, context.settings)
    except Error:
        context.learners_away = True
        return {}


#: Columns that are written with a value of each entry; those of ``_SAME`` have one value for all.
_COLUMNS = (
    *("legacy_correct", "legacy_score", "legacy_seconds", "target_correct", "target_score", "target_seconds"),
    *("target_graded_at", "payload_compared_at", "settled_at"),
    *Fingerprints._fields,
)
_SAME: dict[str, Any] = {
    "result": PairStatus.EQUAL,
    "divergences": "",
    "known": "",
    "graded_pair": True,
    "legacy_state": State.GRADED,
    "target_state": State.GRADED,
}


class PlainResult(NamedTuple):
    """
    The result to store of a pair: its entry's columns AS_READ, and the values that differ from pair to pair.

    If the learner was asked too, ``answer`` is what the state of that ``learner`` says.
    """

    depends_on: tuple[Any, ...]
    columns: tuple[Any, ...]
    learner: str = ""
    answer: said.Answer | None = None


def _columns(
    pair: Pair, verdict: EqualOutcome, seen: Fingerprints, row: EntryRow, settled_at: str | None
) -> tuple[Any, ...]:
    took = target_took = None
    if pair.is_timed and pair.took is not None and pair.target_took is not None:
        took, target_took = pair.took / 1e6, pair.target_took / 1e6
    ends = row.graded_at, row.payload_compared_at, settled_at
    return *verdict, took, *verdict, target_took, *ends, *seen


#: Further columns that an entry is counted by. The first ``NEWS`` are empty in an entry that was never counted.
COUNTED = (
    *("bucket_id", "moved_at", "twin_submission_id", "purged_at", "learner_said"),
    *("course_id", "queue_name", "item_id", "arrived_at", "history", "leases", "echo", "points_possible"),
)
NEWS = 5
_COUNTED_ONLY = len(COUNTED) - NEWS


#: What is written of a learner who was asked with the comparison (``delivery.notes`` writes what is asked later).
_LEARNED = ("learner_said", "learner_correct", "learner_score", "learner_settled_at")


def _write(batch: dict[int, PlainResult], moment: datetime) -> set[int]:
    """Store a batch, and return the ids of the entries that were stored."""
    end = 1 + len(AS_READ)
    changes = buckets.Changes()
    with transaction.atomic():
        columns = ("id", *AS_READ, *COUNTED, "learner", "learner_settled_at")
        locked = bulk.select(LedgerEntry, columns, lock=True, id=list(batch))
        there = {row[0]: row[end:] for row in locked if row[1:end] == batch[row[0]].depends_on}
        news = {pk: (*row[NEWS:-2], *batch[pk].columns) for pk, row in there.items() if not any(row[:NEWS])}
        ids = _count(news, changes)
        if others := [pk for pk in there if pk not in news]:
            for pk, old in buckets.counted_entries(others).items():
                ids[pk] = changes.move(old, old.row._replace(**_SAME, **_restored(batch[pk].columns)))
        # Who was forgotten, or asked by another session, since the entry was read is left to the next look.
        same = {pk for pk in news if there[pk][-2:] == (batch[pk].learner, None)}
        answers = {pk: answer for pk in same if (answer := batch[pk].answer) is not None}
        _count_learners(news, answers, changes)
        stamp = connection.ops.adapt_datetimefield_value(moment)
        rows = {pk: (*batch[pk].columns, ids[pk]) for pk in there if pk not in answers}
        with_learners = {
            pk: (*batch[pk].columns, ids[pk], answer.said.value, *(answer.has or (None, None)), stamp)
            for pk, answer in answers.items()
        }
        of_all = {"compared_at": moment, "room": "", **_SAME}
        bulk_update.update(LedgerEntry, (*_COLUMNS, "bucket_id"), rows, **of_all)
        bulk_update.update(LedgerEntry, (*_COLUMNS, "bucket_id", *_LEARNED), with_learners, **of_all)
        changes.write()
    return set(there)


def _count_learners(
    news: Mapping[int, tuple[Any, ...]], answers: Mapping[int, said.Answer], changes: buckets.Changes
) -> None:
    """Count what the learners have of entries that were never counted."""
    bins: Counter[Bin | None] = Counter()
    for pk, answer in answers.items():
        course_id, correct, score = news[pk][0], *news[pk][_COUNTED_ONLY : _COUNTED_ONLY + 2]
        gave = State.GRADED, correct, score
        bins[learner_bin(Learned(course_id, *gave, *gave, None, answer.said, *(answer.has or (None, None))))] += 1
    for place, number in bins.items():
        if place is not None:
            changes.place([place], number)


def _count(rows: dict[int, tuple[Any, ...]], changes: buckets.Changes) -> dict[int, int]:
    """Count entries that were never counted, and return the bucket of each by its id."""
    alike: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    bins: Counter[Bin] = Counter()
    for pk, row in rows.items():
        course_id, queue_name, item_id, arrived_at, history, leases, echo, possible, *columns = row
        correct, score, took, _, _, target_took, graded_at, *_ = columns
        graded_on = day_of(graded_at)
        flags = equal_flags(echo=echo, history=history, leased=leases, timed=took is not None)
        alike[course_id, queue_name, item_id, day_of(arrived_at), graded_on, correct, flags].append(pk)
        bins.update(equal_bins(course_id, queue_name, graded_on, correct, score, possible, took, target_took))
    for place, number in bins.items():
        changes.place([place], number)
    return add_alike(alike, equal_facts, changes)


def add_alike(
    alike: Mapping[tuple[Any, ...], list[int]], facts_of: Callable[..., Facts], changes: buckets.Changes
) -> dict[int, int]:
    """Count entries together that have the same facts, and return the bucket of each by its id."""
    ids: dict[int, int] = {}
    for key, pks in alike.items():
        ids |= dict.fromkeys(pks, changes.add(facts_of(*key), len(pks)))
    return ids


def _restored(columns: tuple[Any, ...]) -> dict[str, Any]:
    """Return the stored columns that are counted by, as Django's types."""
    found = {name: value for name, value in zip(_COLUMNS, columns, strict=True) if name in Row._fields}
    for name in ("target_graded_at", "payload_compared_at"):
        found[name] = datetime.fromisoformat(found[name]).replace(tzinfo=UTC)
    return found


def day_of(value: datetime | str) -> date:
    """Return the day, in UTC, of a time as the database returns it."""
    return date.fromisoformat(value[:10]) if isinstance(value, str) else value.date()
