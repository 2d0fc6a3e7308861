"""Read the target's side of submissions, in bulk, and find leaks of the fence."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.files.base import ContentFile
from django.db import connection
from django.db.models import F, Q
from submissions.models import ExternalGraderDetail, StudentItem, SubmissionFile

from ..core.errors import FileUnavailable, Malformed
from ..core.identity import FENCE, is_fenced, is_half_fenced
from ..db import bulk
from ..db.storage import storage_errors
from .exact_match import of_course_sql
from .open_rows import OPEN

#: How many ids below the newest are checked again: an id is handed out before its row is committed.
_LATE_IDS = 2000
_PAGE = 2000
_IDENTITY = tuple(f"submission__student_item__{name}" for name in ("student_id", "course_id", "item_id"))


def half_fenced(course_id: str, *, known_upto: int = 0) -> int:
    """
    Return how many StudentItems of a course carry one half of the fence without the other, or a fenced course alone.

    Either half alone is a leak. The student's alone turns every grade into a server error that blocks the queue. The
    item's alone triggers the platform's receivers under the real learner, and so does a fenced course alone.

    Args:
        course_id: the course.
        known_upto: an id (``newest_item``) up to which the items were checked before, without a leak among them.
    """
    of_course, parameters = of_course_sql(course_id, "course_id")
    course, student, item = (
        f"{name} {bulk.like(connection, 'startswith')}" for name in ("course_id", "student_id", "item_id")
    )
    begins = f"{connection.ops.prep_for_like_query(FENCE)}%"
    found = bulk.ask(
        f"SELECT COUNT(*) FROM {StudentItem._meta.db_table} WHERE {of_course} AND ({course} OR {student} OR {item})"
        f" AND NOT ({student} AND {item}){' AND id > %s' if known_upto else ''}",
        [*parameters, *[begins] * 5, *([known_upto - _LATE_IDS] if known_upto else ())],
    )
    return int(found[0][0])


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedRow:
    """A row of a course, and whether both halves of the fence are around its identity."""

    submission_id: int
    queue_name: str
    fenced: bool


def rows_on_queues(course_id: str, queue_names: Collection[str], *, since: datetime | None) -> list[QueuedRow]:
    """
    Return the unfinished rows of a course on these queues, and those that were finished since ``since``, if given.

    Rows with one half of the fence are left out: ``half_fenced`` counts them. The cost follows what is open and what is
    new on these queues, of any course, because the index on (queue_name, status, status_time) and then ids lead to it.
    A condition on the course beside them would let the database read all rows of the course instead.

    A name counts as the database compares it, because so do the graders' own pulls.
    """
    wanted = Q(status__in=OPEN)
    if since is not None:
        wanted |= Q(status=ExternalGraderDetail.Status.RETIRED, status_time__gte=since)
    details = ExternalGraderDetail.objects.filter(wanted, queue_name__in=queue_names).order_by()
    ids = sorted(details.values_list("pk", flat=True))
    found = []
    for start in range(0, len(ids), _PAGE):
        rows = ExternalGraderDetail.objects.filter(pk__in=ids[start : start + _PAGE]).order_by()
        for submission_id, queue_name, student, course, item in rows.values_list(
            "submission_id", "queue_name", *_IDENTITY
        ):
            if course.removeprefix(FENCE) == course_id and not is_half_fenced(student, course, item):
                fenced = is_fenced(student, item)
                found.append(QueuedRow(submission_id=submission_id, queue_name=queue_name, fenced=fenced))
    return found


def newest_item() -> int:
    """Return the id of the newest StudentItem, of any course."""
    return int(bulk.ask(f"SELECT COALESCE(MAX(id), 0) FROM {StudentItem._meta.db_table}")[0][0])


def files_of(submission_ids: Iterable[int]) -> dict[int, list[SubmissionFile]]:
    """Return the files of these submissions in the order of upload, by Submission id. Their contents are not read."""
    found: dict[int, list[SubmissionFile]] = defaultdict(list)
    wanted = bulk.listed(submission_ids)
    rows = SubmissionFile.objects.filter(external_grader__submission_id__in=wanted).order_by("id")
    for file in rows.annotate(of=F("external_grader__submission_id")):
        found[file.of].append(file)
    return found


def replies(submission_ids: Iterable[int]) -> dict[int, tuple[Any, str | None]]:
    """Return (answer, grader's reply) by Submission id, as stored. Missing submissions are left out."""
    rows = ExternalGraderDetail.objects.filter(submission_id__in=bulk.listed(submission_ids)).select_related(
        "submission"
    )
    return {row.submission_id: (row.submission.answer, row.grader_reply) for row in rows}


def reply_texts(submission_ids: Iterable[int]) -> dict[int, str | None]:
    """Return the graders' replies by Submission id, as stored. Missing submissions are left out."""
    rows = ExternalGraderDetail.objects.filter(submission_id__in=bulk.listed(submission_ids)).order_by()
    return dict(rows.values_list("submission_id", "grader_reply"))


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerAndFiles:
    """A submission's answer, and its files under their original names."""

    answer: Any
    files: list[ContentFile]


def answer_and_files(submission_id: int) -> AnswerAndFiles | None:
    """
    Return the answer and the files of one submission; None where it is gone. Files are read whole (the LMS allows 4
    MB).

    Raises:
        Malformed: the answer was stored before there was a limit of depth, and cannot be read back.
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
    """A real row's answer, and the original names of its files in the order of upload."""

    answer: Any
    file_names: tuple[str, ...]


def row_contents(submission_id: int) -> RowContents | None:
    """Return the contents of a real row; None where it is gone."""
    row = ExternalGraderDetail.objects.filter(submission_id=submission_id).select_related("submission").first()
    if row is None:
        return None
    names = tuple(row.files.order_by("id").values_list("original_filename", flat=True))
    return RowContents(answer=row.submission.answer, file_names=names)


def file_contents(submission_id: int) -> dict[str, bytes]:
    """
    Return the contents of a row's files by original name, read whole (the LMS allows 4 MB a file, 20 files an input).

    Raises:
        FileUnavailable: one of them is missing.
    """
    contents = {}
    for file in SubmissionFile.objects.filter(external_grader__submission_id=submission_id).order_by("id"):
        try:
            with file.file.open() as opened:
                contents[file.original_filename] = opened.read()
        except storage_errors() as error:
            raise FileUnavailable("target_file_missing", file.file.name) from error
    return contents
