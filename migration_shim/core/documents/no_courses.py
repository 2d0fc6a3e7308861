"""The document ``migration_shim.no_courses/1``."""

from typing import Annotated, Any, TypedDict

from msgspec import Meta

from ..data import Phase
from ..evidence import Cause
from .parts import Moment, one_of, says


class NoCoursesDocument(TypedDict):
    """
    A call for which there was no course.

    The document of any command whose --state no named course has.
    """

    schema: Annotated[str, one_of("migration_shim.no_courses/1")]
    at: Annotated[Moment, says("When.")]
    state: Annotated[
        list[Annotated[str, one_of(Cause, "not_begun", Phase)]],
        says("The states that were asked for; empty where there is no course at all."),
    ]
    courses: Annotated[list[Any], Meta(max_length=0), says("None, so nothing was done.")]
