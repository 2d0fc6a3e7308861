"""The document ``migration_shim.xqueue_fail/1``."""

from typing import Annotated, TypedDict

from .parts import Count, Moment, one_of, says


class FailedRow(TypedDict):
    """An item of ``rows``."""

    submission: Annotated[int, says("The Submission's id on the target.")]
    queue: Annotated[str, says("The queue that hands it out.")]
    leases: Annotated[Count, says("How often it was handed out.")]
    arrived_at: Annotated[Moment, says("When it was submitted.")]


class FailDocument(TypedDict):
    """
    Submissions that were failed by hand.

    The document of xqueue_fail.
    """

    schema: Annotated[str, one_of("migration_shim.xqueue_fail/1")]
    at: Annotated[Moment, says("When.")]
    course: Annotated[str, says("The course.")]
    reason: Annotated[str, says("Why, as the operator says.")]
    by: Annotated[str, says("The operating system's name of whoever ran it.")]
    rows: Annotated[list[FailedRow], says("What is to be failed, or was tried to be.")]
    not_found: Annotated[list[int], says("Those that were named and are not in flight in this course.")]
    executed: Annotated[bool, says("Whether it was done, not only planned.")]
    failed: Annotated[Count, says("How many were failed; less than the rows where a result came meanwhile.")]
