"""Counts over the ledger of a course, for documents, reports and the gate: what is stored, whatever one run saw."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, cast

from ..core.buckets import Flag, parse_differences
from ..core.data import DivergenceClass, PairStatus
from ..core.documents.reconcile_course import ClassCounts, Cohort, ConfusedPairs, Day, Latency
from ..core.histograms import Bin, Kind, lower_edge, quantile, upper_edge
from ..models import Divergence
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
#: Which of what ``divergences`` yields are times.
TIMES = ("arrived_at", "found_at", "target_graded_at")
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
    """Yield every divergence on record that is not signed for, in keyset pages, with what finds its rows again."""
    columns = {
        "entry": "entry_id",
        "legacy_id": "entry__legacy_id",
        "submission_id": "entry__target_submission_id",
        "course": "course_id",
        "problem": "entry__item_id",
        "queue": "entry__queue_name",
        "learner": "entry__learner",
        "arrived_at": "entry__arrived_at",
        "class": "klass",
        "what": "what",
        "known": "known_id",
        "found_at": "found_at",
        **{name: f"entry__{name}" for name in SIDES},
    }
    found = Divergence.objects.filter(course_id=course_id, cured_at=None).order_by("id")
    rows = found.values_list("id", *columns.values())
    after = 0
    size = 1000
    while page := list(rows.filter(id__gt=after)[:size]):
        yield from (dict(zip(columns, values, strict=True)) for _, *values in page)
        if len(page) < size:
            return
        after = page[-1][0]


def on_record(course_id: str, found: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """
    Return which divergences are on record: for each class their number, and the entries of the newest ``LISTED``.

    A later report tells by it what has gone since. A class without any costs no statement.

    Args:
        course_id: the course.
        found: the number of divergences by class (``classes``).
    """
    rows = Divergence.objects.filter(course_id=course_id, cured_at=None).order_by("-id")
    return {
        klass: {"number": number, "entries": list(rows.filter(klass=klass).values_list("entry_id", flat=True)[:LISTED])}
        for klass, number in found.items()
        if number
    }
