"""The target's side of submissions, as outcomes: what its rows say became of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from submissions.models import ExternalGraderDetail, Score

from ..core.data import Outcome, Points, Remarks, State
from ..core.identity import FENCE, is_fenced, is_half_fenced
from ..core.scoring import message_digest, read_reply
from ..db import bulk
from .prediction import points_for, predicted_points

_STATES = {
    "pending": State.QUEUED,
    "retry": State.QUEUED,
    "pulled": State.PULLED,
    "retired": State.GRADED,
    "failed": State.FAILED,
}
_IDENTITY = tuple(f"submission__student_item__{name}" for name in ("student_id", "course_id", "item_id"))
_COLUMNS = (
    "submission_id",
    "status",
    "status_time",
    "created_at",
    "num_failures",
    "grader_reply",
    "queue_name",
    "queue_key",
    "pullkey",
    "points_possible",
    "submission__student_item_id",
    *_IDENTITY,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSide:
    """The target's outcome of one submission, and the identity under which it holds it."""

    outcome: Outcome
    student_id: str
    course_id: str
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
        """Whether some part of the fence is there without both halves; ``reader.half_fenced()`` counts these."""
        return is_half_fenced(self.student_id, self.course_id, self.item_id)


def sides(submission_ids: Iterable[int], *, stuck_before: datetime | None = None) -> dict[int, TargetSide]:
    """
    Return the target's side of these submissions, by Submission id. Missing submissions are left out. Three statements.

    A row that has been with a grader since before ``stuck_before`` is stuck: its lease should have ended long ago.
    """
    wanted = list(submission_ids)
    rows = list(ExternalGraderDetail.objects.filter(submission_id__in=bulk.listed(wanted)).order_by().values(*_COLUMNS))
    scores = Score.objects.filter(submission_id__in=bulk.listed(wanted)).order_by("id")
    stored = dict(scores.values_list("submission_id", "points_earned"))
    duplicates = _duplicates(row["submission__student_item_id"] for row in rows)
    return {row["submission_id"]: _side(row, stored, duplicates, stuck_before) for row in rows}


def _side(
    row: Mapping[str, Any], stored: Mapping[int, int], duplicates: Counter[Any], stuck_before: datetime | None
) -> TargetSide:
    text = row["grader_reply"]
    # put_result keeps the reply of every row that it retires; a retired row without one was superseded.
    state = State.SUPERSEDED if row["status"] == "retired" and text is None else _STATES[row["status"]]
    if state is State.PULLED and stuck_before is not None and row["status_time"] < stuck_before:
        state = State.STUCK
    reply = points = None
    digest = ""
    if state is State.GRADED:
        reply, digest = read_reply(text), message_digest(text)
        possible = row["points_possible"]
        known = reply.sent is not None
        predicted = points_for(reply.sent, possible) if known else predicted_points(text, possible)
        points = Points(stored=stored.get(row["submission_id"]), possible=possible, predicted=predicted)
    student_id, course_id, item_id = (row[name] for name in _IDENTITY)
    others = max(duplicates[row["submission__student_item_id"], row["queue_key"]] - 1, 0) if row["queue_key"] else 0
    return TargetSide(
        outcome=Outcome(
            state=state,
            reply=reply,
            arrived_at=row["created_at"],
            returned_at=row["status_time"] if state.is_final else None,
            attempts=row["num_failures"] + (state in (State.PULLED, State.GRADED)),
            message_digest=digest,
            points=points,
            remarks=Remarks(
                duplicates=others, identity=f"{student_id.removeprefix(FENCE)} {item_id.removeprefix(FENCE)}"
            ),
        ),
        student_id=student_id,
        course_id=course_id,
        item_id=item_id,
        queue_name=row["queue_name"],
        queue_key=row["queue_key"],
        pullkey=row["pullkey"],
    )


def _duplicates(items: Iterable[int]) -> Counter[Any]:
    """Return how many living rows each (StudentItem, queue_key) has. A shadow's key belongs to its submission alone."""
    rows = ExternalGraderDetail.objects.filter(submission__student_item_id__in=bulk.listed(set(items))).order_by()
    living = rows.exclude(status="retired", grader_reply=None)
    return Counter(living.values_list("submission__student_item_id", "queue_key"))
