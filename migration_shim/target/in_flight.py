"""What the target holds that is not finished, of all courses at once, and which of its queues hand rows out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import BooleanField, Case, Count, F, Min, Q, Value, When
from django.db.models.functions import MD5, Substr
from django.utils.timezone import now
from submissions.models import ExternalGraderDetail

from ..conf import ShimSettings
from ..core.identity import FENCE
from ..fields import exact

_Status = ExternalGraderDetail.Status
_COURSE, _LEARNER = "submission__student_item__course_id", "submission__student_item__student_id"
#: Shadows of before the course was fenced, and those of after it, are rows of one course.
_OWN_COURSE = Case(When(**{f"{_COURSE}__startswith": FENCE}, then=Substr(_COURSE, len(FENCE) + 1)), default=F(_COURSE))
_OPEN = (_Status.PENDING, _Status.PULLED, _Status.RETRY, _Status.FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """
    Rows of one course, queue and status. ``real`` are learners' own, the others are shadows.

    ``oldest`` is the arrival of the oldest, ``still_since`` when the one that has not moved for longest moved last;
    ``expired`` are leases that have run out, ``expired_since`` is the beginning of the oldest of them.
    """

    course: str
    queue: str
    status: str
    real: bool
    rows: int
    oldest: datetime
    still_since: datetime
    expired: int
    expired_since: datetime | None


def held(settings: ShimSettings) -> list[Held]:
    """
    Everything that is not finished, failed rows among it. Two statements.

    Only (queue_name, status) leads to such rows without reading every row there ever was, so the queues come first.
    Imported history is left out: no learner waits for it, no grader polls it, and there may be a great deal of it.
    """
    names = ExternalGraderDetail.objects.order_by().values_list("queue_name", flat=True).distinct()
    queues = [name for name in names if not name.endswith(settings.echo_queue_suffix)]
    run_out = Q(status=_Status.PULLED, status_time__lt=now() - timedelta(seconds=settings.lease_seconds))
    rows = (
        ExternalGraderDetail.objects.filter(queue_name__in=queues, status__in=_OPEN)
        .order_by()
        .annotate(
            shadow=Case(
                When(**{f"{_LEARNER}__startswith": FENCE}, then=Value(True)),
                default=Value(False),
                output_field=BooleanField(),
            )
        )
        # The database takes names for one that differ in case, or in blanks at the end: the digests keep them apart.
        .annotate(own_course=_OWN_COURSE, exact_course=MD5(_OWN_COURSE), exact_queue=MD5("queue_name"))
        .values_list("exact_course", "exact_queue", "status", "shadow")
        .annotate(
            course=Min("own_course"),
            queue=Min("queue_name"),
            rows=Count("id"),
            oldest=Min("created_at"),
            still_since=Min("status_time"),
            expired=Count("id", filter=run_out),
            expired_since=Min("status_time", filter=run_out),
        )
    )
    return [
        Held(
            course=course,
            queue=queue,
            status=status,
            real=not shadow,
            rows=number,
            oldest=oldest,
            still_since=still_since,
            expired=expired,
            expired_since=expired_since,
        )
        for _, _, status, shadow, course, queue, number, oldest, still_since, expired, expired_since in rows
    ]


def handed_out_since(queues: Iterable[str], moment: datetime) -> set[str]:
    """Those of these queues from which a grader has pulled, or to which it has answered, since then. One statement."""
    moved = (_Status.PULLED, _Status.RETIRED, _Status.RETRY, _Status.FAILED)
    wanted = set(queues)
    rows = ExternalGraderDetail.objects.filter(queue_name__in=wanted, status__in=moved, status_time__gte=moment)
    return wanted.intersection(exact(rows, "queue_name"))
