"""Reading the target's side of submissions, in bulk, and what can be shown of the fence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.core.files.base import ContentFile
from django.db.models import Q
from submissions.models import ExternalGraderDetail, Score, StudentItem

from ..core.identity import FENCE, is_fenced
from ..core.scoring import read_reply
from ..data import Outcome, State

_STATES = {
    "pending": State.QUEUED,
    "retry": State.QUEUED,
    "pulled": State.PULLED,
    "retired": State.GRADED,
    "failed": State.FAILED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSide:
    """What the target says of one submission, and under which identity it holds it."""

    outcome: Outcome
    student_id: str
    item_id: str
    queue_name: str
    queue_key: str | None
    pullkey: str | None

    @property
    def fenced(self) -> bool:
        """Whether both halves of the fence are there."""
        return is_fenced(self.student_id, self.item_id)

    @property
    def half_fenced(self) -> bool:
        """Whether one half is there without the other; ``half_fenced()`` counts these."""
        return self.student_id.startswith(FENCE) != self.item_id.startswith(FENCE)


def sides(submission_ids: Iterable[int]) -> dict[int, TargetSide]:
    """The target's side of these submissions, by Submission id; what is not there is left out."""
    identity = {"student": "submission__student_item__student_id", "item": "submission__student_item__item_id"}
    columns = (
        "submission_id",
        "status",
        "status_time",
        "created_at",
        "grader_reply",
        "queue_name",
        "queue_key",
        "pullkey",
        *identity.values(),
    )
    found = {}
    for row in ExternalGraderDetail.objects.filter(submission_id__in=list(submission_ids)).values(*columns):
        reply = row["grader_reply"]
        # put_result keeps the reply of every row that it retires; a retired row without one was superseded.
        state = State.SUPERSEDED if row["status"] == "retired" and reply is None else _STATES[row["status"]]
        found[row["submission_id"]] = TargetSide(
            outcome=Outcome(
                state=state,
                reply=read_reply(reply) if state is State.GRADED else None,
                arrived_at=row["created_at"],
                returned_at=row["status_time"] if state.is_final else None,
            ),
            student_id=row[identity["student"]],
            item_id=row[identity["item"]],
            queue_name=row["queue_name"],
            queue_key=row["queue_key"],
            pullkey=row["pullkey"],
        )
    return found


def half_fenced(course_id: str) -> int:
    """
    How many StudentItems of a course carry one half of the fence without the other, or a score among them.

    Either half alone is a leak: the student's alone turns every grade into a server error that blocks the queue, the
    item's alone fires the platform's receivers under the real learner.
    """
    student, item = Q(student_id__startswith=FENCE), Q(item_id__startswith=FENCE)
    return StudentItem.objects.filter(Q(course_id=course_id) & ((student & ~item) | (item & ~student))).count()


def scored(submission_ids: Iterable[int]) -> set[int]:
    """Those of these submissions that have a Score."""
    return set(Score.objects.filter(submission_id__in=list(submission_ids)).values_list("submission_id", flat=True))


def in_flight(course_id: str) -> dict[str, int]:
    """How many rows of a course, real ones, the target has not finished, by status."""
    rows = ExternalGraderDetail.objects.filter(
        submission__student_item__course_id=course_id, status__in=("pending", "pulled", "retry")
    ).exclude(submission__student_item__student_id__startswith=FENCE)
    counts: dict[str, int] = {}
    for status in rows.values_list("status", flat=True):
        counts[status] = counts.get(status, 0) + 1
    return counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a submission holds: its answer, and its files under their original names."""

    answer: Any
    files: list[ContentFile]


def contents(submission_id: int) -> Contents | None:
    """The answer and the files of one submission; None where it is gone. Files are read whole (the LMS allows 4 MB)."""
    detail = ExternalGraderDetail.objects.filter(submission_id=submission_id).select_related("submission").first()
    if detail is None:
        return None
    files = [ContentFile(row.file.read(), name=row.original_filename) for row in detail.files.order_by("id")]
    return Contents(answer=detail.submission.answer, files=files)
