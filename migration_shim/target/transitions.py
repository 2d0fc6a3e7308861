"""
Change the status of target rows for every reason but a grader's: each a valid transition, none with a Score.

A row is superseded, revived, or fenced before it goes back to legacy. A held row is a learner's real submission on a
queue that no grader polls until legacy has certainly let go of it; it is released or dropped. Nothing here waits for a
lock. What graders do to rows is in ``leases`` and ``results``.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from functools import partial

from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils.timezone import now
from submissions.models import ExternalGraderDetail, Submission, SubmissionFile

from .file_storage import discard, record_abandoned
from .leases import is_leased
from .open_rows import IN_FLIGHT

_Status = ExternalGraderDetail.Status


class FenceResult(enum.StrEnum):
    """The result of ``fence``."""

    FENCED = "fenced"
    LEASED = "under_live_lease"
    BUSY = "result_being_stored"  # another session holds the row, or has finished it


def supersede(submission_ids: Iterable[int]) -> list[int]:
    """
    Retire those of these submissions that are in flight, and return their ids.

    Pending and retry go through pulled, with a pullkey that is never handed out. The pullkey ends up empty, so that a
    grader's late put_result is refused (403). If another session holds a row, its result is being stored at this
    moment; such a row is skipped without waiting for its lock.
    """
    superseded: list[int] = []
    ids = list(submission_ids)
    if not ids:
        return superseded
    with transaction.atomic():
        for row in _locked(ids):
            if row.status != _Status.PULLED:
                row.update_status(_Status.PULLED)
            row.update_status(_Status.RETIRED)
            row.pullkey = ""
            row.save(update_fields=["pullkey"])
            superseded.append(row.submission_id)
    return superseded


def _locked(submission_ids: Iterable[int]) -> QuerySet[ExternalGraderDetail]:
    """Return those of these rows that are in flight, locked. A row that another session holds is left out."""
    rows = ExternalGraderDetail.objects.filter(submission_id__in=list(submission_ids), status__in=IN_FLIGHT)
    return rows.select_for_update(skip_locked=connection.features.has_select_for_update_skip_locked)


def revive(submission_id: int) -> bool:
    """Put a row that was superseded without an answer back into its queue, and tell whether it was such a row."""
    rows = ExternalGraderDetail.objects.filter(
        submission_id=submission_id, status=_Status.RETIRED, pullkey="", grader_reply=None
    )
    return rows.update(status=_Status.PENDING, status_time=now()) > 0


def fence(submission_id: int, lease_seconds: int) -> FenceResult:
    """
    Retire a row without an outcome, as supersession does, unless a grader is working on it.

    To be called inside a transaction in which the ledger records it. Nothing waits for a lock.
    """
    row = _locked([submission_id]).first()
    if row is None:
        return FenceResult.BUSY
    if is_leased(row, lease_seconds):
        return FenceResult.LEASED
    supersede([submission_id])
    return FenceResult.FENCED


def release(submission_id: int, held_queue: str, queue_name: str) -> bool:
    """Give a held row to the target's graders; False when there is no such row."""
    held = ExternalGraderDetail.objects.filter(submission_id=submission_id, queue_name=held_queue)
    return held.filter(status=_Status.PENDING).update(queue_name=queue_name) > 0


def drop(submission_id: int, held_queue: str) -> None:
    """
    Delete a held row, and the contents of its files after the commit. Rows on any other queue are left alone.

    To be called inside a transaction. The StudentItem stays: it is the learner's, and a submission made at this moment
    may be about to use it.
    """
    if not ExternalGraderDetail.objects.filter(submission_id=submission_id, queue_name=held_queue).exists():
        return
    files = SubmissionFile.objects.filter(external_grader__submission_id=submission_id)
    left = record_abandoned(files.values_list("uuid", "file"))
    files.delete()
    Submission._objects.filter(pk=submission_id).delete()
    transaction.on_commit(partial(discard, left))
