"""
Collisions, for a plan: rows whose StudentItem the target's database would take for another learner's or problem's.

The target's collation may do so, and a write would find out. A plan has to know before.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..core.classification import Decision, ParsedRow
from ..core.data import RowClass
from ..core.errors import Unfit
from ..core.identity import Placement, real_placement
from ..target import bulk, collation
from . import write_bulk
from .classing import WRITTEN, BatchContext, ClassedRow
from .target_rows import target_row

_DRAIN = Decision(row_class=RowClass.DRAIN, reason="student_item_differs")


def mark_collisions(classed: Iterable[ClassedRow], context: BatchContext) -> None:
    """Class as drain the rows that would collide; they are asked about in the order in which they would be written."""
    due = [item for item in classed if item.decision.row_class in WRITTEN]
    due.sort(key=lambda item: (item.parsed.row.arrival_time, item.parsed.row.id))
    together, alone = write_bulk.split_rows(due, context)
    together.sort(key=lambda row: bulk.key_of(row.new.placement))
    rows = [*together, *(target_row(item, context.settings, context.points) for item in alone)]
    refused = context.taken.refuses([row.new.placement for row in rows])
    for row, is_refused in zip(rows, refused, strict=True):
        if is_refused:
            row.item.decision = _DRAIN


def colliding_ids(rows: Iterable[ParsedRow], taken: collation.Taken) -> set[int]:
    """Return the legacy ids of the rows that the target would refuse, if a handoff moved the rows in this order."""
    placed = [(row.row.id, placement) for row in rows if (placement := _placement(row)) is not None]
    answers = taken.refuses([placement for _, placement in placed])
    return {row_id for (row_id, _), is_refused in zip(placed, answers, strict=True) if is_refused}


def _placement(row: ParsedRow) -> Placement | None:
    """Return where a row would go; None where the target cannot hold it, which the plan finds out by itself."""
    try:
        return real_placement(row.envelope) if row.envelope is not None else None
    except Unfit:
        return None
