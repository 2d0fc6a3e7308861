"""Whether what a learner has can be compared with what both systems gave: a pure rule."""

from __future__ import annotations

import enum
from datetime import datetime, timedelta

#: How often one submission's result is delivered again. What is then still not delivered is undeliverable.
TRIES = 3


class Learner(enum.StrEnum):
    """
    What a learner's state said of a submission whose row is finished. All values but the first two are not comparable.
    """

    WAITS = "waits"  # it holds the submission's key
    COMPARABLE = "comparable"
    NEWER_ATTEMPT = "newer_attempt"
    SUBMITTED_LATER = "submitted_later"
    NO_SUBMISSION_TIME = "no_submission_time"
    NOT_GRADED = "not_graded"
    NO_ANSWER = "no_answer"  # the learner's state was reset or removed, or the problem has no such input any more
    NO_LEARNER = "no_learner"
    INPUT_UNKNOWN = "input_unknown"
    UNREADABLE = "unreadable"
    FORGOTTEN = "forgotten"  # the residue was dropped
    PLOT = "plot"


def comparable(
    *,
    graded: bool,
    newest: bool,
    submitted_at: datetime | None,
    called_at: datetime,
    call_takes: timedelta,
    answered: bool,
) -> Learner:
    """
    Tell whether what the learner has can be compared with what the systems gave.

    CAPA notes the time of a submission when the door has returned, in whole seconds. A time later than the end of the
    call therefore belongs to a later submission, perhaps one that went past the shim, and so does its grade.

    Args:
        graded: whether the authoritative system has graded it.
        newest: whether the ledger knows no later attempt at the input, and the state waits for none.
        submitted_at: the state's own time of the last submission; None where it has none.
        called_at: when the door was called.
        call_takes: how long a call may take.
        answered: whether the state has the input at all.
    """
    if not graded:
        return Learner.NOT_GRADED
    if not newest:
        return Learner.NEWER_ATTEMPT
    if not answered:
        return Learner.NO_ANSWER
    if submitted_at is None:
        return Learner.NO_SUBMISSION_TIME
    return Learner.SUBMITTED_LATER if submitted_at > called_at + call_takes else Learner.COMPARABLE
