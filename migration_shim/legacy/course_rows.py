"""
Whether XQueue has any row of a course, asked of its index on ``lms_callback_url``: a few seeks, however many rows.

The index holds whole callbacks, which begin with a host that more than one LMS may have. So the first seeks find the
beginnings that there are, up to ``/courses/``; behind each of them the course is looked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

from django.db.models import QuerySet

from ..conf import LEGACY_ALIAS
from ..core.data import Whose
from ..core.hosts import course_of_header, host_of, whose
from ..ledger import hosts
from ..models import LegacySubmission

_BEFORE = "/courses/"
#: XQueue's column holds this many characters of a callback.
_WIDTH = 128
#: How many beginnings are looked for at most, and how many rows are read behind one of them.
_BEGINNINGS, _ROWS = 50, 20
#: What Django's ``reverse()`` leaves as it is. Source: ``django/urls/resolvers.py``.
_SAFE = "!$&'()*+,;=/~:@"


def has_course(course_id: str) -> bool:
    """
    Tell whether XQueue has a row of this course whose callback is not another LMS's.

    Raises:
        Error: its database does not answer (``timeouts.AWAY``).
    """
    known = hosts.known()
    named = {quote(course_id, safe=_SAFE), quote(course_id, safe="")}
    return any(
        _is_there(beginning + text, course_id)
        for beginning in _beginnings()
        if whose(host_of(beginning), known) is not Whose.FOREIGN
        for text in named
    )


def _beginnings() -> Iterator[str]:
    """Yield what stands in callbacks before the course, ``/courses/`` included: one for each LMS, as a rule."""
    after = ""
    for _ in range(_BEGINNINGS):
        found = _all().filter(lms_callback_url__gt=after).order_by("lms_callback_url")
        url = found.values_list("lms_callback_url", flat=True).first()
        if url is None:
            return
        before, courses, _rest = url.partition(_BEFORE)
        if courses:
            yield before + courses
            after = _behind(before + courses)
        else:  # a sink, or no callback at all: on to the courses of its host, or to the next host
            origin = "/".join(url.split("/")[:3])
            here = origin + _BEFORE[:-1]
            after = here if url < here else max(_behind(f"{origin}/"), url)


def _behind(folder: str) -> str:
    """Return a text behind all that begin with ``folder``, which ends with a slash: ``0`` comes next after it."""
    return folder[:-1] + "0"


def _is_there(beginning: str, course_id: str) -> bool:
    folder = f"{beginning}/"
    if len(folder) <= _WIDTH:
        rows = _all().filter(lms_callback_url__gte=folder, lms_callback_url__lt=_behind(folder))
        # The collation takes courses for one that differ in case; the rows of the other must not fill the few read.
        rows = rows.filter(lms_callback_url__startswith=folder)
    else:
        rows = _all().filter(lms_callback_url=folder[:_WIDTH])
    return course_id in map(course_of_header, rows.values_list("xqueue_header", flat=True)[:_ROWS])


def _all() -> QuerySet[LegacySubmission]:
    return LegacySubmission.objects.using(LEGACY_ALIAS).order_by()
