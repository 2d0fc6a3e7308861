"""
Hand out rows of the target to graders: one row to one grader, with a lease that ends and is renewed.

edx-submissions' own endpoint re-offers an expired row with its old key and time, on every poll and ahead of fresh rows.
Here an expired lease gets a new key and a new time, comes after the fresh rows, and ends after a number of deaths.

A hand-out that was lost on its way is no death. A lease counts as taken if it was answered in time and its session made
another request after that. A watcher that gave up waiting polls again while it is still being served; a watcher that
died never does.
"""

from __future__ import annotations

import random
import time
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.db.models import F
from django.utils.crypto import salted_hmac
from django.utils.timezone import now
from django.views.decorators.debug import sensitive_variables
from submissions.models import ExternalGraderDetail

from ..conf import ShimSettings
from ..core.identity import is_fenced
from ..db.bulk import select
from ..db.bulk_update import update_where
from ..models import LedgerEntry
from .polling import hand_out_order, leased_and_waiting, leased_to, next_rows, waiting

_Status = ExternalGraderDetail.Status
#: How often a poll looks again while rows wait that other sessions hold: about a quarter of a second with the pauses.
ROUNDS = 25
_NEEDED = ("id", "target_submission_id", "grader_payload", "student_info", "extra_body", "lease_session")
#: The columns of an entry that a hand-out needs, its residue and the lease's session: in the model's order, key first.
_HANDED_OUT = tuple(field.attname for field in LedgerEntry._meta.concrete_fields if field.attname in _NEEDED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """
    A row that was handed out, whose key is with one grader now. ``entry`` is None where the shim did not write the row.
    """

    detail: ExternalGraderDetail
    entry: LedgerEntry | None


@sensitive_variables()
def session_of(session_key: str | None) -> str:
    """
    Return what stands for a grader's session in the ledger; empty for none. The key itself would let anybody log in.
    """
    return salted_hmac("migration_shim.lease", session_key).hexdigest()[:32] if session_key else ""


def note_heard_from(session: str) -> None:
    """
    Note that a session asks again.

    So it has received what was sent to it in time, and will never receive what it was still waiting for.
    """
    entries = leased_to(session)
    if session and (ids := list(entries.values_list("pk", flat=True))):
        entries.filter(pk__in=ids).update(lease_taken=F("lease_sent"), lease_session="")


def note_poll(queue_name: str, settings: ShimSettings, session: str) -> bool:
    """Note that a session asks again, and tell whether a row of the queue waits. Mostly one statement in all."""
    if not session:
        return waiting(queue_name, settings).exists()
    leased, waits = leased_and_waiting(queue_name, settings, session)
    if leased:
        note_heard_from(session)
    return waits


def note_sent(lease: Lease) -> None:
    """Note that a hand-out was answered in time, unless its session has asked again meanwhile."""
    if lease.entry is not None and lease.entry.lease_session:
        same = {"id": lease.entry.pk, "lease_key": lease.detail.pullkey, "lease_session": lease.entry.lease_session}
        update_where(LedgerEntry, same, {"lease_sent": True})


def lease_next(
    queue_name: str, settings: ShimSettings, session: str = "", *, waits: bool = False
) -> tuple[Lease | None, list[ExternalGraderDetail]]:
    """
    Lease the next row of a queue.

    Args:
        queue_name: the queue.
        settings: the settings in force.
        session: the session that asks, as ``session_of`` returns it.
        waits: whether ``note_poll`` has just said that a row waits.

    Returns:
        The lease, or None when no row waits; and the rows that have died too often and were failed on the way.
    """
    given_up: list[ExternalGraderDetail] = []
    for _ in range(ROUNDS):
        # SKIP LOCKED passes over rows that others are just taking, so only a plain read can tell that none is left. It
        # comes first, because most polls are of an empty queue, and no transaction is opened for them.
        if not (waits or waiting(queue_name, settings).exists()):
            break
        waits = False
        for status, before in hand_out_order(settings, now()):
            lease = _lease_next_of(queue_name, status, before, settings, session, given_up)
            if lease is not None:
                return lease, given_up
        time.sleep(random.uniform(0.002, 0.02))  # noqa: S311  (out of step, no secret)
    return None, given_up


def _lease_next_of(
    queue_name: str,
    status: str,
    before: datetime,
    settings: ShimSettings,
    session: str,
    given_up: list[ExternalGraderDetail],
) -> Lease | None:
    while True:
        with transaction.atomic():
            claimed = next((row for row in next_rows(queue_name, status, before) if _claim(row, settings)), None)
            if claimed is None:
                return None
            if claimed.status == _Status.PULLED:
                return Lease(detail=claimed, entry=_write_lease(claimed, session))
        given_up.append(claimed)  # it has died once too often; on to the next


@sensitive_variables("key")
def _claim(row: ExternalGraderDetail, settings: ShimSettings) -> bool:
    """
    Take a row with a new key and a new time if it is still as it was read, and tell whether it was.

    A row whose lease ran out goes through retry, as edx-submissions' transitions ask, which counts as a failure. At the
    limit it becomes failed instead. The condition on status and status_time makes this safe where the database cannot
    skip locked rows.
    """
    died, limit = _counts_as_death(row, settings) if row.status == _Status.PULLED else (False, 0)
    failures = row.num_failures + died
    status = _Status.FAILED if died and failures >= limit else _Status.PULLED
    key = "" if status == _Status.FAILED else str(uuid.uuid4())
    moment = now()
    same = {"id": row.pk, "status": row.status, "status_time": row.status_time}
    taken = {"status": status, "status_time": moment, "pullkey": key, "num_failures": failures}
    if not update_where(ExternalGraderDetail, same, taken):
        return False
    row.status, row.status_time, row.pullkey, row.num_failures = status, moment, key, failures
    return True


def _counts_as_death(row: ExternalGraderDetail, settings: ShimSettings) -> tuple[bool, int]:
    """
    Tell whether an expired lease counts as a grader's death, and how many deaths the row may have.

    Nothing is known of a row that the shim did not write: each of its leases counts, and it may have more of them.
    """
    entries = LedgerEntry.objects.filter(target_submission_id=row.submission_id, lease_key=row.pullkey)
    taken = entries.values_list("lease_taken", flat=True).first()
    return (True, settings.hand_out_limit) if taken is None else (taken, settings.lease_limit)


def _write_lease(row: ExternalGraderDetail, session: str) -> LedgerEntry | None:
    # Found without a lock and written by id: by the other index InnoDB would lock the gap where the doors insert.
    if found := select(LedgerEntry, _HANDED_OUT, target_submission_id=[row.submission_id]):
        entry = LedgerEntry.from_db(connection.alias, _HANDED_OUT, min(found))
        lease = {"lease_key": row.pullkey, "leased_at": row.status_time, "lease_session": session}
        lease |= {"lease_sent": False, "lease_taken": False}
        same = {"id": entry.pk, "target_submission_id": row.submission_id}
        if update_where(LedgerEntry, same, lease, one_more="leases"):
            entry.lease_session = session
            return entry
    # A twin is handed out with its entry's residue; the entry's own lease is that of the shadow.
    entries = LedgerEntry.objects.filter(twin_submission_id=row.submission_id, purged_at=None)
    return entries.only(*_HANDED_OUT).get() if entries.update(twin_lease_key=row.pullkey) else None


def is_leased(row: ExternalGraderDetail, lease_seconds: int) -> bool:
    """
    Tell whether a grader has the row now.

    The row itself decides, because edx-submissions' own endpoint writes no lease to the ledger.
    """
    return row.status == _Status.PULLED and row.status_time > now() - timedelta(seconds=lease_seconds)


def lease_one(submission_id: int, settings: ShimSettings) -> str | None:
    """
    Lease one free shadow for echo grading, and return its key, or None when it is not free.

    A row under a learner's own identity is never leased here, whatever the caller believes. An expired lease is taken
    over, as a grader's poll would do: an echo may have died in the middle, and no grader polls the queue of imported
    history. That counts as no failure of the row.
    """
    run_out = now() - timedelta(seconds=settings.lease_seconds)
    with transaction.atomic():
        row = ExternalGraderDetail.objects.select_for_update().filter(submission_id=submission_id).first()
        if row is None:
            return None
        died = row.status == _Status.PULLED and row.status_time <= run_out
        if not died and row.status not in (_Status.PENDING, _Status.RETRY):
            return None
        item = row.submission.student_item
        if not is_fenced(item.student_id, item.item_id):
            return None
        if died:
            row.status_time, row.pullkey = now(), str(uuid.uuid4())
            row.save(update_fields=["status_time", "pullkey"])
        else:
            row.update_status(_Status.PULLED)
        _write_lease(row, "")
        return row.pullkey
