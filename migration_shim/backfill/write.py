"""Classed rows are written here as shadows, with their ledger entries: in bulk where that is possible, else singly."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import datetime

from django.db import Error, transaction
from django.utils.timezone import now

from ..conf import ShimSettings
from ..core.classification import Decision
from ..core.data import Leg, Origin, Phase, RowClass
from ..core.errors import FileUnavailable, TargetWriteFailed, Unfit
from ..db.retry import collision, contention
from ..ledger.buckets import counted
from ..ledger.entries import new_entry
from ..legacy import files as legacy_files
from ..models import LedgerEntry
from ..target import writer
from . import files, verify, write_bulk
from .classing import WRITTEN, BatchContext, ClassedRow
from .target_rows import Points, target_row

__all__ = ["WRITTEN", "plan_rows", "wanted_files", "write_row", "write_rows"]


def write_rows(
    classed: list[ClassedRow], context: BatchContext, stored: files.StoredFiles, *, last_try: bool = True
) -> int:
    """
    Write the rows of a page that are to be written, inside the caller's transaction, and return how many were.

    A row that cannot be written becomes drain, with the reason; the others are written all the same.

    Args:
        classed: the page. Classes are changed in place.
        context: what the batches of the run share.
        stored: the rows' files, which were stored before the transaction.
        last_try: blame a collision on the row itself, not on another session that writes at the same time.

    Raises:
        TargetWriteFailed, django.db.Error: on contention. A deadlock has rolled back the whole transaction, so the
            whole page has to be written again.
        VerificationFailed: what was read back is not what was intended.
    """
    due = [item for item in classed if item.decision.row_class in WRITTEN]
    due.sort(key=_arrival)
    together, alone = write_bulk.split_rows(due, context)
    alone += write_bulk.write(together)
    for item in sorted(alone, key=_arrival):
        _write_alone(item, context, stored, last_try)
    for item in classed:
        entry = item.entry
        if item.decision.row_class is RowClass.PRESENT and entry is not None and entry.legacy_id is None:
            entry.legacy_id = item.parsed.row.id
            entry.save(update_fields=["legacy_id"])
    written = [item for item in due if item.decision.row_class in WRITTEN]
    if context.verify:
        known = {row.item.parsed.row.id: row for row in together if row.item.entry is None}
        verify.check(
            [known.get(item.parsed.row.id) or target_row(item, context.settings, context.points) for item in written]
        )
    return len(written)


def _arrival(item: ClassedRow) -> tuple[datetime, int]:
    return item.parsed.row.arrival_time, item.parsed.row.id


def wanted_files(classed: list[ClassedRow], context: BatchContext) -> list[files.WantedFiles]:
    """Return the files that are to be stored before the transaction that writes a page."""
    wanted = []
    for item in classed:
        if (
            item.keys
            and item.decision.row_class in WRITTEN
            and (row := write_bulk.target_row_or_drain(item, context)) is not None
        ):
            queue_name = row.new.placement.queue_name
            wanted.append(files.WantedFiles(row=item.parsed.row, keys=item.keys, queue_name=queue_name))
    return wanted


def plan_rows(classed: list[ClassedRow], context: BatchContext) -> None:
    """Class as drain, as ``write_rows`` would, the rows to be written that do not fit or lack a file."""
    for item in classed:
        if item.decision.row_class in WRITTEN and write_bulk.target_row_or_drain(item, context) is not None:
            try:
                legacy_files.check(item.parsed.row, item.keys, context.storage, context.settings)
            except FileUnavailable as error:
                item.decision, item.missing = Decision(row_class=RowClass.DRAIN, reason=error.reason), error.name


def _write_alone(item: ClassedRow, context: BatchContext, stored: files.StoredFiles, last_try: bool) -> None:
    """Write one row through the public API of edx-submissions; a row that cannot be written becomes drain."""
    if _copied_meanwhile(item):
        item.decision = Decision(row_class=RowClass.PRESENT)
        return
    row_id = item.parsed.row.id
    try:
        if row_id in stored.failed:
            raise stored.failed[row_id]
        with transaction.atomic():
            write_row(item, context.settings, stored.files.get(row_id, []), context.points)
    except FileUnavailable as error:
        item.decision, item.missing = Decision(row_class=RowClass.DRAIN, reason=error.reason), error.name
    except Unfit as error:
        item.decision = Decision(row_class=RowClass.DRAIN, reason=error.reason)
    except (TargetWriteFailed, Error) as error:
        if contention(error) or (collision(error) and not last_try):
            raise
        name = error.reason if isinstance(error, TargetWriteFailed) else type(error).__name__
        item.decision = Decision(row_class=RowClass.DRAIN, reason=f"target_refused_{name}")


def _copied_meanwhile(item: ClassedRow) -> bool:
    """Tell whether another session has made an owed copy since the row was classed. The entry stays locked."""
    if item.entry is None:
        return False  # if another session makes the entry, the INSERT fails: there are no two of one identity
    item.entry = LedgerEntry.objects.select_for_update().get(pk=item.entry.pk)
    return item.entry.target_leg == Leg.STORED


def write_row(
    item: ClassedRow, settings: ShimSettings, stored: list[writer.StoredFile], points: Points | None = None
) -> None:
    """
    Write one row's shadow and its ledger entry, through the public API of edx-submissions.

    Args:
        item: the row.
        settings: the settings in force.
        stored: its files, which are stored already.
        points: the points resolver's answers so far.

    Raises:
        Unfit: the target cannot hold it.
        TargetWriteFailed: nothing of it was written.
    """
    row = target_row(item, settings, {} if points is None else points)
    parsed, new, entry = item.parsed, row.new, item.entry
    assert parsed.envelope is not None and parsed.digests is not None  # it would not be meant to be written
    if entry is not None:
        entry.copied_at = now()  # it was owed: before now no grader of the target could have it
    else:
        entry = new_entry(
            parsed.envelope,
            parsed.digests,
            phase=Phase.SHADOW,
            origin=Origin.BACKFILL,
            arrived_at=new.arrived_at,
            input_key=parsed.input_key,
        )
        entry.points_possible = new.points_possible
    entry.history = row.history
    entry.legacy_leg, entry.legacy_id, entry.legacy_state = Leg.STORED, parsed.row.id, item.state or ""
    entry.target_leg, entry.target_reason = Leg.STORED, ""
    entry.copy_due = None
    # An imported entry is counted by its first comparison. One whose copy was owed may have been compared before.
    again = nullcontext() if entry.bucket_id is None else counted([entry.pk])
    with transaction.atomic(), again:
        entry.target_submission_id = writer.insert(
            new.placement,
            parsed.envelope.body,
            stored,
            points_possible=new.points_possible,
            arrived_at=new.arrived_at,
        )
        entry.save()
