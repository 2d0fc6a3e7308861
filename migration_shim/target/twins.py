"""
Twins: shadows written a second time, to be graded a second time. See docs/decisions/0012.

A twin is a shadow like the first one: fenced, on the shadow queue, with the same answer and files. It has a StudentItem
and a key of its own, so it is neither a further attempt nor a duplicate of anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.utils.timezone import now
from submissions.models import ExternalGraderDetail, SubmissionFile, get_storage

from ..core.errors import FileUnavailable, TargetWriteFailed, Unfit
from ..core.identity import Placement, twin_placement
from ..db.storage import storage_errors
from . import bulk, file_storage
from .open_rows import IN_FLIGHT

_Status = ExternalGraderDetail.Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Twin:
    """A twin that is to be written, with the files that it shares with its shadow."""

    row: bulk.NewRow
    files: list[file_storage.StoredFile]


def prepare(submission_id: int, queue_name: str) -> Twin:
    """
    Return what the twin of a graded shadow will be.

    To be called outside a transaction, because a storage may be asked over HTTP.

    Args:
        submission_id: the shadow's.
        queue_name: the shadow queue.

    Raises:
        Unfit: the shadow is missing, not graded or not fenced, or the target could not hold its twin.
        FileUnavailable: a file of the shadow is missing.
    """
    details = ExternalGraderDetail.objects.filter(submission_id=submission_id, status=_Status.RETIRED)
    shadow = details.exclude(grader_reply=None).select_related("submission__student_item").first()
    if shadow is None:
        raise Unfit("shadow_not_graded", "The target holds no graded copy of the submission.")
    item = shadow.submission.student_item
    placement = Placement(
        student_id=item.student_id,
        course_id=item.course_id,
        item_id=item.item_id,
        item_type=item.item_type,
        queue_name=queue_name,
        queue_key=shadow.queue_key or "",
    )
    row = bulk.NewRow(
        placement=twin_placement(placement),
        answer=bulk.as_stored(shadow.submission.answer),
        grader_name=shadow.grader_file_name,
        points_possible=shadow.points_possible,
        arrived_at=now(),
    )
    return Twin(row=row, files=[_shared(file) for file in shadow.files.order_by("id")])


def _shared(file: SubmissionFile) -> file_storage.StoredFile:
    """Return the very object that the first grader got. It is deleted with the shadow, not with the twin."""
    try:
        there = get_storage().exists(file.file.name)
    except storage_errors() as error:
        raise FileUnavailable("target_file_unreadable", file.file.name) from error
    if not there:
        raise FileUnavailable("target_file_missing", file.file.name)
    return file_storage.link(file.file.name, file.original_filename)


def write(twin: Twin) -> int:
    """
    Write a twin, and return its Submission id. To be called inside a transaction in which the ledger records it.

    Raises:
        TargetWriteFailed: the transaction must be rolled back.
        DatabaseError: likewise.
    """
    (submission_id,) = bulk.insert([twin.row])
    if submission_id is None:
        raise TargetWriteFailed("student_item_differs")
    detail = ExternalGraderDetail.objects.only("pk").get(submission_id=submission_id)
    SubmissionFile.objects.bulk_create(
        SubmissionFile(
            uuid=file.uuid, external_grader=detail, file=file.stored_name, original_filename=file.original_name
        )
        for file in twin.files
    )
    return submission_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Graded:
    """A grader's reply to a row, and the key that the row was handed out with."""

    reply: str
    pullkey: str


def graded(submission_ids: Iterable[int]) -> dict[int, Graded]:
    """Return those of these submissions that were graded, by Submission id."""
    rows = ExternalGraderDetail.objects.filter(submission_id__in=list(submission_ids), status=_Status.RETIRED)
    columns = rows.exclude(grader_reply=None).order_by().values_list("submission_id", "grader_reply", "pullkey")
    return {pk: Graded(reply=reply, pullkey=pullkey or "") for pk, reply, pullkey in columns}


def count_ungraded(submission_ids: Iterable[int]) -> int:
    """Return how many of these submissions a grader still has to grade."""
    return ExternalGraderDetail.objects.filter(submission_id__in=list(submission_ids), status__in=IN_FLIGHT).count()
