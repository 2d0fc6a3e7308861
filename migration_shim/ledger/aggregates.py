"""Counts over the ledger of a course, for documents, reports and the gate: what is stored, whatever one run saw."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, cast

from django.db import connection

from ..core.buckets import Flag, parse_differences
from ..core.data import DivergenceClass, PairStatus
from ..core.documents.reconcile_course import ClassCounts, Cohort, ConfusedPairs, Day, Latency
from ..core.histograms import Bin, Kind, lower_edge, quantile, upper_edge
from ..db import bulk
from ..models import Divergence, LedgerEntry
from . import counts

#: What an entry says of either side, of the learner's, and of why a side has no outcome; a divergence is told with it.
SIDES = (
    "authority",
    "legacy_state",
    "legacy_correct",
    "legacy_score",
    "legacy_seconds",
    "legacy_leg",
    "legacy_reason",
    "target_state",
    "target_correct",
    "target_score",
    "target_seconds",
    "target_graded_at",
    "target_leg",
    "target_reason",
    "leases",
    "points_possible",
    "learner_said",
    "learner_correct",
    "learner_score",
)
_TIMES = ("arrived_at", "found_at", "target_graded_at")
_BOOLEANS = ("legacy_correct", "target_correct", "learner_correct")
#: What is told of a divergence, by where it stands: in the divergence ``v`` or in its entry ``l``.
_TOLD = {
    "entry": "v.entry_id",
    "legacy_id": "l.legacy_id",
    "submission_id": "l.target_submission_id",
    "course": "v.course_id",
    "problem": "l.item_id",
    "queue": "l.queue_name",
    "learner": "l.learner",
    "arrived_at": "l.arrived_at",
    "class": "v.klass",
    "what": "v.what",
    "known": "v.known_id",
    "found_at": "v.found_at",
    **{name: f"l.{name}" for name in SIDES},
}
_TIMES_AT, _BOOLEANS_AT = ([place for place, name in enumerate(_TOLD) if name in some] for some in (_TIMES, _BOOLEANS))
#: Times as text: the driver takes longer to make a time of one than all else that is done with it.
_READ = [f"CAST({column} AS CHAR)" if name in _TIMES else column for name, column in _TOLD.items()]
_DIVERGENCES = (
    f"SELECT {', '.join(_READ)}, v.id FROM {Divergence._meta.db_table} v"
    f" JOIN {LedgerEntry._meta.db_table} l ON l.id = v.entry_id"
    " WHERE v.course_id = %s AND v.cured_at IS NULL AND v.id > %s ORDER BY v.id LIMIT %s"
)
#: Entries listed of each class on record of a run; of more there is the number only.
LISTED = 500
_QUANTILES = (("median", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99))
#: Which end of a bin is quoted of which side: a bin errs against the target.
_SIDES = (("legacy", Kind.LEGACY_SECONDS, lower_edge), ("target", Kind.TARGET_SECONDS, upper_edge))


@dataclass(frozen=True, slots=True, kw_only=True)
class CourseAggregates:
    """
    The totals of the results on a course's entries.

    Args:
        queues: by the names that CAPA gave them.
        statuses: how many entries have each result.
        known: how many entries have each known difference, by its name or its number in the register.
        cohorts: the outcomes of the pairs of each queue and problem.
        payloads_compared: how many entries had their payload compared.
    """

    queues: list[str]
    statuses: Counter[str]
    known: dict[str, int]
    cohorts: list[Cohort]
    payloads_compared: int


def of_course(course_id: str, numbers: counts.Numbers) -> CourseAggregates:
    """Return the totals of a course by queue, problem and result. ``numbers`` come from ``counts.facts``."""
    statuses: Counter[str] = Counter()
    known: Counter[str] = Counter()
    cohorts: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for facts, number in numbers:
        statuses[facts.result] += number
        if facts.known and facts.result != PairStatus.WAITING:  # of one that waits it says for what
            known[facts.known] += number
        cohorts[facts.queue_name, facts.item_id][facts.result] += number
    return CourseAggregates(
        queues=sorted({facts.queue_name for facts, _ in numbers}),
        statuses=statuses,
        known=dict(sorted(known.items())),
        cohorts=[
            _cohort(course_id, *scope, found)
            for scope, found in sorted(cohorts.items())
            if set(found) - {PairStatus.NONE}
        ],
        payloads_compared=sum(number for facts, number in numbers if facts.has(Flag.PAYLOAD)),
    )


def _cohort(course_id: str, queue_name: str, item_id: str, found: Counter[str]) -> Cohort:
    entries, pairs = found.total(), found.total() - found[PairStatus.NONE]
    statuses = {status: found[status] for status in sorted(set(found) - {PairStatus.NONE.value})}
    scope = {"course": course_id, "queue": queue_name, "problem": item_id}
    return cast(Cohort, scope | {"entries": entries, "pairs": pairs} | statuses)


def classes(numbers: counts.Numbers) -> ClassCounts:
    """Return how many divergences of each class there are, the registered ones included, the signed ones not."""
    found: Counter[DivergenceClass] = Counter()
    for facts, number in numbers:
        if facts.differences:
            found.update(dict.fromkeys(parse_differences(facts.differences), number))
    return cast(ClassCounts, {klass.value: found[klass] for klass in DivergenceClass})


def confusion(places: Iterable[tuple[Bin, int]]) -> list[ConfusedPairs]:
    """
    Return how legacy's results compare with the target's, in a few words or tenths of a score.

    Of the bins of a course, with how many entries each holds, those of other kinds are passed over.
    """
    pairs: Counter[tuple[str, str]] = Counter()
    for place, number in places:
        if place.kind == Kind.CONFUSION:
            one, other = place.bin.split("|")
            pairs[one, other] += number
    return [{"legacy": one, "target": other, "pairs": number} for (one, other), number in sorted(pairs.items())]


def daily(numbers: counts.Numbers) -> list[Day]:
    """Return, by day of arrival (UTC), how many entries were compared and how many diverge."""
    compared: Counter[date] = Counter()
    diverged: Counter[date] = Counter()
    for facts, number in numbers:
        if facts.result != PairStatus.NONE:
            compared[facts.arrived_on] += number
            diverged[facts.arrived_on] += number * (facts.result == PairStatus.DIVERGED)
    return [
        {"day": day.isoformat(), "compared": number, "diverged": diverged[day]}
        for day, number in sorted(compared.items())
    ]


def seconds(course_id: str, **wanted: Any) -> list[tuple[Bin, int]]:
    """Return how long the pairs of a course took that both systems received at the same moment, for ``latency``."""
    return counts.bins(course_id, Kind.LEGACY_SECONDS, Kind.TARGET_SECONDS, **wanted)


def latency(places: Iterable[tuple[Bin, int]]) -> Latency:
    """
    Return the seconds from arrival to return on each side, over pairs that both systems received at the same moment.

    The quantiles come from a histogram: legacy's may be up to 2 % too low, the target's up to 2 % too high. Bins of
    other kinds are passed over.
    """
    numbers: dict[str, Counter[int]] = {kind: Counter() for _, kind, _ in _SIDES}
    for place, number in places:
        if place.kind in numbers:
            numbers[place.kind][int(place.bin)] += number
    found: dict[str, dict[str, Any]] = {}
    for side, kind, edge in _SIDES:
        at = {name: quantile(numbers[kind], share) for name, share in _QUANTILES}
        quantiles = {name: None if place is None else round(edge(place), 3) for name, place in at.items()}
        found[side] = {"graded": numbers[kind].total(), **quantiles}
    return cast(Latency, found)


def divergences(course_id: str) -> Iterator[dict[str, Any]]:
    """
    Yield every divergence on record that is not signed for, in keyset pages, with what finds its rows again.

    Times are in ISO format.
    """
    after, zone = 0, connection.timezone
    size = 1000
    while page := bulk.ask(_DIVERGENCES, [course_id, after, size]):
        columns: list[Sequence[Any]] = list(zip(*page, strict=True))
        for place in _TIMES_AT:
            columns[place] = [value and bulk.moment(value, zone).isoformat() for value in columns[place]]
        for place in _BOOLEANS_AT:
            columns[place] = [value if value is None else bool(value) for value in columns[place]]
        *told, ids = columns
        for values in zip(*told, strict=True):
            yield dict(zip(_TOLD, values, strict=True))
        after = ids[-1]
        if len(page) < size:
            return


def on_record(course_id: str, found: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """
    Return which divergences are on record: for each class their number, and the entries of the newest ``LISTED``.

    A later report tells by it what has gone since. All classes that are listed whole are read by one statement.

    Args:
        course_id: the course.
        found: the number of divergences by class (``classes``).
    """
    there = {klass: number for klass, number in found.items() if number}
    few = [klass for klass, number in there.items() if number <= LISTED]
    listed: dict[str, list[int]] = {klass: [] for klass in there}
    # The index has them by class: sorted here, the server need not sort them.
    for _, klass, entry_id in sorted(_on_record(course_id, few), reverse=True) if few else ():
        listed[klass].append(entry_id)
    for klass in there.keys() - set(few):
        newest = _on_record(course_id, [klass], f" ORDER BY id DESC LIMIT {LISTED}")
        listed[klass] = [entry_id for _, _, entry_id in newest]
    return {klass: {"number": number, "entries": listed[klass][:LISTED]} for klass, number in there.items()}


def _on_record(course_id: str, among: list[str], more: str = "") -> list[tuple[Any, ...]]:
    """Return the divergences of these classes: id, class and entry."""
    return bulk.ask(
        f"SELECT id, klass, entry_id FROM {Divergence._meta.db_table} WHERE course_id = %s AND cured_at IS NULL"
        f" AND klass IN ({', '.join(['%s'] * len(among))}){more}",
        [course_id, *among],
    )
