"""
All courses of the site: those that the shim knows, and those that XQueue has rows of.

XQueue is not asked here. The watch finds its courses (``legacy/course_search.py``) and keeps them in a table of ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..core.data import Whose
from ..core.hosts import whose
from ..models import Checkpoint, LegacyCourse
from . import counts, hosts

#: The checkpoint of the search for courses in XQueue. Its ``plan`` has the keys of ``Look``, as text.
CHECKPOINT = "legacy_courses"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundCourse:
    """
    A course that XQueue has rows of. ``whose`` is by the settings of now.

    ``open_rows`` are those that were not retired at ``seen_at``, and ``oldest_open_at`` is when the oldest arrived.
    """

    course_id: str
    whose: Whose
    hosts: tuple[str, ...]
    open_rows: int
    oldest_open_at: datetime | None
    first_seen_at: datetime
    seen_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """
    How far the search for courses is. ``complete_at`` is when it last came to the end of XQueue's index.

    ``under_way`` says that a search has begun since and has not come to its end: what it has found is in the table.
    """

    complete_at: datetime | None
    under_way: bool


def all_courses() -> list[str]:
    """Return every course that the shim knows, and every course of ours that was found in XQueue, sorted."""
    return sorted({*counts.known_courses(), *(item.course_id for item in found() if item.whose is Whose.OURS)})


def found() -> list[FoundCourse]:
    """
    Return the courses that the watch has found in XQueue, sorted; another LMS's are left out. Two statements at most.

    Before the watch has looked this is empty, which says nothing: see ``last_look``.
    """
    known = hosts.known()
    by_course: dict[tuple[str, Whose], list[LegacyCourse]] = {}
    for row in LegacyCourse.objects.order_by("course_id", "host"):
        of = whose(row.host, known)
        if of is not Whose.FOREIGN:
            by_course.setdefault((row.course_id, of), []).append(row)
    return [_joined(course_id, of, rows) for (course_id, of), rows in sorted(by_course.items())]


def _joined(course_id: str, of: Whose, rows: Iterable[LegacyCourse]) -> FoundCourse:
    rows = list(rows)
    return FoundCourse(
        course_id=course_id,
        whose=of,
        hosts=tuple(row.host for row in rows),
        open_rows=sum(row.open_rows for row in rows),
        oldest_open_at=min((row.oldest_open_at for row in rows if row.oldest_open_at), default=None),
        first_seen_at=min(row.first_seen_at for row in rows),
        seen_at=max(row.seen_at for row in rows),
    )


def last_look() -> Look | None:
    """Return how far the search for courses in XQueue is; None where nothing has ever looked. One statement."""
    plan: dict[str, Any] | None
    plan = Checkpoint.objects.filter(name=CHECKPOINT).values_list("plan", flat=True).first()
    if plan is None:
        return None
    complete_at = plan.get("complete_at")
    return Look(
        complete_at=datetime.fromisoformat(complete_at) if complete_at else None, under_way=bool(plan.get("began"))
    )
