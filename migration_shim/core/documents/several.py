"""The documents of several courses: ``xqueue_gate_courses/1``, ``xqueue_preflight_courses/1`` and their like."""

from typing import Annotated, TypedDict

from msgspec import Meta

from ..evidence import Cause
from .fail import FailDocument
from .gate import GateDocument
from .parts import Count, CourseProblem, Moment, one_of, says
from .preflight import PreflightDocument
from .undelivered import UndeliveredDocument


def _as_printed_by(command: str) -> Meta:
    return says(
        f"The document of each course, as {command} prints it for that course alone, in the order in which they were "
        "named."
    )


class Several(TypedDict):
    """What each of them has."""

    at: Annotated[Moment, says("When.")]
    problems: Annotated[list[CourseProblem], says("Courses for which it could not be done; the others were.")]
    next: Annotated[str, says("The one command to run next; empty for none.")]


class GateCoursesDocument(Several):
    """
    The verdicts of several courses.

    The document of xqueue_gate where more than one course may be named.
    """

    schema: Annotated[str, one_of("migration_shim.xqueue_gate_courses/1")]
    courses: Annotated[list[GateDocument], _as_printed_by("xqueue_gate")]
    counts: Annotated[
        dict[Annotated[str, one_of(Cause)], Count],
        says("Courses by cause, the worst first; a cause of none is left out."),
    ]


class PreflightCounts(TypedDict):
    """``counts`` of preflights."""

    blocked: Annotated[Count, says("With blockers.")]
    clear: Annotated[Count, says("Without.")]


class PreflightCoursesDocument(Several):
    """
    The preflights of several courses.

    The document of xqueue_preflight where more than one course may be named.
    """

    schema: Annotated[str, one_of("migration_shim.xqueue_preflight_courses/1")]
    courses: Annotated[list[PreflightDocument], _as_printed_by("xqueue_preflight")]
    counts: Annotated[PreflightCounts, says("Courses.")]


class FailCounts(TypedDict):
    """``counts`` of submissions that no grader returns."""

    to_fail: Annotated[Count, says("That are to be failed, or were.")]
    failed: Annotated[Count, says("That were failed by this call.")]


class FailCoursesDocument(Several):
    """
    Submissions of several courses that no grader returns.

    The document of xqueue_fail where more than one course may be named.
    """

    schema: Annotated[str, one_of("migration_shim.xqueue_fail_courses/1")]
    courses: Annotated[list[FailDocument], _as_printed_by("xqueue_fail")]
    counts: Annotated[FailCounts, says("Submissions.")]


class UndeliveredCounts(TypedDict):
    """``counts`` of learners who wait."""

    submissions: Annotated[Count, says("Submissions.")]
    courses_affected: Annotated[Count, says("Courses.")]


class UndeliveredCoursesDocument(Several):
    """
    Learners of several courses who wait for a grade that nobody brings.

    The document of xqueue_undelivered where more than one course may be named.
    """

    schema: Annotated[str, one_of("migration_shim.xqueue_undelivered_courses/1")]
    courses: Annotated[list[UndeliveredDocument], _as_printed_by("xqueue_undelivered")]
    counts: Annotated[UndeliveredCounts, says("Where somebody waits.")]


SeveralDocument = GateCoursesDocument | PreflightCoursesDocument | FailCoursesDocument | UndeliveredCoursesDocument
