"""
Several courses as text for a terminal: a line or two for each, then one line that counts them, and one next command.

What a course's own screen says in full is one command away, for that course alone.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..core import codes as known_codes
from ..core.documents.fail import FailDocument
from ..core.documents.gate import GateDocument
from ..core.documents.no_courses import NoCoursesDocument
from ..core.documents.preflight import PreflightDocument
from ..core.documents.several import (
    FailCoursesDocument,
    GateCoursesDocument,
    PreflightCoursesDocument,
    SeveralDocument,
    UndeliveredCoursesDocument,
)
from ..core.documents.undelivered import UndeliveredDocument
from .course_words import how_many

#: Characters of a line. A reason that is longer is cut: it stands in full on the course's own screen.
WIDTH = 80
#: From so many courses on what blocks all of them is said once.
_MANY = 3


def gate(content: GateCoursesDocument) -> list[str]:
    """Return the lines of several verdicts, each with its first reason; a known cause that all share is said once."""
    courses = content["courses"]
    known = dict.fromkeys(reason for course in courses for reason in course["reasons"] if known_codes.page_of(reason))
    shared = [said for said in known if all(said in course["reasons"] for course in courses)]
    if not shared or len(courses) == 1:
        return _lines(content, functools.partial(_verdict, shared=[]))
    said = [line for one in shared for line in (f"Of all {len(courses)}: {one}", f"  See: {known_codes.page_of(one)}")]
    return [*said, "", *_lines(content, functools.partial(_verdict, shared=shared))]


def preflight(content: PreflightCoursesDocument) -> list[str]:
    """Return the lines of several preflights, each with the codes of its blockers; what blocks all is said once."""
    found = [_codes(course).get("blocker", []) for course in content["courses"]]
    shared = [code for code in found[0] if all(code in codes for codes in found)] if len(found) >= _MANY else []
    lines = _lines(content, functools.partial(_findings, shared=shared))
    return [f"All {len(found)} courses are blocked by {', '.join(shared)}", "", *lines] if shared else lines


def fail(content: FailCoursesDocument) -> list[str]:
    """Return the lines of the submissions of several courses that are to be failed, or were."""
    return _lines(content, _to_fail)


def undelivered(content: UndeliveredCoursesDocument) -> list[str]:
    """Return the lines of the learners of several courses who wait in vain."""
    if not any(course["applies"] for course in content["courses"]) and not content["problems"]:
        return [f"There is no LMS here: nobody can say who of {len(content['courses'])} courses waits."]
    return _lines(content, _waiting)


def nobody(content: NoCoursesDocument) -> list[str]:
    """Return the line of a call for which there was no course."""
    if content["state"]:
        return [f"No course of those is in the state {' or '.join(content['state'])}: nothing to do."]
    return ["No course is known to the shim yet: nothing to do.", "Next: xqueue_status"]


def _lines(content: SeveralDocument, describe: Callable[[Any], Iterator[str]]) -> list[str]:
    lines = [line for course in content["courses"] for line in describe(course)]
    by_problem: dict[str, list[str]] = {}
    for problem in content["problems"]:
        by_problem.setdefault(problem["said"], []).append(problem["course"])
    for said, courses in by_problem.items():  # one cause is said once
        lines += [f"NOT DONE for {_number(len(courses), 'course')}: {said}", *(f"    {course}" for course in courses)]
        if page := known_codes.page_of(said):
            lines.append(f"  See: {page}")
    number = len(content["courses"]) + len(content["problems"])
    counts: Mapping[str, Any] = content["counts"]
    counted = [how_many(word, count) for word, count in counts.items()]
    counted += [f"{len(content['problems'])} not done"] if content["problems"] else []
    summary = f"{_number(number, 'course')}: {', '.join(counted) or 'nothing'}"
    following = [f"Next: {content['next']}"] if content["next"] else []
    return [*lines, "", summary, *following]


def _verdict(course: GateDocument, shared: list[str]) -> Iterator[str]:
    yield f"{course['verdict']:<12}  {course['cause'].replace('_', ' '):<16}  {course['course']}"
    reasons = [reason for reason in course["reasons"] if reason not in shared]
    if reasons:
        yield _cut(f"    {reasons[0]}", len(reasons) - 1)


def _codes(course: PreflightDocument) -> dict[str, list[str]]:
    """Return the codes of a preflight's findings by their severity, each once."""
    by_severity: dict[str, list[str]] = {}
    for item in course["findings"]:
        codes = by_severity.setdefault(item["severity"], [])
        codes += [item["code"]] if item["code"] not in codes else []
    return by_severity


def _findings(course: PreflightDocument, shared: list[str]) -> Iterator[str]:
    blockers = _codes(course).get("blocker", [])
    word = "BLOCKED" if blockers else "clear"
    yield f"{word:<7}  {course['course']}  {_number(course['rows'], 'row')}"
    for code in blockers:
        if code in shared:
            continue
        yield f"    {code}"


def _to_fail(course: FailDocument) -> Iterator[str]:
    if not course["rows"]:
        return
    done = f", {course['failed']} failed" if course["executed"] else ""
    yield f"{course['course']}: {_number(len(course['rows']), 'submission')}{done}"
    for row in course["rows"]:
        yield f"    {row['submission']}  {row['queue']}  handed out {row['leases']} times"


def _waiting(course: UndeliveredDocument) -> Iterator[str]:
    if course["rows"]:
        yield f"{course['course']}: {_number(len(course['rows']), 'submission')}"
        for row in course["rows"]:
            who = f"user {row['user_id']}, " if row["user_id"] else ""
            yield f"    {row['submission']}  {who}{row['problem']}"
            yield f"        {row['what']}"


def _cut(line: str, more: int) -> str:
    tail = f" (and {more} more)" if more else ""
    return line + tail if len(line) + len(tail) <= WIDTH else line[: WIDTH - len(tail) - 3] + "..." + tail


def _number(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
