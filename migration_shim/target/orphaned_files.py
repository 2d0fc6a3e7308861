"""
Removing contents without rows: stored for a transaction that never committed, by a process that died before it could
clean up.

They are found by the intents that were recorded before they were stored (``file_storage.record_intents``), never by
listing a storage. In a bucket that two systems or two LMSs share, a listing also shows other people's files.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q
from submissions.models import SubmissionFile

from ..core.errors import TargetWriteFailed
from ..ledger import stamp
from ..models import StoredIntent
from . import file_storage

BATCH = 200


@dataclass(slots=True, kw_only=True)
class Swept:
    """
    What a sweep has seen: contents that are written down (``ours``), the ``young`` ones of them, whose transaction may
    still be at work, and the ``old`` ones that no row names.
    """

    ours: int = 0
    young: int = 0
    old: int = 0
    removed: int = 0


def sweep(before: datetime, *, execute: bool, check: Callable[[], None]) -> Swept:
    """
    Count the contents that were written down and not struck out, and with ``execute`` remove those from ``before``.

    What a row names is kept in any case: the rows are read after what was written down was read.

    Args:
        before: no transaction that began before this moment may still be at work.
        execute: whether to remove; otherwise only count.
        check: called before every batch; may raise.

    Raises:
        LedgerNotOurs: the ledger belongs to another LMS, and so do the contents that it names.
        TargetWriteFailed: the storage did not remove what it was told to; the next sweep tries again.
    """
    if execute:
        stamp.check()
    swept, failed = Swept(), 0
    after: uuid.UUID | None = None
    while intents := _page(after):
        check()
        after = intents[-1].pk
        old = [intent for intent in intents if intent.created_at < before]
        swept.ours += sum(len(intent.names) for intent in intents)
        swept.young += sum(len(intent.names) for intent in intents if intent.created_at >= before)
        unnamed = _unnamed({uuid.UUID(key): name for intent in old for key, name in intent.names.items()})
        swept.old += len(unnamed)
        for intent in old if execute else ():
            due = [(key, name) for key, name in unnamed.items() if str(key) in intent.names]
            left = file_storage.delete(due)
            swept.removed += len(due) - left
            failed += left
            if not left:
                intent.delete()
    if failed:
        raise TargetWriteFailed(f"{failed} contents without rows could not be removed")
    return swept


def _page(after: uuid.UUID | None) -> list[StoredIntent]:
    rows = StoredIntent.objects.order_by("id")
    return list((rows if after is None else rows.filter(id__gt=after))[:BATCH])


def _unnamed(names: dict[uuid.UUID, str]) -> dict[uuid.UUID, str]:
    """
    Return the files that no row names, neither by uuid nor as the place of its file. No index serves it: one statement.
    """
    if not names:
        return {}
    rows = SubmissionFile.objects.filter(Q(uuid__in=names) | Q(file__in=list(names.values())))
    found = list(rows.values_list("uuid", "file"))
    keys, places = {key for key, _ in found}, {place for _, place in found}
    return {key: name for key, name in names.items() if key not in keys and name not in places}
