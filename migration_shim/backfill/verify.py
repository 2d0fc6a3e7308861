"""Verification: what a batch has written is read back before it is committed, and compared with what was intended."""

from __future__ import annotations

import math
from collections.abc import Iterable

from ..conf import ShimSettings
from ..core.errors import VerificationFailed
from ..models import LedgerEntry
from ..target import bulk
from .target_rows import TargetRow


def is_due(batch: int, total: int, settings: ShimSettings) -> bool:
    """
    Tell whether batch number ``batch`` of a run over ``total`` rows is to be read back.

    Of up to VERIFY_ROWS rows all are read back; of more, every so many batches, so that about VERIFY_ROWS rows are.
    """
    if settings.verify_rows == 0:
        return False
    return batch % math.ceil(max(total, 1) / settings.verify_rows) == 0


def check(rows: Iterable[TargetRow]) -> None:
    """
    Read the rows back from ledger and target, and compare every column.

    Raises:
        VerificationFailed: naming the legacy row and the column of the first difference, without its contents.
    """
    wanted = {row.item.parsed.digests.identity: row for row in rows if row.item.parsed.digests is not None}
    columns = ("identity", "target_submission_id", "legacy_id", "arrived_at", "points_possible", "history")
    entries = LedgerEntry.objects.filter(identity__in=wanted).values_list(*columns)
    links = {identity: (submission_id, values) for identity, submission_id, *values in entries}
    stored = bulk.read_back([submission_id for submission_id, _ in links.values()])
    for identity, row in wanted.items():
        legacy_id, new = row.item.parsed.row.id, row.new
        if identity not in links:
            raise VerificationFailed(legacy_id, "ledger entry")
        submission_id, (*entry,) = links[identity]
        # An entry that the router has made keeps the router's time of arrival.
        arrived_at = new.arrived_at if row.item.entry is None else row.item.entry.arrived_at
        if entry != [legacy_id, arrived_at, new.points_possible, row.history]:
            raise VerificationFailed(legacy_id, "ledger entry")
        if submission_id not in stored:
            raise VerificationFailed(legacy_id, "submission")
        attempts, found = stored[submission_id]
        if attempts != 1:
            raise VerificationFailed(legacy_id, "attempt number")
        if found != (wanted_columns := bulk.columns_of(new)):
            pairs = zip(bulk.COLUMNS, found, wanted_columns, strict=True)
            raise VerificationFailed(legacy_id, next(name for name, there, meant in pairs if there != meant))
