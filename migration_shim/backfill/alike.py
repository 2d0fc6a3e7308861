"""For a plan: which rows the target's database would take for another's, as the write would find out."""

from __future__ import annotations

from collections.abc import Iterable

from ..core.identity import real_placement
from ..core.mapping import Decision, ParsedRow
from ..data import RowClass
from ..target import bulk, collation
from . import many
from .meant import meant
from .plan import WRITTEN, ClassedRow, Job

_DRAIN = Decision(row_class=RowClass.DRAIN, reason="student_item_differs")


def mark(classed: Iterable[ClassedRow], job: Job) -> None:
    """Class as drain what a backfill would not write for that reason. In the order of the write: many, then alone."""
    due = [item for item in classed if item.decision.row_class in WRITTEN]
    due.sort(key=lambda item: (item.parsed.row.arrival_time, item.parsed.row.id))
    together, alone = many.sorted_out(due, job)
    together.sort(key=lambda row: bulk.key_of(row.new.placement))
    rows = [*together, *(meant(item, job.settings, job.points) for item in alone)]
    refused = job.taken.refuses([row.new.placement for row in rows])
    for row, is_refused in zip(rows, refused, strict=True):
        if is_refused:
            row.item.decision = _DRAIN


def refused(rows: Iterable[ParsedRow], taken: collation.Taken) -> set[int]:
    """The legacy ids of those rows, of some that a handoff would move in this order, that the target would refuse."""
    rows = list(rows)
    answers = taken.refuses([real_placement(row.envelope) for row in rows if row.envelope is not None])
    return {row.row.id for row, is_refused in zip(rows, answers, strict=True) if is_refused}
