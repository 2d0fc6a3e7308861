"""What keeps a course from the target whoever signs and whatever the gate says, read as it is now."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..core.evidence import Cause
from ..core.ranking import command_for
from ..core.wording import counted, verb
from . import invariants


class Obstacle(NamedTuple):
    """Why a step may not be taken, and the command that comes next."""

    reason: str
    command: str


def find(course_id: str) -> Obstacle | None:
    """
    Return why no step of a course may make the target authoritative now; None where nothing of the kind is found.

    These are fence leaks, double authority, submissions on the wrong side, undelivered grades, and losses that no cure
    covers; and whatever of them cannot be told. The data is read, not only the last reconcile, which may never have
    run or be hours old. A caller that takes the step holds the course's lock.
    """
    return next(_obstacles(course_id), None)


def _obstacles(course_id: str) -> Iterator[Obstacle]:
    def of(cause: Cause, reason: str) -> Obstacle:
        return Obstacle(reason, command_for(cause, course_id))

    if wrong := invariants.wrong_side_count(course_id):
        yield of(
            Cause.WRONG_SIDE,
            f"{course_id} has {counted(wrong, 'submission')} on legacy that are the target's to grade: no override "
            "passes that, a handoff does. See the runbook, 'Wrong side'.",
        )
    if lost := invariants.lost_count(course_id):
        yield of(
            Cause.LOST,
            f"{course_id} has {counted(lost, 'submission or score', 'submissions or scores')} that "
            f"{verb(lost, 'is', 'are')} lost, and nobody has signed for {verb(lost, 'it', 'them')}: no override passes "
            "that, a cure does. See the runbook, 'Lost submissions'.",
        )
    if waiting := invariants.undelivered_entries(course_id).count():
        yield of(
            Cause.UNDELIVERED,
            f"{counted(waiting, 'learner')} of {course_id} {verb(waiting, 'waits', 'wait')} for a grade that nobody "
            "brings: no override passes that. See the runbook, 'Undelivered'.",
        )
    reconcile = f"xqueue_reconcile --course {course_id}"
    if invariants.learner_states_unread(course_id):
        yield Obstacle(
            f"No reconcile has read whether learners of {course_id} wait for a grade. Run one first: {reconcile}",
            reconcile,
        )
    leaks, doubles = invariants.fence_leak_count(course_id), invariants.double_authority_count(course_id)
    if leaks is None:
        yield Obstacle(
            f"It cannot be told whether {course_id} has fence leaks: XQueue's database does not answer.",
            f"xqueue_preflight --course {course_id}",
        )
    if doubles is None:
        yield Obstacle(
            f"No reconcile has checked {course_id} for double authority in its present phase. Run one first: "
            f"{reconcile}",
            reconcile,
        )
    if leaks or doubles:
        yield of(
            Cause.LEAK if leaks else Cause.DOUBLE_AUTHORITY,
            f"{course_id} has {counted(leaks or 0, 'fence leak')} and {counted(doubles or 0, 'submission')} that both "
            "systems had for real: no override passes that. See the runbook, 'Fence leak' and 'Double authority'.",
        )
