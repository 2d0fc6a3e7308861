"""How far legacy's rows are linked, whether the table still is the same one, and which rows must be read again."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.utils.timezone import now

from ..core.errors import LegacyReplaced
from ..db import converted
from ..legacy import rows as legacy_rows
from ..models import Checkpoint

log = logging.getLogger(__name__)

CHECKPOINT = "link"
#: How many rows with unreadable file names are kept for another try, and for how long.
AGAIN, AGAIN_FOR = 1000, timedelta(days=7)
#: After so many failures in a row no more of them are tried in this run: each may take a timeout.
GIVE_UP = 5


def position() -> Checkpoint:
    """
    Return the linker's checkpoint.

    Raises:
        LegacyReplaced: XQueue's table is not the one that was scanned: the rows with these ids are others.
    """
    there = converted.found(Checkpoint, "name = %s", [CHECKPOINT])
    checkpoint = there[0] if there else Checkpoint.objects.get_or_create(name=CHECKPOINT)[0]
    seen, newest = checkpoint.plan.get("arrived"), legacy_rows.newest(upto=checkpoint.last_id)
    # Every row up to here has been seen. Retention removes rows, and ids are never used again: a row here that arrived
    # after all that were seen is another table's.
    if seen and newest is not None:
        row_id, arrived = newest
        if arrived > datetime.fromisoformat(seen):
            raise LegacyReplaced(row_id, checkpoint.last_id)
    return checkpoint


def note_arrival(checkpoint: Checkpoint, arrived: datetime | None) -> None:
    """
    Remember when the newest row seen so far arrived. A row that a return inserted has the time of its first arrival.

    ``arrived`` is None where retention has just removed the rows of the page.
    """
    if arrived is None:
        return
    newest = checkpoint.plan.get("arrived")
    checkpoint.plan["arrived"] = max(arrived, datetime.fromisoformat(newest) if newest else arrived).isoformat()


def rows_to_retry(checkpoint: Checkpoint) -> list[int]:
    """Return the ids of the rows to try again, the longest waiting first."""
    again = checkpoint.counts.get("again", {})
    return [int(row_id) for row_id in sorted(again, key=lambda row_id: (again[row_id], int(row_id)))]


def keep_for_retry(checkpoint: Checkpoint, *, unread: Iterable[int], done: Iterable[int] = ()) -> None:
    """Keep the ``unread`` rows for another try, drop the ``done`` ones, and log those that have waited too long."""
    again, moment = dict(checkpoint.counts.get("again", {})), now()
    for row_id in done:
        again.pop(str(row_id), None)
    for row_id in unread:
        again.setdefault(str(row_id), moment.isoformat())
    late = {row_id for row_id, since in again.items() if datetime.fromisoformat(since) < moment - AGAIN_FOR}
    over = set(list(again)[AGAIN:])
    for row_id in late | over:
        del again[row_id]
    if late | over:
        log.error(
            "migration_shim.rows_unlinked: %d legacy rows stay unlinked: their file names cannot be read",
            len(late | over),
        )
    checkpoint.counts["again"] = again


def restart_scans() -> None:
    """Let the next linking and the next backfills begin at the first row."""
    Checkpoint.objects.filter(name=CHECKPOINT).update(last_id=0, plan={}, counts={}, updated_at=now())
    Checkpoint.objects.filter(name__startswith="backfill:").update(last_id=0, updated_at=now())
