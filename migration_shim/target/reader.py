"""Reading the target's side of submissions, in bulk, and what can be shown of the fence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.core.files.base import ContentFile
from django.db.models import Q
from submissions.models import ExternalGraderDetail, StudentItem, SubmissionFile

from ..core.errors import FileUnavailable, Malformed
from ..core.identity import FENCE
from ..db.storage import storage_errors
from .exact_match import of_course

#: Ids below the newest that are looked at again: one is handed out before its row is committed.
_LATE_IDS = 2000


def half_fenced(course_id: str, *, known_upto: int = 0) -> int:
    """
    How many StudentItems of a course carry one half of the fence without the other, or a score among them.

    Either half alone is a leak: the student's alone turns every grade into a server error that blocks the queue, the
    item's alone fires the platform's receivers under the real learner. So does a fenced course.

    Args:
        course_id: the course.
        known_upto: the items up to this id (``newest_item``) have been looked at, and none was such a one.
    """
    course, student, item = (Q(**{f"{name}__startswith": FENCE}) for name in ("course_id", "student_id", "item_id"))
    items = StudentItem.objects.filter(of_course(course_id), course | student | item).exclude(student & item)
    return items.filter(id__gt=known_upto - _LATE_IDS).count() if known_upto else items.count()


def newest_item() -> int:
    """The id of the newest StudentItem, of any course."""
    return StudentItem.objects.order_by("-id").values_list("id", flat=True).first() or 0


def answers(submission_ids: Iterable[int]) -> dict[int, Any]:
    """The answers of these submissions, by id."""
    rows = ExternalGraderDetail.objects.filter(submission_id__in=list(submission_ids)).order_by()
    return dict(rows.values_list("submission_id", "submission__answer"))


def with_files(submission_ids: Iterable[int]) -> set[int]:
    """Those of these submissions that have files."""
    rows = SubmissionFile.objects.filter(external_grader__submission_id__in=list(submission_ids)).order_by()
    return set(rows.values_list("external_grader__submission_id", flat=True))


def replies(submission_ids: Iterable[int]) -> dict[int, tuple[Any, str | None]]:
    """(answer, grader's reply) by Submission id, as stored; what is not there is left out."""
    rows = ExternalGraderDetail.objects.filter(submission_id__in=list(submission_ids)).select_related("submission")
    return {row.submission_id: (row.submission.answer, row.grader_reply) for row in rows}


def reply_texts(submission_ids: Iterable[int]) -> dict[int, str | None]:
    """Grader's replies by Submission id, as stored; what is not there is left out."""
    rows = ExternalGraderDetail.objects.filter(submission_id__in=list(submission_ids)).order_by()
    return dict(rows.values_list("submission_id", "grader_reply"))


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerAndFiles:
    """What a submission holds: its answer, and its files under their original names."""

    answer: Any
    files: list[ContentFile]


def answer_and_files(submission_id: int) -> AnswerAndFiles | None:
    """
    The answer and the files of one submission; None where it is gone. Files are read whole (the LMS allows 4 MB).

    Raises:
        Malformed: the answer was taken before there was a limit of depth, and cannot be read back.
    """
    rows = ExternalGraderDetail.objects.filter(submission_id=submission_id).select_related("submission")
    try:
        detail = rows.first()
    except RecursionError as error:
        raise Malformed("answer_too_deep") from error
    if detail is None:
        return None
    files = [ContentFile(row.file.read(), name=row.original_filename) for row in detail.files.order_by("id")]
    return AnswerAndFiles(answer=detail.submission.answer, files=files)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowContents:
    """What a real row holds of its submission: the answer, and the names of its files in the order of upload."""

    answer: Any
    file_names: tuple[str, ...]


def row_contents(submission_id: int) -> RowContents | None:
    """What a real row holds; None where it is gone."""
    row = ExternalGraderDetail.objects.filter(submission_id=submission_id).select_related("submission").first()
    if row is None:
        return None
    names = tuple(row.files.order_by("id").values_list("original_filename", flat=True))
    return RowContents(answer=row.submission.answer, file_names=names)


def file_contents(submission_id: int) -> dict[str, bytes]:
    """
    The contents of a row's files by original name, read whole (the LMS allows 4 MB a file, 20 files an input).

    Raises:
        FileUnavailable: one of them is not there.
    """
    contents = {}
    for file in SubmissionFile.objects.filter(external_grader__submission_id=submission_id).order_by("id"):
        try:
            with file.file.open() as opened:
                contents[file.original_filename] = opened.read()
        except storage_errors() as error:
            raise FileUnavailable("target_file_missing", file.file.name) from error
    return contents
