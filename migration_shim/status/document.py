"""
The status document: where every course stands, and the site's breakers, graders and queues.

What it shows is read in ``snapshot``, and a course's part is made in ``course``.
"""

from __future__ import annotations

from collections.abc import Collection

from django.utils.timezone import now

from .. import toggles
from ..conf import load
from ..copies import breaker
from ..core import ranking
from ..core.data import Document, ExitCode
from ..core.documents.parts import CourseProblem
from ..core.documents.status import Breaker, CallbackHosts, LedgerSize, StatusDocument, XQueueCourses
from ..core.documents.status_judgement import CourseStatus, DescribedCourse
from ..ledger import counts, hosts, site_courses, stamp
from ..runs.isolated import exit_code_of, run_step
from ..target import logins
from . import course, graders, snapshot

SCHEMA = "migration_shim.xqueue_status/1"


def run(courses: Collection[str] | None = None, *, watcher_config: bool = False) -> Document[StatusDocument]:
    """
    Read the status of courses and of the site. All courses of the site come in their ranking, the worst first.

    Nothing is written, except that a course whose flags were flipped by hand gets its due step on record.

    Args:
        courses: course keys in canonical form; None for every course that the app knows, and those found in XQueue.
        watcher_config: add to each course the configuration that lets watchers serve all of its queues.

    Returns:
        The document. Exit code 8: a course is not in the phase that its flags ask for, or the platform sends its
        submissions past the shim. 1: a course could not be read and is listed under ``problems``. 0: neither.

    Raises:
        ConfigurationError: the settings are not usable.
    """
    settings, moment = load(), now()
    site = courses is None and not watcher_config
    courses = site_courses.all_courses() if courses is None else courses
    taken = snapshot.take(courses, settings, moment, compare_runs=not site)
    described: list[DescribedCourse] = []
    problems: list[CourseProblem] = []
    for course_id in courses:
        found: DescribedCourse | None
        if len(courses) == 1:  # an error about the only course is the caller's to see
            found, said = _described(course_id, taken, watcher_config), ""
        else:
            found, said = run_step("status", course_id, _described, course_id, taken, watcher_config)
        if found is None:
            problems.append({"course": course_id, "said": said})
        else:
            described.append(found)
    ranked = _ranked(described, problems, {*taken.known, *taken.found})
    if site:
        ranked.sort(key=lambda item: item["rank"])
    content: StatusDocument = {
        "schema": SCHEMA,
        "at": moment.isoformat(),
        "site": site,
        "kill_switch": toggles.kill_switch_on(),
        "legacy_readable": taken.legacy is not None,
        "breakers": {leg: _breaker(leg) for leg in breaker.LEGS},
        "watchers_past_the_seam": {"point_them_at": graders.seam_url(), "logins": logins.seen()},
        "queues_without_watcher": taken.without_watcher,
        "callback_hosts": _hosts(),
        "ledger_complaint": stamp.complaint(),
        "ledger": _ledger(taken.sizes),
        "counts": ranking.counts(_words(described, problems).values()),
        "xqueue": _xqueue(taken),
        "courses": ranked,
        "problems": problems,
    }
    unsettled = any(course["drift"] or _past_the_shim(course) for course in ranked)
    return Document(content=content, exit_code=exit_code_of(problems) | (ExitCode.STALE if unsettled else ExitCode.OK))


def words(courses: Collection[str]) -> dict[str, str]:
    """Return the word of each course (``core.ranking.ORDER``); ``unknown`` where it could not be read."""
    if not courses:
        return {}
    content = run(courses).content
    return _words(content["courses"], content["problems"])


def _words(
    described: Collection[DescribedCourse | CourseStatus], problems: Collection[CourseProblem]
) -> dict[str, str]:
    return {item["course"]: item["word"] for item in described} | {item["course"]: ranking.UNKNOWN for item in problems}


def _ranked(
    described: list[DescribedCourse], problems: Collection[CourseProblem], others: set[str]
) -> list[CourseStatus]:
    """Return each course with its place, the worst first, and its shortest name among all courses of the site."""
    ranked = ranking.rank(_words(described, problems).items())
    places = {course_id: place for place, course_id in enumerate(ranked, start=1)}
    names = ranking.short_names({*ranked, *others})
    return [{**item, "rank": places[item["course"]], "short": names[item["course"]]} for item in described]


def _xqueue(taken: snapshot.Snapshot) -> XQueueCourses:
    """Return how many courses XQueue has by the last look, and how many of them the shim knows."""
    looked = taken.look is not None
    return {
        "courses": len(taken.found) if looked else None,
        "known": sum(course_id in taken.known for course_id in taken.found) if looked else None,
        "unknown_lms": len(taken.strangers) if looked else None,
        "looked_at": taken.look.complete_at.isoformat() if taken.look and taken.look.complete_at else None,
        "under_way": taken.look.under_way if taken.look else False,
    }


def _described(course_id: str, taken: snapshot.Snapshot, watcher_config: bool) -> DescribedCourse:
    return course.describe(course_id, taken, watcher_config=watcher_config)


def _past_the_shim(described: CourseStatus) -> bool:
    return any(item["what"] == "past_the_shim" for item in described["attention"])


def _breaker(leg: str) -> Breaker:
    state = breaker.state(leg)
    return {"failures": state["failures"], "open": breaker.is_open(leg)}


def _ledger(sizes: dict[str, counts.Size]) -> LedgerSize:
    """Count the entries, and those that still hold the residue: what a purge would drop of the envelope."""
    rows = sum(size.entries for size in sizes.values())
    return {"rows": rows, "residue": rows - sum(size.dropped for size in sizes.values())}


def _hosts() -> CallbackHosts:
    """List the hosts of callbacks: ours, other LMSs', and those seen at our door that no setting names."""
    known = hosts.known()
    return {
        "ours": sorted(known.named | known.door),
        "foreign": sorted(known.foreign),
        "unnamed": sorted(known.unnamed | (known.door & known.foreign)),
    }
