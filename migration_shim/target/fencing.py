"""Fencing a real row of the target before it goes back to legacy: no grader gets it any more, no late reply counts."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import connection
from django.db.models import Q, QuerySet
from django.db.models.functions import Length
from django.db.models.lookups import Exact
from django.utils.timezone import now
from submissions.models import ExternalGraderDetail, SubmissionFile

from ..core.identity import FENCE
from ..errors import FileUnavailable
from ..storage_errors import storage_errors
from .supersession import supersede

_Status = ExternalGraderDetail.Status
_IN_FLIGHT = (_Status.PENDING, _Status.RETRY, _Status.PULLED)


class Fenced(enum.StrEnum):
    """What became of the wish to fence a row."""

    FENCED = "fenced"
    LEASED = "under_live_lease"
    BUSY = "result_being_stored"  # another session holds the row, or has finished it


@dataclass(frozen=True, slots=True, kw_only=True)
class RealRow:
    """A row in flight under a learner's own identity."""

    submission_id: int
    course_id: str
    queue_name: str
    leased: bool


def real_rows(
    lease_seconds: int, size: int, *, courses: frozenset[str] | None, queues: frozenset[str] | None
) -> Iterator[list[RealRow]]:
    """
    The rows in flight under learners' own identities, in order of arrival, in keyset pages of ``size``.

    ``courses`` and ``queues`` are None for all.
    """
    rows, after = _real(courses, queues).select_related("submission__student_item"), Q()
    while page := list(rows.filter(after)[:size]):
        yield [
            RealRow(
                submission_id=row.submission_id,
                course_id=row.submission.student_item.course_id,
                queue_name=row.queue_name,
                leased=_is_leased(row, lease_seconds),
            )
            for row in page
        ]
        last = page[-1]
        after = Q(created_at__gt=last.created_at) | Q(created_at=last.created_at, pk__gt=last.pk)


def count_real_rows(*, courses: frozenset[str] | None, queues: frozenset[str] | None) -> int:
    """How many rows ``real_rows`` would give."""
    return _real(courses, queues).count()


def _real(courses: frozenset[str] | None, queues: frozenset[str] | None) -> QuerySet[ExternalGraderDetail]:
    rows = ExternalGraderDetail.objects.filter(status__in=_IN_FLIGHT).exclude(
        Q(submission__student_item__student_id__startswith=FENCE)
        | Q(submission__student_item__item_id__startswith=FENCE)
    )
    if courses is not None:
        rows = rows.filter(_exactly("submission__student_item__course_id", courses))
    if queues is not None:
        rows = rows.filter(_exactly("queue_name", queues))
    return rows.order_by("created_at", "pk")


def _exactly(column: str, values: frozenset[str]) -> Q:
    """By bytes: MySQL takes names for one that differ in case (not so at a beginning), or in blanks at the end."""
    wanted = Q(pk__in=[])
    for value in sorted(values):
        as_long = Exact(Length(column), len(value))
        wanted |= Q(as_long, **{column: value, f"{column}__startswith": value})
    return wanted


def fence(submission_id: int, lease_seconds: int) -> Fenced:
    """
    Retire a row without an outcome, as supersession does, unless a grader is at work on it.

    To be called inside a transaction, in which the ledger takes note of it. Nobody waits for a lock here.
    """
    rows = ExternalGraderDetail.objects.select_for_update(
        skip_locked=connection.features.has_select_for_update_skip_locked
    )
    row = rows.filter(submission_id=submission_id, status__in=_IN_FLIGHT).first()
    if row is None:
        return Fenced.BUSY
    if _is_leased(row, lease_seconds):
        return Fenced.LEASED
    supersede([submission_id])
    return Fenced.FENCED


def _is_leased(row: ExternalGraderDetail, lease_seconds: int) -> bool:
    """Whether a grader has the row now; by the row itself, because edx-submissions' own endpoint writes no lease."""
    return row.status == _Status.PULLED and row.status_time > now() - timedelta(seconds=lease_seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a real row holds of its submission: the answer, and the names of its files in the order of upload."""

    answer: Any
    file_names: tuple[str, ...]


def held(submission_id: int) -> Held | None:
    """What a real row holds; None where it is gone."""
    row = ExternalGraderDetail.objects.filter(submission_id=submission_id).select_related("submission").first()
    if row is None:
        return None
    names = tuple(row.files.order_by("id").values_list("original_filename", flat=True))
    return Held(answer=row.submission.answer, file_names=names)


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
