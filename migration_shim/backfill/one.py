"""A backfill of one row: the shadow of one submission that the router left to a worker."""

from __future__ import annotations

from django.db import transaction

from ..conf import ShimSettings
from ..core.wire import parse_header
from ..data import Leg, LegacyRow
from ..legacy import rows as legacy_rows
from ..models import LedgerEntry
from . import files, plan
from .write import write_rows


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
    that has its copy is left alone.

    Raises:
        TargetWriteFailed: contention; nothing was written.
    """
    storage = files.legacy_storage(settings)
    policy = plan.policy(settings)
    with transaction.atomic():
        entry = LedgerEntry.objects.select_for_update().filter(identity=identity).first()
        if entry is None or entry.target_leg == Leg.STORED:
            return "present"
        for item in plan.class_page(rows_of(entry), policy, storage, frozenset()):
            if item.entry is not None and item.entry.pk == entry.pk:
                write_rows([item], settings, storage)
                return item.decision.row_class.value
    return "no_legacy_row"
