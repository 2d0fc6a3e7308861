"""What legacy holds that is not finished, of all courses at once, and which of its queues hand rows out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Case, CharField, Count, F, Min, Q, Value, When
from django.db.models.functions import MD5, StrIndex, Substr

from ..fields import exact
from .routers import LEGACY_ALIAS
from .tables import LegacySubmission

#: What stands around the course in the callback of a header.
_BEFORE, _BEHIND = "/courses/", "/xqueue/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """
    Unretired rows of one course and queue. ``course`` is as the callback names it, empty where it names none: the rows
    of reverse shadows are such. ``oldest`` is the arrival of the oldest.
    """

    course: str
    queue: str
    pulled: bool
    rows: int
    oldest: datetime


def held() -> list[Held]:
    """
    Everything that is not retired. One statement, which XQueue's index on ``retired`` serves.

    The course is cut out of the header by the database: one row a course and queue comes back, however many wait.
    """
    rest = Substr("xqueue_header", F("start") + len(_BEFORE))
    course = Case(
        When(start__gt=0, end__gt=0, then=Substr("rest", 1, F("end") - 1)),
        default=Value(""),
        output_field=CharField(),
    )
    rows = (
        LegacySubmission.objects.using(LEGACY_ALIAS)
        .filter(retired=False)
        .order_by()
        .annotate(start=StrIndex("xqueue_header", Value(_BEFORE)))
        .annotate(rest=rest)
        .annotate(end=StrIndex("rest", Value(_BEHIND)))
        .annotate(course=course, pulled=Case(When(pull_time=None, then=Value(0)), default=Value(1)))
        # XQueue's database takes courses that differ in case only for one: the digest keeps them apart.
        .annotate(exact=MD5("course"), exact_queue=MD5("queue_name"))
        .values("exact", "exact_queue", "pulled")
        .annotate(named=Min("course"), queue=Min("queue_name"), number=Count("id"), oldest=Min("arrival_time"))
    )
    return [
        Held(
            course=row["named"],
            queue=row["queue"],
            pulled=bool(row["pulled"]),
            rows=row["number"],
            oldest=row["oldest"],
        )
        for row in rows
    ]


def pulled_since(queues: Iterable[str], moment: datetime) -> set[str]:
    """Those of these queues from which a grader has pulled since then. One statement."""
    # ``retired`` is named so that XQueue's index on (queue_name, retired, pull_time) serves it.
    wanted = set(queues)
    pulled = Q(queue_name__in=wanted, retired__in=(False, True), pull_time__gte=moment)
    return wanted.intersection(exact(LegacySubmission.objects.using(LEGACY_ALIAS).filter(pulled), "queue_name"))
