"""Counts over the ledger of a course: documents, reports and the gate say what is stored, whatever one run saw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from django.db.models import Case, Count, F, FloatField, Q, QuerySet, Value, When, Window
from django.db.models.functions import Floor, RowNumber, TruncDate

from .core.totals import binned
from .data import DivergenceClass, PairStatus, State
from .fields import exact
from .models import Divergence, LedgerEntry

_QUANTILES = (("median", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99))


def entries_of(course_id: str) -> QuerySet[LedgerEntry]:
    """A course's ledger entries. Counts of columns that are in the index ``shim_ledger_tally`` read nothing else."""
    return LedgerEntry.objects.filter(course_id=course_id)


def queues(course_id: str) -> list[str]:
    """The queues of a course, by the names that CAPA gave them."""
    return exact(entries_of(course_id), "queue_name")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tallies:
    """
    What the results on a course's entries add up to.

    Args:
        queues: as ``queues`` gives them.
        statuses: how many entries have each result.
        known: how many entries have each known difference, by its name or its number in the register.
        cohorts: how the pairs of each queue and problem came out.
        payloads_compared: how many entries had their payload compared.
    """

    queues: list[str]
    statuses: Counter[str]
    known: dict[str, int]
    cohorts: list[dict[str, Any]]
    payloads_compared: int


def of_course(course_id: str) -> Tallies:
    """All that is told by queue, problem and result, of one look at the ledger."""
    groups = ("queue_name", "item_id", "result", "known")
    rows = entries_of(course_id).order_by(*groups).values_list(*groups)
    statuses: Counter[str] = Counter()
    known: Counter[str] = Counter()
    cohorts: dict[tuple[str, str], Counter[str]] = {}
    payloads = 0
    for queue_name, item_id, result, name, number, compared in rows.annotate(Count("id"), Count("payload_compared_at")):
        statuses[result] += number
        if result != PairStatus.WAITING:  # of one that waits it says for what
            known[name] += number
        cohorts.setdefault((queue_name, item_id), Counter())[result] += number
        payloads += compared
    del known[""]
    return Tallies(
        queues=queues(course_id),
        statuses=statuses,
        known=dict(sorted(known.items())),
        cohorts=[
            _cohort(course_id, *scope, found) for scope, found in cohorts.items() if set(found) - {PairStatus.NONE}
        ],
        payloads_compared=payloads,
    )


def _cohort(course_id: str, queue_name: str, item_id: str, found: Counter[str]) -> dict[str, Any]:
    entries, pairs = found.total(), found.total() - found[PairStatus.NONE]
    statuses = {status: found[status] for status in sorted(set(found) - {PairStatus.NONE.value})}
    return {"course": course_id, "queue": queue_name, "problem": item_id, "entries": entries, "pairs": pairs} | statuses


def classes(course_id: str) -> dict[str, int]:
    """How many divergences there are of each class, the registered ones included; without those signed for."""
    rows = (
        Divergence.objects.filter(course_id=course_id, cured_at=None)
        .order_by()
        .values("klass")
        .annotate(number=Count("id"))
    )
    found = {row["klass"]: row["number"] for row in rows}
    return {klass.value: found.get(klass.value, 0) for klass in DivergenceClass}


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
        # Of UTC, as the column is: another zone would have other days, and a server without zone tables has none.
        .annotate(day=TruncDate("arrived_at", tzinfo=UTC))
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
    timed = entries.filter(legacy_seconds__isnull=False, target_seconds__isnull=False).order_by()
    graded = timed.count()
    places = {name: min(int(share * graded), graded - 1) + 1 for name, share in _QUANTILES}
    found: dict[str, dict[str, Any]] = {}
    for side in ("legacy", "target"):
        column = f"{side}_seconds"
        # One sort for all of them.
        sorted_values = timed.annotate(place=Window(RowNumber(), order_by=[column, "id"]))
        wanted = sorted_values.filter(place__in=set(places.values())).values_list("place", column)
        at = dict(wanted) if graded else {}
        quantiles = {name: round(at[place], 3) if graded else None for name, place in places.items()}
        found[side] = {"graded": graded, **quantiles}
    return found


def divergences(course_id: str) -> Iterator[dict[str, Any]]:
    """Every divergence on record that nobody has signed for, in keyset pages, with what finds its rows again."""
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
    rows = Divergence.objects.filter(course_id=course_id, cured_at=None).order_by("id")
    rows = rows.values_list("id", *columns.values())
    after = 0
    while page := list(rows.filter(id__gt=after)[:1000]):
        yield from (dict(zip(columns, values, strict=True)) for _, *values in page)
        after = page[-1][0]
