"""Writing classed rows as shadows, with their ledger entries: in bulk where a row allows it, else one by one."""

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
    Write the rows of a page that are to be written, and return how many were. To be called inside a transaction.

    A row that alone cannot be written is classed again, as drain with the reason; the others go on.

    Args:
        classed: the page.
        context: what the batches of the run share.
        stored: what became of the rows' files, which were stored before the transaction.
        last_try: whether a row that collides with another is at fault itself, and not somebody who writes beside this.

    Raises:
        TargetWriteFailed, django.db.Error: on contention. A deadlock has rolled back the whole transaction, so the
            whole page is due.
        VerificationFailed: what was read back is not what was meant.
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
    """The files that writing a page needs, to be stored before its transaction."""
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
    """Class what ``write_rows`` would: what is to be written and does not fit, or lacks a file, is drain."""
    for item in classed:
        if item.decision.row_class in WRITTEN and write_bulk.target_row_or_drain(item, context) is not None:
            try:
                legacy_files.check(item.parsed.row, item.keys, context.storage, context.settings)
            except FileUnavailable as error:
                item.decision, item.missing = Decision(row_class=RowClass.DRAIN, reason=error.reason), error.name


def _write_alone(item: ClassedRow, context: BatchContext, stored: files.StoredFiles, last_try: bool) -> None:
    """Write one row through the public API; one that cannot be written becomes drain."""
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
    """Whether somebody else has made an owed copy since the row was classed. Locks the entry from now on."""
    if item.entry is None:
        return False  # two entries of one identity are not possible
    item.entry = LedgerEntry.objects.select_for_update().get(pk=item.entry.pk)
    return item.entry.target_leg == Leg.STORED


def write_row(
    item: ClassedRow, settings: ShimSettings, stored: list[writer.StoredFile], points: Points | None = None
) -> None:
    """
    Write one row's shadow and its ledger entry, through the public API of edx-submissions; its files are stored.

    Raises:
        Unfit: the target cannot hold it.
        TargetWriteFailed: nothing of it was written.
    """
    row = target_row(item, settings, {} if points is None else points)
    parsed, new, entry = item.parsed, row.new, item.entry
    assert parsed.envelope is not None and parsed.digests is not None  # it would not be meant to be written
    if entry is not None:
        entry.copied_at = now()  # it was owed: before that no grader could have it
    else:
        entry = new_entry(
            parsed.envelope,
            parsed.digests,
            phase=Phase.SHADOW,
            origin=Origin.BACKFILL,
            arrived_at=new.arrived_at,
            input_key=parsed.input_key,
        )
        entry.points_possible, entry.points_assumed = new.points_possible, row.points_assumed
    entry.history = row.history
    entry.legacy_leg, entry.legacy_id, entry.legacy_state = Leg.STORED, parsed.row.id, item.state or ""
    entry.target_leg, entry.target_reason = Leg.STORED, ""
    entry.copy_due = None
    # What is imported is counted by its first comparison; a copy that was owed may belong to what was compared.
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
