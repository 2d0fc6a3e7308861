"""A backfill of one row: the shadow of one submission that the router left to a worker."""

from __future__ import annotations

from django.db import transaction

from ..conf import ShimSettings
from ..core.mapping import Decision
from ..core.wire import parse_header
from ..data import Leg, LegacyRow, RowClass
from ..errors import FileUnavailable, TargetWriteFailed, Unfit
from ..legacy import rows as legacy_rows
from ..models import LedgerEntry
from . import files, plan
from .write import WRITTEN, write_row


def rows_of(entry: LedgerEntry) -> list[LegacyRow]:
    """The legacy rows that may be an entry's: by its id where it is linked, else by the header it was sent with."""
    if entry.legacy_id is not None:
        return list(legacy_rows.by_id([entry.legacy_id]).values())
    url = parse_header(entry.raw_header).callback_url
    return [row for row in legacy_rows.with_callback(url) if row.xqueue_header == entry.raw_header]


def write_shadow_of(identity: str, settings: ShimSettings) -> str:
    """
    Write the shadow of one ledger entry out of legacy's row, and return the row's class, as a word for a log.

    Written once however often it is called: the entry is locked while the copy is made (no HTTP happens in it), and one
    that has its copy is left alone. A copy that cannot be written is FAILED on the entry, with the reason.

    Raises:
        TargetWriteFailed: nothing was written; another try may succeed.
    """
    try:
        with transaction.atomic():
            entry = LedgerEntry.objects.select_for_update().filter(identity=identity).first()
            if entry is None or entry.target_leg == Leg.STORED:
                return "present"
            if entry.superseded_at is not None:
                return "superseded"
            return _write(entry, settings)
    except TargetWriteFailed as error:
        # Another worker may have written it while this one was losing its transaction.
        owed = LedgerEntry.objects.filter(identity=identity).exclude(target_leg=Leg.STORED)
        owed.update(target_leg=Leg.FAILED, target_reason=error.reason[:64])
        raise


def _write(entry: LedgerEntry, settings: ShimSettings) -> str:
    storage = files.legacy_storage(settings)
    classed = plan.class_page(rows_of(entry), plan.policy(settings), storage, frozenset())
    # A submission that was sent twice has several rows; all but one are duplicates, and only that one is written.
    own = [item for item in classed if item.entry is not None and item.entry.pk == entry.pk]
    item = next((item for item in own if item.decision.row_class is not RowClass.DUPLICATE), None)
    if item is None:
        return "no_legacy_row"
    decision = item.decision
    if decision.row_class in WRITTEN:
        try:
            write_row(item, settings, storage)
            return decision.row_class.value
        except (Unfit, FileUnavailable) as error:
            decision = Decision(row_class=RowClass.DRAIN, reason=error.reason)
    if decision.row_class is RowClass.DRAIN:
        LedgerEntry.objects.filter(pk=entry.pk).update(target_leg=Leg.FAILED, target_reason=decision.reason[:64])
    return decision.row_class.value
