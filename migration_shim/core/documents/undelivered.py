"""The document ``migration_shim.xqueue_undelivered/1``."""

from typing import Annotated, TypedDict

from .parts import Count, Moment, one_of, says


class UndeliveredRow(TypedDict):
    """An item of ``rows``."""

    entry: Annotated[Count, says("The ledger entry.")]
    submission: Annotated[int | None, says("The Submission's id on the target.")]
    problem: Annotated[str, says("The problem's usage key.")]
    queue: Annotated[str, says("The queue.")]
    arrived_at: Annotated[Moment, says("When it was submitted.")]
    what: Annotated[str, says("What has become of its row.")]
    deliveries: Annotated[Count, says("How often its stored result was delivered again.")]
    undeliverable: Annotated[str, says("Why no delivery can reach the learner; empty where one may.")]
    user_id: Annotated[
        str | None, says("The learner's LMS user id; null where nobody is named, or its residue was dropped.")
    ]


class UndeliveredDocument(TypedDict):
    """
    Learners who wait for a grade that nobody brings.

    The document of xqueue_undelivered.
    """

    schema: Annotated[str, one_of("migration_shim.xqueue_undelivered/1")]
    at: Annotated[Moment, says("When.")]
    course: Annotated[str, says("The course.")]
    applies: Annotated[
        bool, says("Whether there is an LMS whose learners' states can be asked; false: nobody can say who waits.")
    ]
    looked_up: Annotated[bool, says("Whether learners are named; then that stands in the course's log.")]
    reason: Annotated[str, says("Why, as the operator says; empty where nobody is named.")]
    by: Annotated[str, says("The operating system's name of whoever ran it.")]
    rows: Annotated[list[UndeliveredRow], says("Their submissions, as the last comparison found them.")]
