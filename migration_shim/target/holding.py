"""
Held rows: a learner's real submission on a queue that no grader polls, until legacy is sure to have let go of it.
"""

from __future__ import annotations

from functools import partial

from django.db import transaction
from submissions.models import ExternalGraderDetail, Submission, SubmissionFile

from .contents import abandoned, discard

_Status = ExternalGraderDetail.Status


def release(submission_id: int, held_queue: str, queue_name: str) -> bool:
    """Give a held row to the target's graders; False when there is no such row."""
    held = ExternalGraderDetail.objects.filter(submission_id=submission_id, queue_name=held_queue)
    return held.filter(status=_Status.PENDING).update(queue_name=queue_name) > 0


def drop(submission_id: int, held_queue: str) -> None:
    """
    Delete a held row, its files' contents after the commit. To be called inside a transaction; never for another row.

    The StudentItem stays: it is the learner's, and a submission of this very moment may be about to use it.
    """
    if not ExternalGraderDetail.objects.filter(submission_id=submission_id, queue_name=held_queue).exists():
        return
    files = SubmissionFile.objects.filter(external_grader__submission_id=submission_id)
    left = abandoned(files.values_list("uuid", "file"))
    files.delete()
    Submission._objects.filter(pk=submission_id).delete()
    transaction.on_commit(partial(discard, left))
