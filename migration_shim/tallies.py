"""Counts over the ledger of a course: documents, reports and the gate say what is stored, whatever one run saw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from django.db.models import Case, Count, F, FloatField, Q, QuerySet, Value, When, Window
from django.db.models.functions import Floor, RowNumber, TruncDate

from .core.totals import binned
from .data import DivergenceClass, PairStatus, State
from .models import Divergence, LedgerEntry

_QUANTILES = (("median", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99))


def entries_of(course_id: str) -> QuerySet[LedgerEntry]:
    """A course's ledger entries."""
    return LedgerEntry.objects.filter(course_id=course_id)


def queues(course_id: str) -> list[str]:
    """The queues of a course, by the names that CAPA gave them."""
    return sorted(entries_of(course_id).order_by().values_list("queue_name", flat=True).distinct())


def cohorts(course_id: str) -> list[dict[str, Any]]:
    """How the pairs of each queue and problem came out."""
    statuses = [status for status in PairStatus if status is not PairStatus.NONE]
    counts = {status.value: Count("id", filter=Q(result=status)) for status in statuses}
    rows = entries_of(course_id).values("queue_name", "item_id").annotate(entries=Count("id"), **counts)
    described = []
    for row in rows.order_by("queue_name", "item_id"):
        found = {status.value: row[status.value] for status in statuses if row[status.value]}
        pairs = sum(found.values())
        if pairs:
            scope = {"course": course_id, "queue": row["queue_name"], "problem": row["item_id"]}
            described.append(scope | {"entries": row["entries"], "pairs": pairs} | dict(sorted(found.items())))
    return described


def statuses(course_id: str) -> Counter[str]:
    """How many entries have each result."""
    rows = entries_of(course_id).order_by().values("result").annotate(number=Count("id"))
    return Counter({row["result"]: row["number"] for row in rows})


def classes(course_id: str) -> dict[str, int]:
    """How many divergences there are of each class, the registered ones included."""
    rows = Divergence.objects.filter(course_id=course_id).order_by().values("klass").annotate(number=Count("id"))
    found = {row["klass"]: row["number"] for row in rows}
    return {klass.value: found.get(klass.value, 0) for klass in DivergenceClass}


def known(course_id: str) -> dict[str, int]:
    """How many entries have each known difference, by its name or its number in the register."""
    rows = entries_of(course_id).exclude(known="").order_by().values("known").annotate(number=Count("id"))
    return {row["known"]: row["number"] for row in sorted(rows, key=lambda row: row["known"])}


def confusion(course_id: str) -> list[dict[str, Any]]:
    """What legacy's graders said against what the target's said, in a few words or tenths of a score."""
    graded = entries_of(course_id).filter(legacy_state=State.GRADED, target_state=State.GRADED).order_by()
    tenths = {side: _tenths(f"{side}_score") for side in ("legacy", "target")}
    sides = ("legacy_correct", "legacy", "target_correct", "target")
    pairs: Counter[tuple[str, str]] = Counter()
    for correct, score, other_correct, other_score, number in (
        graded.annotate(**tenths).values_list(*sides).annotate(number=Count("id"))
    ):
        pairs[binned(correct, score), binned(other_correct, other_score)] += number
    return [{"legacy": one, "target": other, "pairs": number} for (one, other), number in sorted(pairs.items())]


def _tenths(column: str) -> Case:
    """A score cut down to whole tenths, above 1 to one figure: few values, however many scores there are."""
    return Case(
        When(**{f"{column}__gt": 1}, then=Value(11.0)),
        default=Floor(F(column) * 10.0),
        output_field=FloatField(null=True),
    )


def daily(course_id: str) -> list[dict[str, Any]]:
    """By day of arrival (UTC): how many entries were compared, and how many diverge."""
    rows = (
        entries_of(course_id)
        .exclude(result=PairStatus.NONE)
        .order_by()
        .annotate(day=TruncDate("arrived_at"))
        .values("day")
        .annotate(compared=Count("id"), diverged=Count("id", filter=Q(result=PairStatus.DIVERGED)))
    )
    return [
        {"day": row["day"].isoformat(), "compared": row["compared"], "diverged": row["diverged"]}
        for row in sorted(rows, key=lambda row: row["day"])
    ]


def latency(entries: QuerySet[LedgerEntry]) -> dict[str, dict[str, Any]]:
    """
    Seconds from arrival to return on each side, over those of the entries that both sides got in the same moment.

    Exact quantiles, by position in the sorted column: memory stays flat.
    """
    timed = entries.filter(legacy_seconds__isnull=False, target_seconds__isnull=False)
    graded = timed.count()
    found: dict[str, dict[str, Any]] = {}
    for side in ("legacy", "target"):
        places = {name: min(int(share * graded), graded - 1) + 1 for name, share in _QUANTILES}
        column = f"{side}_seconds"
        # One sort for all of them.
        sorted_values = timed.order_by().annotate(place=Window(RowNumber(), order_by=[column, "id"]))
        wanted = sorted_values.filter(place__in=set(places.values())).values_list("place", column)
        at = dict(wanted) if graded else {}
        quantiles = {name: round(at[place], 3) if graded else None for name, place in places.items()}
        found[side] = {"graded": graded, **quantiles}
    return found


def divergences(course_id: str) -> Iterator[dict[str, Any]]:
    """Every divergence on record, in keyset pages, with what is needed to find its rows again."""
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
    }
    rows = Divergence.objects.filter(course_id=course_id).order_by("id").values_list("id", *columns.values())
    after = 0
    while page := list(rows.filter(id__gt=after)[:1000]):
        yield from (dict(zip(columns, values, strict=True)) for _, *values in page)
        after = page[-1][0]
