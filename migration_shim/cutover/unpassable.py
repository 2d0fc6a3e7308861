"""What keeps a course from the target whoever signs and whatever the gate says, read as it is now."""

from __future__ import annotations

from collections.abc import Iterator

from ..core.wording import counted, verb
from . import invariants


def reason(course_id: str) -> str:
    """
    Return why no step of a course may make the target authoritative now; empty where nothing of the kind is found.

    These are fence leaks, double authority, submissions on the wrong side, undelivered grades, and losses that no cure
    covers; and whatever of them cannot be told. The data is read, not only the last reconcile, which may never have
    run or be hours old. A caller that takes the step holds the course's lock.
    """
    return next(_reasons(course_id), "")


def _reasons(course_id: str) -> Iterator[str]:
    if wrong := invariants.wrong_side_count(course_id):
        yield (
            f"{course_id} has {counted(wrong, 'submission')} on legacy that are the target's to grade: no override "
            "passes that, a handoff does. See the runbook, 'Wrong side'."
        )
    if lost := invariants.lost_count(course_id):
        yield (
            f"{course_id} has {counted(lost, 'submission or score', 'submissions or scores')} that "
            f"{verb(lost, 'is', 'are')} lost, and nobody has signed for {verb(lost, 'it', 'them')}: no override passes "
            "that, a cure does. See the runbook, 'Lost submissions'."
        )
    if waiting := invariants.undelivered_entries(course_id).count():
        yield (
            f"{counted(waiting, 'learner')} of {course_id} {verb(waiting, 'waits', 'wait')} for a grade that nobody "
            "brings: no override passes that. See the runbook, 'Undelivered'."
        )
    if invariants.learner_states_unread(course_id):
        yield (
            f"No reconcile has read whether learners of {course_id} wait for a grade. Run one first: "
            f"xqueue_reconcile --course {course_id}"
        )
    leaks, doubles = invariants.fence_leak_count(course_id), invariants.double_authority_count(course_id)
    if leaks is None:
        yield f"It cannot be told whether {course_id} has fence leaks: XQueue's database does not answer."
    if doubles is None:
        yield (
            f"No reconcile has checked {course_id} for double authority in its present phase. Run one first: "
            f"xqueue_reconcile --course {course_id}"
        )
    if leaks or doubles:
        yield (
            f"{course_id} has {counted(leaks or 0, 'fence leak')} and {counted(doubles or 0, 'submission')} that both "
            "systems had for real: no override passes that. See the runbook, 'Fence leak' and 'Double authority'."
        )
