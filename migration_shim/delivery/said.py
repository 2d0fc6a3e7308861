"""What learners' states say of submissions that are over; how such an answer is stored is said in ``notes``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from ..conf import ShimSettings
from ..core.delivered import Learner, comparable
from ..db import bulk
from ..ledger import attempts
from ..ledger.attempts import Submitted
from ..lms import state


class Answer(NamedTuple):
    """What a learner's state says of a submission and, where the two can be compared, the grade in it."""

    said: Learner
    has: tuple[bool | None, float | None] | None = None


class Graded(NamedTuple):
    """
    The columns of an entry that legacy is authoritative for and that both systems have graded for good.

    ``newest`` tells whether the ledger knows no later attempt at its input.
    """

    raw_header: str
    student_info: str
    learner: str
    arrived_at: datetime | str
    newest: object

    def __repr__(self) -> str:
        return "<graded submission>"  # whoever has the header can post a grade


def of_graded(entries: Mapping[int, Graded], settings: ShimSettings) -> dict[int, Answer]:
    """
    Return by entry what learners' states say; learners who wait are left out, and so are all outside an LMS.

    The entries' rows must have been read before. Do not call it inside a transaction (see ``state.problems``).
    """
    if not entries or not state.is_lms():
        return {}
    takes = call_takes(settings)
    inputs = {pk: attempts.submitted(one.raw_header, one.student_info, one.learner) for pk, one in entries.items()}
    states = state.problems({one.place for one in inputs.values() if one is not None and not one.plot})
    answers = {}
    for pk, entry in entries.items():
        answer = answer_of(
            inputs[pk],
            states,
            graded=True,
            newest=bool(entry.newest),
            arrived_at=entry.arrived_at,
            call_takes=takes,
            forgotten=not entry.raw_header,
        )
        if answer.said is not Learner.WAITS:
            answers[pk] = answer
    return answers


def call_takes(settings: ShimSettings) -> timedelta:
    """Return how long a call of the platform may take at either door."""
    return timedelta(seconds=max(settings.python_door_seconds, settings.http_door_seconds))


def answer_of(
    one: Submitted | None,
    states: Mapping[state.Place, state.Problem],
    *,
    graded: bool,
    newest: bool,
    arrived_at: datetime | str,
    call_takes: timedelta,
    forgotten: bool,
) -> Answer:
    """
    Return what a learner's state says of a submission that is over.

    Args:
        one: where its grade has to arrive; None where that cannot be read.
        states: the states of all problems that were asked for.
        graded: whether the authoritative system has graded it.
        newest: whether the ledger knows no later attempt at its input.
        arrived_at: when the door was called, as the database returns it.
        call_takes: how long that call may have taken.
        forgotten: whether its residue was dropped.
    """
    if one is None:
        return Answer(Learner.FORGOTTEN if forgotten else Learner.INPUT_UNKNOWN)
    if one.plot:
        return Answer(Learner.PLOT)
    problem = states.get(one.place)
    if problem is None:
        return Answer(Learner.NO_LEARNER)
    if problem.unreadable:
        return Answer(Learner.UNREADABLE)
    if problem.waits_for(one.key):
        return Answer(Learner.WAITS)
    if one.answer_id is None:
        return Answer(Learner.INPUT_UNKNOWN)
    held = problem.inputs.get(one.answer_id)
    said = comparable(
        graded=graded,
        newest=newest and (held is None or held.key is None),
        submitted_at=problem.submitted_at,
        called_at=bulk.moment(arrived_at),
        call_takes=call_takes,
        answered=held is not None,
    )
    return Answer(said, (held.correct, held.score) if held is not None and said is Learner.COMPARABLE else None)
