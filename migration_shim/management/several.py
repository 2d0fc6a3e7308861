"""One document of several courses: the work is done for each, and one that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from django.utils.timezone import now

from ..conf import load
from ..core.data import Document, ExitCode
from ..core.documents.no_courses import NoCoursesDocument
from ..core.documents.parts import CourseProblem
from ..core.documents.several import SeveralDocument
from ..runs.isolated import exit_code_of, run_step
from . import selection

PREFLIGHT_SCHEMA = "migration_shim.xqueue_preflight_courses/1"
GATE_SCHEMA = "migration_shim.xqueue_gate_courses/1"
FAIL_SCHEMA = "migration_shim.xqueue_fail_courses/1"
UNDELIVERED_SCHEMA = "migration_shim.xqueue_undelivered_courses/1"
EMPTY_SCHEMA = "migration_shim.no_courses/1"
#: The document of one course.
Content = TypeVar("Content", bound=Mapping[str, Any])


def run(
    schema: str,
    step: str,
    courses: list[str],
    work: Callable[[str], Document[Content]],
    *,
    counts: Callable[[list[Content]], Mapping[str, Any]],
    following: Callable[[list[Content]], str],
) -> Document[SeveralDocument]:
    """
    Do the work for each course, and return one document of all.

    Args:
        schema: the document's.
        step: what is done, for the log.
        courses: their ids.
        work: makes the document of one course.
        counts: counts over the documents of the courses, for the summary.
        following: the one command that an operator should run next; empty for none.

    Returns:
        The document. Its exit code has the bits of all its courses.

    Raises:
        ConfigurationError: the settings are not usable, which is no fault of one course.
    """
    load()
    found: list[Content] = []
    problems: list[CourseProblem] = []
    code = ExitCode.OK
    for course in courses:
        done, said = run_step(step, course, work, course)
        if done is None:
            problems.append({"course": course, "said": said})
        else:
            found.append(done.content)
            code |= done.exit_code
    content = {
        "schema": schema,
        "at": now().isoformat(),
        "courses": found,
        "counts": counts(found),
        "problems": problems,
        "next": following(found),
    }
    return Document(content=cast(SeveralDocument, content), exit_code=code | exit_code_of(problems))


def nobody(options: dict[str, Any]) -> Document[NoCoursesDocument]:
    """Return the document of a call for which there is no course: nothing was done, and nothing is wrong."""
    content: NoCoursesDocument = {
        "schema": EMPTY_SCHEMA,
        "at": now().isoformat(),
        "state": selection.given(options, "state"),
        "courses": [],
    }
    return Document(content=content, exit_code=ExitCode.OK)
