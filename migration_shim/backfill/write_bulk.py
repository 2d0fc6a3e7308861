"""Rows that can be written together, by a few statements for all; where a row makes these fail, halves are tried."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db import Error, transaction

from ..core.classification import Decision
from ..core.data import Leg, Origin, Phase, RowClass
from ..core.errors import Unfit
from ..db.bulk_insert import insert
from ..db.retry import contention
from ..ledger.entries import KEPT, kept
from ..models import LedgerEntry
from ..target import bulk
from .classing import BatchContext, ClassedRow
from .target_rows import TargetRow, target_row


def split_rows(due: Iterable[ClassedRow], context: BatchContext) -> tuple[list[TargetRow], list[ClassedRow]]:
    """
    Split rows into those that can be written together and those that are written singly; unfit rows become drain.

    Rows with files and rows that have an entry are written singly. So are the other attempts of their learners at the
    same problems, because attempts are numbered in the order in which they are written.
    """
    together: list[TargetRow] = []
    alone: list[ClassedRow] = []
    learners = set()
    for item in due:
        row = target_row_or_drain(item, context)
        if row is None:
            continue
        if item.keys or item.entry is not None:
            alone.append(item)
            learners.add(_attempts_of(row))
        else:
            together.append(row)
    alone += [row.item for row in together if _attempts_of(row) in learners]
    return [row for row in together if _attempts_of(row) not in learners], alone


def target_row_or_drain(item: ClassedRow, context: BatchContext) -> TargetRow | None:
    """Return the target row of a row. A row that the target cannot hold becomes drain, and None is returned."""
    try:
        return target_row(item, context.settings, context.points)
    except Unfit as error:
        item.decision = Decision(row_class=RowClass.DRAIN, reason=error.reason)
        return None


def _attempts_of(row: TargetRow) -> tuple[str, str]:
    return row.new.placement.student_id, row.new.placement.item_id


def write(rows: list[TargetRow]) -> list[ClassedRow]:
    """
    Write rows together, and return those that have to be written singly.

    Where the database refuses all of them, each half is tried by itself, down to the single rows that it refuses.

    Raises:
        django.db.Error: on contention.
    """
    if not rows:
        return []
    try:
        with transaction.atomic():
            return _write(rows)
    except Error as error:
        if contention(error):
            raise
    if len(rows) == 1:
        return [rows[0].item]
    middle = len(rows) // 2
    return write(rows[:middle]) + write(rows[middle:])


def _write(rows: list[TargetRow]) -> list[ClassedRow]:
    ids = bulk.insert([row.new for row in rows])
    written = [(row, pk) for row, pk in zip(rows, ids, strict=True) if pk is not None]
    insert(
        LedgerEntry,
        _COLUMNS,
        (_entry(row, pk) for row, pk in written),
        phase=Phase.SHADOW,
        authority=Phase.SHADOW.authority,
        origin=Origin.BACKFILL,
        legacy_leg=Leg.STORED,
        target_leg=Leg.STORED,
    )
    return [row.item for row, pk in zip(rows, ids, strict=True) if pk is None]


_COLUMNS = (
    *KEPT,
    "history",
    "arrived_at",
    "legacy_id",
    "legacy_state",
    "target_submission_id",
    "points_possible",
)


def _entry(row: TargetRow, submission_id: int) -> tuple[Any, ...]:
    parsed, new = row.item.parsed, row.new
    assert parsed.envelope is not None and parsed.digests is not None  # it would not be meant to be written
    return (
        *kept(parsed.envelope, parsed.digests, parsed.input_key),
        row.history,
        new.arrived_at,
        parsed.row.id,
        row.item.state or "",
        submission_id,
        new.points_possible,
    )
