"""
Find the courses that XQueue has rows of, known to the shim or not, by seeks on its index of ``lms_callback_url``.

No other statement finds them: XQueue's table has no column of the course, ``DISTINCT`` reads every row, and unretired
rows are of the few courses that are busy just now. A callback begins with its host and its course. So one seek finds
the first callback behind those of the course before, and a course costs one seek however many rows it has.

For XQueue's index ids that differ in case only are one, so that a seek finds one of them and passes by the others. Once
a day a search looks between: it groups the entries of each course by their very bytes, which reads its part of the
index.

The column has the first 128 characters of a callback. Where these do not reach the learner's id behind the course, its
headers tell the course: many letters of another alphabet, percent-encoded, fill the column. See docs/decisions/0041.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import DatabaseError, connections, transaction
from django.db.models import BinaryField, Func, Min
from django.db.models.functions import Left
from django.utils.timezone import now

from ..conf import LEGACY_ALIAS
from ..core.data import Whose
from ..core.documents.watch import CourseSearch
from ..core.hosts import Hosts, course_of, course_of_header, host_of, whose
from ..ledger import hosts
from ..ledger.site_courses import CHECKPOINT
from ..models import Checkpoint, LegacyCourse, LegacySubmission
from . import open_rows

#: Bounds of one look. What is left is left to the next look, which goes on where this one stopped.
SEEKS, SECONDS = 2000, 20.0
#: Rows whose headers are read where a callback does not reach behind its course. Their courses share its beginning.
HEADERS = 500
#: How often a search looks between, and how many beginnings it reads that are one to the index.
BETWEEN_HOURS, ALIKE = 24, 50
#: Rows of ours in one statement, and the longest text that a column of ours takes.
AT_ONCE, TEXT = 500, 255

#: The part of a callback before the course, the course, and what stands behind it before the learner's id.
_WHOLE = re.compile(r"(?P<before>.*?/courses/(?P<course>.+?)/xqueue)/[0-9]", re.DOTALL)
_SINK = re.compile(r"(?P<before>.*/sink)/[0-9a-f]", re.DOTALL)
_ORIGIN = re.compile(r"https?://[^/?#]+", re.IGNORECASE)
#: In every collation of XQueue's, and byte for byte, the first character behind a slash: the digits come next.
_BEHIND_SLASH = "0"


@dataclass(frozen=True, slots=True)
class _Place:
    """
    What one callback says: the courses that begin there, and where the next seek begins.

    ``after`` is a text that no callback of these courses reaches. ``exclusive`` says that it is a callback itself.
    ``folder`` begins every callback of the course; it is empty where the place is none of a course alone.
    """

    courses: frozenset[tuple[str, str]]
    after: str
    exclusive: bool = False
    folder: str = ""


def look(check: Callable[[], object], *, seeks: int = SEEKS, seconds: float = SECONDS) -> CourseSearch:
    """
    Look for courses from where the last look stopped, and keep what is found in ``LegacyCourse``.

    A course that has no rows any more goes from the table when a search that began after it was seen last, and that
    passed by none, has come to its end. At most one process may look at a time: the lock of the watch sees to it.

    Args:
        check: called before each seek; it raises to stop. What was found until then is kept.
        seeks: how many seeks at most.
        seconds: for how long at most, from the first seek to the last one's beginning.

    Returns:
        ``complete`` (the search has come to its end), ``seeks``, ``courses`` (of ours or of unknown LMSs, in the table
        now), and ``gone`` (taken from it).

    Raises:
        DatabaseError: XQueue's database does not answer. What is on record stays.
    """
    checkpoint, _ = Checkpoint.objects.get_or_create(name=CHECKPOINT)
    plan = {"after": "", "exclusive": False, "began": None, "complete_at": None, "between_at": None} | checkpoint.plan
    began = datetime.fromisoformat(plan["began"]) if plan["began"] else now()
    after, exclusive = (plan["after"], plan["exclusive"]) if plan["began"] else ("", False)
    between = plan.get("between", False) if plan["began"] else _is_due(plan["between_at"])
    known, until, made, complete = hosts.known(), time.monotonic() + seconds, 0, False
    found: set[tuple[str, str]] = set()
    try:
        while made < seeks and time.monotonic() < until:
            check()
            made += 1
            if (url := _next(after, exclusive=exclusive)) is None:
                complete = True
                break
            place = _place(url, known)
            found |= place.courses
            after, exclusive = place.after, place.exclusive
            if between and place.folder:
                try:
                    found |= _alike(place.folder, known)
                except DatabaseError:
                    # A course with too many rows for one statement must not hold up the search for the others: the next
                    # look goes on behind it, and takes none away, because this search has passed by some.
                    between = False
                    raise
    finally:
        _keep(found)
        plan = plan | {"after": after, "exclusive": exclusive, "began": began.isoformat(), "between": between}
        Checkpoint.objects.filter(pk=checkpoint.pk).update(plan=plan, updated_at=now())
    _count_open_rows()
    gone = 0
    if complete:
        plan |= {"after": "", "exclusive": False, "began": None, "complete_at": now().isoformat()}
        if between:
            plan["between_at"] = began.isoformat()
        with transaction.atomic():
            if between or not _ignores_case():  # else one may have been passed by
                gone, _ = LegacyCourse.objects.filter(seen_at__lt=began).delete()
            Checkpoint.objects.filter(pk=checkpoint.pk).update(plan=plan, updated_at=now())
    return {"complete": complete, "seeks": made, "courses": LegacyCourse.objects.count(), "gone": gone}


def _callbacks() -> Any:
    return LegacySubmission.objects.using(LEGACY_ALIAS).order_by("lms_callback_url")


def _next(after: str, *, exclusive: bool) -> str | None:
    """Return the first callback from ``after`` on, or behind it; None where none is left. One seek in the index."""
    reach = {"lms_callback_url__gt": after} if exclusive else {"lms_callback_url__gte": after}
    url: str | None = _callbacks().filter(**reach).values_list("lms_callback_url", flat=True).first()
    return url


def _place(url: str, known: Hosts) -> _Place:
    """Return what one callback says."""
    origin = _ORIGIN.match(url)
    host = host_of(url)
    if origin and whose(host, known) is Whose.FOREIGN:
        return _Place(frozenset(), origin[0] + _BEHIND_SLASH)  # none of another LMS's courses is asked for
    if whole := _WHOLE.match(url):
        course = course_of(whole["course"])
        courses = frozenset({(course, host)} if course else ())
        return _Place(courses, whole["before"] + _BEHIND_SLASH, folder=whole["before"] + "/")
    if sink := _SINK.match(url):
        return _Place(frozenset(), sink["before"] + _BEHIND_SLASH)  # a copy: its callback names no course
    # It ends before the learner's id, or is none: only the headers tell.
    headers = _callbacks().order_by().filter(lms_callback_url=url).values_list("xqueue_header", flat=True)[:HEADERS]
    named = {course_of_header(header) for header in headers} - {""}
    return _Place(frozenset((course, host) for course in named), url, exclusive=True)


def _ignores_case() -> bool:
    """Tell whether XQueue's index takes ids for one that differ in case only."""
    return connections[LEGACY_ALIAS].vendor == "mysql"


def _is_due(between_at: str | None) -> bool:
    """Tell whether the search that begins now looks between."""
    if not _ignores_case():
        return False
    return between_at is None or now() - datetime.fromisoformat(between_at) > timedelta(hours=BETWEEN_HOURS)


def _alike(folder: str, known: Hosts) -> set[tuple[str, str]]:
    """Return the courses whose callbacks begin with a text that is ``folder`` to the index. One statement."""
    beginning = Func(
        Left("lms_callback_url", len(folder)), template="CAST(%(expressions)s AS BINARY)", output_field=BinaryField()
    )
    entries = _callbacks().order_by().filter(lms_callback_url__gte=folder, lms_callback_url__lt=_behind(folder))
    by_bytes = entries.annotate(beginning=beginning).values("beginning").annotate(url=Min("lms_callback_url"))
    return {course for url in by_bytes.values_list("url", flat=True)[:ALIKE] for course in _place(url, known).courses}


def _behind(folder: str) -> str:
    return folder[:-1] + _BEHIND_SLASH


def _keep(found: Iterable[tuple[str, str]]) -> None:
    """Put courses on record as seen now. An id or host that is too long for our column names no course of an LMS."""
    moment, stored = now(), {(row.course_id, row.host): row.pk for row in LegacyCourse.objects.all()}
    wanted = sorted({place for place in found if max(map(len, place)) <= TEXT})
    new = [
        LegacyCourse(course_id=course, host=host, first_seen_at=moment, seen_at=moment)
        for course, host in wanted
        if (course, host) not in stored
    ]
    LegacyCourse.objects.bulk_create(new, ignore_conflicts=True, batch_size=AT_ONCE)
    again = [stored[place] for place in wanted if place in stored]
    for start in range(0, len(again), AT_ONCE):
        LegacyCourse.objects.filter(pk__in=again[start : start + AT_ONCE]).update(seen_at=moment)


def _count_open_rows() -> None:
    """
    Count the unretired rows of every course, by one statement on XQueue.

    It also finds, at once, courses that seeks pass by, as long as they have such a row.
    """
    found: dict[tuple[str, str], tuple[int, datetime]] = {}
    for item in open_rows.all_rows():
        if item.course and item.whose is not Whose.FOREIGN:
            rows, oldest = found.get((item.course, item.host), (0, item.oldest))
            found[item.course, item.host] = (rows + item.rows, min(oldest, item.oldest))
    _keep(found)
    changed = []
    for row in LegacyCourse.objects.all():
        counted = found.get((row.course_id, row.host), (0, None))
        if counted != (row.open_rows, row.oldest_open_at):
            row.open_rows, row.oldest_open_at = counted
            changed.append(row)
    LegacyCourse.objects.bulk_update(changed, ("open_rows", "oldest_open_at"), batch_size=AT_ONCE)
