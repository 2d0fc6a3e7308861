"""A backfill of one row: a worker writes the shadow that the router owes one submission."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import transaction
from django.utils.timezone import now

from ..conf import ShimSettings
from ..core.data import Leg, LegacyRow, RowClass
from ..core.errors import FileUnavailable, TargetWriteFailed, Unfit
from ..legacy import by_callback
from ..legacy import rows as legacy_rows
from ..legacy.files import Source, legacy_storage
from ..models import LedgerEntry
from . import classing, files
from .target_rows import target_row
from .write import WRITTEN, write_row


def legacy_rows_of(entry: LedgerEntry) -> list[LegacyRow]:
    """Return the legacy rows that may be an entry's: by id where it is linked, else by the header it was sent with."""
    if entry.legacy_id is not None:
        return list(legacy_rows.by_id([entry.legacy_id]).values())
    return by_callback.with_headers([entry.raw_header])


def legacy_rows_of_all(entries: Iterable[LedgerEntry]) -> dict[int, LegacyRow]:
    """Return by id the legacy rows that may be those of many entries (see ``legacy_rows_of``), in two statements."""
    linked, headers = [], set()
    for entry in entries:
        if entry.legacy_id is not None:
            linked.append(entry.legacy_id)
        else:
            headers.add(entry.raw_header)
    found = legacy_rows.by_id(linked)
    return found | {row.id: row for row in by_callback.with_headers(headers)}


def write_shadow_of(identity: str, settings: ShimSettings) -> str:
    """
    Write the shadow of one ledger entry from legacy's row, and return what became of it as a word for a log.

    The shadow is written once, however often this is called: the files are stored first, then the entry is locked while
    the rows are written, and an entry that has its copy by then is left alone. Where the copy cannot be written, the
    entry's target leg becomes FAILED, with the reason.

    Returns:
        The row's class; ``no_legacy_row`` where legacy has no row of the submission (yet).

    Raises:
        TargetWriteFailed: nothing was written; another try may succeed.
    """
    entry = LedgerEntry.objects.filter(identity=identity).first()
    if (word := _nothing_to_do(entry)) is not None:
        return word
    assert entry is not None
    source = legacy_storage(settings)
    item = _row_of(entry, settings, source)
    if item is None:
        return "no_legacy_row"
    row_class, reason = item.decision.row_class, item.decision.reason
    if row_class in WRITTEN:
        try:
            return _write(item, settings, source)
        except (Unfit, FileUnavailable) as error:
            row_class, reason = RowClass.DRAIN, error.reason
        except TargetWriteFailed as error:
            _failed(identity, error.reason)
            raise
    if row_class is RowClass.DRAIN:
        _failed(identity, reason)
    if row_class is RowClass.SUPERSEDED:
        # XQueue has seen a newer attempt: this copy is not owed any more.
        LedgerEntry.objects.filter(identity=identity, superseded_at=None).update(superseded_at=now())
    return row_class.value


def _nothing_to_do(entry: LedgerEntry | None) -> str | None:
    if entry is None or entry.target_leg == Leg.STORED or entry.purged_at is not None:
        return "present"
    return None if entry.superseded_at is None else "superseded"


def _failed(identity: str, reason: str) -> None:
    """Mark the copy as failed, unless another worker has written it meanwhile."""
    owed = LedgerEntry.objects.filter(identity=identity).exclude(target_leg=Leg.STORED)
    owed.update(target_leg=Leg.FAILED, target_reason=reason[:64])


def _row_of(entry: LedgerEntry, settings: ShimSettings, source: Source) -> classing.ClassedRow | None:
    classed = classing.class_page(legacy_rows_of(entry), classing.policy(settings), source, frozenset())
    # A submission that was sent twice has several rows. All but one are duplicates, and only that one is written.
    own = [item for item in classed if item.entry is not None and item.entry.pk == entry.pk]
    return next((item for item in own if item.decision.row_class is not RowClass.DUPLICATE), None)


def _write(item: classing.ClassedRow, settings: ShimSettings, source: Source) -> str:
    """Store the files, then write the rows under the entry's lock, which so waits for no storage and no network."""
    row, pk = item.parsed.row, item.entry.pk if item.entry else None
    queue_name = target_row(item, settings, {}).new.placement.queue_name
    wanted = files.WantedFiles(row=row, keys=item.keys, queue_name=queue_name)
    with files.stored([wanted], source, settings) as stored:
        if row.id in stored.failed:
            raise stored.failed[row.id]
        with transaction.atomic():
            item.entry = LedgerEntry.objects.select_for_update().filter(pk=pk).first() if pk is not None else None
            if (word := _nothing_to_do(item.entry)) is not None:
                return word
            write_row(item, settings, stored.files.get(row.id, []))
    return item.decision.row_class.value
