"""The document ``migration_shim.xqueue_cutover_forget/1``."""

from typing import Annotated, TypedDict

from .parts import Moment, one_of, says


class CutoverForgetDocument(TypedDict):
    """
    The removal of a course's record.

    The document of xqueue_cutover --forget.
    """

    schema: Annotated[str, one_of("migration_shim.xqueue_cutover_forget/1")]
    at: Annotated[Moment, says("When.")]
    course: Annotated[str, says("The course.")]
    reason: Annotated[str, says("Why, as the operator says.")]
    by: Annotated[str, says("The operating system's name of whoever ran it.")]
    permitted: Annotated[bool, says("Whether the record can be removed.")]
    reasons: Annotated[list[str], says("Why it cannot.")]
    executed: Annotated[bool, says("Whether it was removed by this call.")]
