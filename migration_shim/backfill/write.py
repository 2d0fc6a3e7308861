"""Writing classed rows as shadows, with their ledger entries."""

from __future__ import annotations

from django.core.files.storage import Storage
from django.db import transaction

from .. import ledger
from ..conf import ShimSettings
from ..core.identity import shadow_placement
from ..core.mapping import Decision
from ..data import Leg, Origin, Phase, RowClass
from ..errors import FileUnavailable, TargetWriteFailed, Unfit
from ..models import LedgerEntry
from ..points import points_possible
from ..target import writer
from . import files
from .plan import ClassedRow

#: Classes of rows that are written.
WRITTEN = (RowClass.IMPORTED, RowClass.FINAL)


def write_rows(classed: list[ClassedRow], settings: ShimSettings, storage: Storage | None) -> int:
    """
    Write the rows of a page that are to be written, and return how many were. To be called inside a transaction.

    A row that alone cannot be written is classed again, as drain with the reason; the others go on.

    Raises:
        TargetWriteFailed: on contention. A deadlock has rolled back the whole transaction, so the whole page is due.
    """
    written = 0
    for item in classed:
        row_class, entry = item.decision.row_class, item.entry
        if row_class in WRITTEN and _copied_meanwhile(item):
            item.decision = Decision(row_class=RowClass.PRESENT)
        elif row_class in WRITTEN:
            try:
                write_row(item, settings, storage)
                written += 1
            except (Unfit, FileUnavailable) as error:
                item.decision = Decision(row_class=RowClass.DRAIN, reason=error.reason)
            except TargetWriteFailed as error:
                if error.passing:
                    raise
                item.decision = Decision(row_class=RowClass.DRAIN, reason=f"target_refused_{error.reason}")
        elif row_class is RowClass.PRESENT and entry is not None and entry.legacy_id is None:
            entry.legacy_id = item.parsed.row.id
            entry.save(update_fields=["legacy_id"])
    return written


def _copied_meanwhile(item: ClassedRow) -> bool:
    """Whether somebody else has made an owed copy since the row was classed. Locks the entry from now on."""
    if item.entry is None:
        return False  # two entries of one identity are not possible
    item.entry = LedgerEntry.objects.select_for_update().get(pk=item.entry.pk)
    return item.entry.target_leg == Leg.STORED


def write_row(item: ClassedRow, settings: ShimSettings, storage: Storage | None) -> None:
    """
    Write one row's shadow and its ledger entry.

    Raises:
        Unfit: the target cannot hold it.
        FileUnavailable: a file of it cannot be read.
        TargetWriteFailed: nothing of it was written.
    """
    parsed = item.parsed
    envelope, digests, row = parsed.envelope, parsed.digests, parsed.row
    assert envelope is not None and digests is not None  # a row of these classes has been read
    history = item.decision.row_class is RowClass.FINAL
    suffix = settings.echo_queue_suffix if history else settings.shadow_queue_suffix
    placement = shadow_placement(envelope, digests.identity, suffix)
    writer.check_fits(envelope.body, item.keys)
    contents = files.contents(row, item.keys, storage, settings.legacy_file_limit)
    entry = item.entry
    if entry is None:
        entry = ledger.new_entry(
            envelope,
            digests,
            phase=Phase.SHADOW,
            origin=Origin.BACKFILL,
            arrived_at=row.arrival_time,
            input_key=parsed.input_key,
        )
        callback = envelope.callback
        points = points_possible(None, callback.course_id, callback.item_id, settings)
        entry.points_possible, entry.points_assumed = points
    entry.history = history
    entry.legacy_leg, entry.legacy_id = Leg.STORED, row.id
    entry.target_leg, entry.target_reason = Leg.STORED, ""
    with writer.stored_files(placement.queue_name, contents) as stored, transaction.atomic():
        entry.target_submission_id = writer.insert(
            placement, envelope.body, stored, points_possible=entry.points_possible, arrived_at=row.arrival_time
        )
        entry.save()
