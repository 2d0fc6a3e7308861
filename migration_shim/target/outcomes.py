"""The target's side of submissions, as outcomes: what its rows say became of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Self

from submissions.models import ExternalGraderDetail, Score, Submission

from ..core.data import Outcome, Points, Remarks, State
from ..core.identity import FENCE, is_fenced, is_half_fenced
from ..core.scoring import read_reply
from ..db import bulk
from .prediction import points_for, predicted_points

_STATES = {
    "pending": State.QUEUED,
    "retry": State.QUEUED,
    "pulled": State.PULLED,
    "retired": State.GRADED,
    "failed": State.FAILED,
}
#: The field of a submission's answer, which knows how the column is to be read.
ANSWER: Any = Submission._meta.get_field("answer")


class TargetRow(NamedTuple):
    """The columns of a target row that its outcome and its identity are read from."""

    submission_id: int
    status: str
    status_time: datetime
    created_at: datetime
    num_failures: int
    grader_reply: str | None
    queue_name: str
    queue_key: str | None
    pullkey: str | None
    points_possible: int
    student_item_id: int
    student_id: str
    course_id: str
    item_id: str

    @classmethod
    def of_columns(cls, values: Sequence[Any]) -> Self | None:
        """Return the row whose ``COLUMNS`` the database has given as these values; None where there is no such row."""
        if values[0] is None or values[10] is None:
            return None
        submission_id, status, status_time, created_at, *others = values
        return cls(submission_id, status, bulk.moment(status_time), bulk.moment(created_at), *others)


#: SQL for the columns of ``TargetRow``, in its order, over the tables of ``fingerprints.joins``.
COLUMNS = ", ".join(
    (
        *(f"d.{name}" for name in TargetRow._fields[:10]),
        *("i.id", "i.student_id", "i.course_id", "i.item_id"),
    )
)
_OF_ROW = (
    *TargetRow._fields[:10],
    "submission__student_item_id",
    *(f"submission__student_item__{name}" for name in TargetRow._fields[11:]),
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
    details = ExternalGraderDetail.objects.filter(submission_id__in=bulk.listed(wanted)).order_by()
    rows = {row.submission_id: row for row in map(TargetRow._make, details.values_list(*_OF_ROW))}
    scores = Score.objects.filter(submission_id__in=bulk.listed(wanted)).order_by("id")
    stored = dict(scores.values_list("submission_id", "points_earned"))
    duplicates = others(rows)
    return {pk: side(row, stored.get(pk), duplicates[pk], stuck_before) for pk, row in rows.items()}


def side(row: TargetRow, stored: int | None, others: int, stuck_before: datetime | None) -> TargetSide:
    """
    Return the target's side of a row.

    Args:
        row: the row.
        stored: the points of its Score, None where it has none.
        others: how many other living rows have its StudentItem and key; see ``others``.
        stuck_before: as ``sides`` takes it.
    """
    text: Any = row.grader_reply
    # put_result keeps the reply of every row that it retires; a retired row without one was superseded.
    state = State.SUPERSEDED if row.status == "retired" and text is None else _STATES[row.status]
    if state is State.PULLED and stuck_before is not None and row.status_time < stuck_before:
        state = State.STUCK
    reply = points = None
    if state is State.GRADED:
        reply = read_reply(text)
        possible = row.points_possible
        known = reply.sent is not None
        predicted = points_for(reply.sent, possible) if known else predicted_points(text, possible)
        points = Points(stored=stored, possible=possible, predicted=predicted)
    return TargetSide(
        outcome=Outcome(
            state=state,
            reply=reply,
            arrived_at=row.created_at,
            returned_at=row.status_time if state.is_final else None,
            attempts=row.num_failures + (state in (State.PULLED, State.GRADED)),
            points=points,
            remarks=Remarks(
                duplicates=others, identity=f"{row.student_id.removeprefix(FENCE)} {row.item_id.removeprefix(FENCE)}"
            ),
        ),
        student_id=row.student_id,
        course_id=row.course_id,
        item_id=row.item_id,
        queue_name=row.queue_name,
        queue_key=row.queue_key,
        pullkey=row.pullkey,
    )


def others(rows: Mapping[int, TargetRow | None]) -> dict[int, int]:
    """
    Return how many other living rows have the StudentItem and the key of each row, by the keys of ``rows``.

    A shadow's key belongs to its submission alone. One statement.
    """
    items = bulk.listed({row.student_item_id for row in rows.values() if row is not None})
    living = ExternalGraderDetail.objects.filter(submission__student_item_id__in=items).order_by()
    living = living.exclude(status="retired", grader_reply=None)
    times = Counter(living.values_list("submission__student_item_id", "queue_key"))
    return {
        key: max(times[row.student_item_id, row.queue_key] - 1, 0) if row is not None and row.queue_key else 0
        for key, row in rows.items()
    }
