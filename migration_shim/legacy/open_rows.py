"""
Legacy's unfinished rows by course and queue, whose they are, and which of legacy's queues hand rows out.

The database cuts host and course out of its rows, so that one row per course and queue comes back however many wait.
Which course that is, and whose, is decided by parsing what comes back. A course id is never searched for in a header,
because Django's ``reverse()`` percent-encodes some of its letters.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connections
from django.db.models import Case, CharField, Count, F, Min, Q, QuerySet, Value, When
from django.db.models.functions import MD5, StrIndex, Substr

from ..conf import LEGACY_ALIAS
from ..core.data import Whose
from ..core.hosts import course_of, host_of, whose
from ..db import bulk
from ..fields import exact
from ..ledger import hosts
from ..models import LegacySubmission
from .rows import holdable

#: The texts before and after the course in the callback of a header.
_BEFORE, _BEHIND = "/courses/", "/xqueue/"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRows:
    """
    Unfinished rows of one course and queue.

    ``course`` is in canonical form, and empty where none is named, as in the rows of reverse shadows. ``host`` is the
    callback's. ``oldest`` is the arrival of the oldest row.
    """

    course: str
    queue: str
    pulled: bool
    rows: int
    oldest: datetime
    host: str = ""
    whose: Whose = Whose.OURS


def our_rows() -> list[OpenRows]:
    """Return all of our rows that are not retired."""
    return only_ours(all_rows())


def all_rows() -> list[OpenRows]:
    """Return all rows that are not retired, of every LMS. One statement, which XQueue's index on ``retired`` serves."""
    return _grouped(_all().filter(retired=False))


class CachedRows:
    """
    A cache of ``all_rows`` for a caller that looks at one course after another; it is kept for ``seconds``.

    Without it, each of many courses would read what all of them have in flight.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds, self._read_at = seconds, 0.0
        self._found: list[OpenRows] | None = None

    def all_rows(self) -> list[OpenRows]:
        """Return all rows that are not retired, or were not when they were last read."""
        if self._found is None or time.monotonic() - self._read_at > self._seconds:
            self._read_at, self._found = time.monotonic(), all_rows()
        return self._found


def only_ours(found: Iterable[OpenRows]) -> list[OpenRows]:
    """Return the rows that are ours."""
    return [item for item in found if item.whose is Whose.OURS]


def ids_unretired(ids: Iterable[int]) -> set[int]:
    """Return which of these ids are unretired rows, which a grader may still answer. One statement."""
    found = bulk.select(LegacySubmission, ("id",), using=LEGACY_ALIAS, id=list(ids), retired=[False])
    return {pk for (pk,) in found}


def count_unclaimed(found: Iterable[OpenRows], course_id: str) -> dict[str, int]:
    """
    Return by host how many of these rows name a course while no setting says whether the host is ours or another LMS's.
    """
    counts: dict[str, int] = {}
    for item in found:
        if item.whose is Whose.UNKNOWN and item.course == course_id:
            counts[item.host] = counts.get(item.host, 0) + item.rows
    return dict(sorted(counts.items()))


def count_ours(found: Iterable[OpenRows], course_id: str) -> dict[str, int]:
    """Return how many of these rows are ours and name a course, by ``queued`` and ``pulled``."""
    counts = {"queued": 0, "pulled": 0}
    for item in only_ours(found):
        if item.course == course_id:
            counts["pulled" if item.pulled else "queued"] += item.rows
    return {state: number for state, number in counts.items() if number}


def count_naming(course_id: str, queue_names: Iterable[str]) -> int:
    """
    Return how many of our rows in these queues, retired or not, name a course in their callback. No copy's may.

    XQueue's index on the queue serves it, and the database leaves the copies out, because a sink names no course.
    """
    names = holdable("queue_name", queue_names)
    if not names or not _any_names_a_course(names):
        return 0
    rows = _grouped(_all().filter(queue_name__in=names, xqueue_header__contains=_BEFORE))
    return sum(item.rows for item in only_ours(rows) if item.course == course_id)


def _any_names_a_course(queue_names: list[str]) -> bool:
    """Tell whether any row of these queues names a course: hardly ever, and to group rows takes a long statement."""
    here = connections[LEGACY_ALIAS]
    among = ", ".join(["%s"] * len(queue_names))
    found = bulk.ask(
        f"SELECT id FROM queue_submission WHERE queue_name IN ({among})"
        f" AND xqueue_header {bulk.like(here, 'contains')} LIMIT 1",
        [*queue_names, f"%{here.ops.prep_for_like_query(_BEFORE)}%"],
        using=LEGACY_ALIAS,
    )
    return bool(found)


def _all() -> QuerySet[LegacySubmission]:
    return LegacySubmission.objects.using(LEGACY_ALIAS).order_by()


def _grouped(rows: QuerySet[LegacySubmission]) -> list[OpenRows]:
    known = hosts.known()
    found = []
    for row in _cut(rows):
        course = course_of(row["named"])
        host = host_of(row["at"]) if course else ""  # what names no course is no LMS's (``core.hosts.whose_header``)
        found.append(
            OpenRows(
                course=course,
                queue=row["queue"],
                pulled=bool(row["pulled"]),
                rows=row["number"],
                oldest=row["oldest"],
                host=host,
                whose=whose(host, known),
            )
        )
    return found


def _cut(rows: QuerySet[LegacySubmission]) -> QuerySet[LegacySubmission, Any]:
    """
    Return rows by course, host, queue and whether they were pulled, as their callbacks name them.

    The host is cut out of the callback's column, which holds the callback's beginning: XQueue cuts its end, where a
    course may stand. The header has the whole callback, but other keys may come before it.
    """
    nothing = Value("")
    after = Substr("xqueue_header", F("start") + len(_BEFORE))
    course = Case(
        When(start__gt=0, end__gt=0, then=Substr("rest", 1, F("end") - 1)),
        default=nothing,
        output_field=CharField(),
    )
    at = Case(
        When(host_end__gt=0, start__gt=0, then=Substr("lms_callback_url", 1, F("host_end"))),  # type: ignore[arg-type]  # Django takes an F
        default=nothing,
        output_field=CharField(),
    )
    return (
        rows.annotate(start=StrIndex("xqueue_header", Value(_BEFORE)))
        .annotate(rest=after)
        .annotate(end=StrIndex("rest", Value(_BEHIND)))
        .annotate(host_end=StrIndex("lms_callback_url", Value(_BEFORE)))
        .annotate(course=course, at_host=at, pulled=Case(When(pull_time=None, then=Value(0)), default=Value(1)))
        # XQueue's database takes courses for the same that differ only in case; the digest keeps them apart.
        .annotate(exact=MD5("course"), exact_queue=MD5("queue_name"), exact_host=MD5("at_host"))
        .values("exact", "exact_queue", "exact_host", "pulled")
        .annotate(
            named=Min("course"),
            at=Min("at_host"),
            queue=Min("queue_name"),
            number=Count("id"),
            oldest=Min("arrival_time"),
        )
    )


def queues_pulled_since(queues: Iterable[str], moment: datetime) -> set[str]:
    """Return which of these queues a grader has pulled from since ``moment``. One statement."""
    # ``retired`` is named so that XQueue's index on (queue_name, retired, pull_time) serves it.
    wanted = set(queues)
    pulled = Q(queue_name__in=wanted, retired__in=(False, True), pull_time__gte=moment)
    return wanted.intersection(exact(LegacySubmission.objects.using(LEGACY_ALIAS).filter(pulled), "queue_name"))
