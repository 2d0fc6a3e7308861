"""What the target holds that is not finished, of all courses, of one, of single rows; which queues hand rows out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import BooleanField, Case, Count, Exists, F, Min, OuterRef, Q, QuerySet, Value, When
from django.db.models.functions import MD5, Substr
from django.utils.timezone import now
from submissions.models import ExternalGraderDetail

from ..conf import ShimSettings
from ..core.identity import FENCE
from ..fields import exact
from .exact_match import is_one_of, of_course
from .leases import is_leased

_Status = ExternalGraderDetail.Status
_COURSE, _LEARNER = "submission__student_item__course_id", "submission__student_item__student_id"
#: Shadows of before the course was fenced, and those of after it, are rows of one course.
_OWN_COURSE = Case(When(**{f"{_COURSE}__startswith": FENCE}, then=Substr(_COURSE, len(FENCE) + 1)), default=F(_COURSE))
#: A row in flight is handed out, or answered, yet. One that has failed is not, but it can be tried again.
IN_FLIGHT = (_Status.PENDING, _Status.RETRY, _Status.PULLED)
_OPEN = (*IN_FLIGHT, _Status.FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRows:
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


def all_rows(settings: ShimSettings) -> list[OpenRows]:
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
        OpenRows(
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


def count_by_status(course_id: str) -> dict[str, int]:
    """How many rows of a course, real ones, the target has not finished, by status."""
    rows = ExternalGraderDetail.objects.filter(
        submission__student_item__course_id=course_id, status__in=IN_FLIGHT
    ).exclude(submission__student_item__student_id__startswith=FENCE)
    counts: dict[str, int] = {}
    for status in rows.values_list("status", flat=True):
        counts[status] = counts.get(status, 0) + 1
    return counts


def in_flight_of_course(course_id: str, queue_names: Iterable[str]) -> dict[int, str]:
    """The rows of a course in these queues that have no outcome, by Submission id, with their queue."""
    wanted = set(queue_names)
    rows = ExternalGraderDetail.objects.filter(
        of_course(course_id, "submission__student_item__"), status__in=IN_FLIGHT, queue_name__in=wanted
    )
    # The database takes names for one that differ in case, or in blanks at the end.
    found = rows.order_by().values_list("submission_id", "queue_name")
    return {submission_id: queue_name for submission_id, queue_name in found if queue_name in wanted}


def ids_handed_out() -> set[int]:
    """
    The rows, of all courses, that graders have had and given no result of that counts, by Submission id.

    There are as many as graders hold, and those that none of them gets done, however many wait: what was handed out is
    pending again only where it was superseded in error, and then it begins anew. (queue_name, status) leads to them.
    """
    names = ExternalGraderDetail.objects.order_by().values_list("queue_name", flat=True).distinct()
    rows = ExternalGraderDetail.objects.filter(queue_name__in=list(names), status__in=(_Status.PULLED, _Status.RETRY))
    return set(rows.order_by().values_list("submission_id", flat=True))


def queues_of_in_flight(submission_ids: Iterable[int]) -> dict[int, str]:
    """Those of these submissions that have no outcome, with their queue. Waits for no lock."""
    rows = ExternalGraderDetail.objects.filter(submission_id__in=list(submission_ids), status__in=IN_FLIGHT)
    return dict(rows.order_by().values_list("submission_id", "queue_name"))


def is_in_flight(column: str) -> Exists:
    """A condition for another table's rows: the submission that ``column`` names is in flight."""
    return Exists(ExternalGraderDetail.objects.filter(submission_id=OuterRef(column), status__in=IN_FLIGHT))


def statuses_of_unfinished(submission_ids: Iterable[int]) -> dict[int, str]:
    """Those of these submissions that are not retired, with their status: one that has failed may be tried again."""
    rows = ExternalGraderDetail.objects.filter(submission_id__in=list(submission_ids)).exclude(status=_Status.RETIRED)
    return dict(rows.order_by().values_list("submission_id", "status"))


@dataclass(frozen=True, slots=True, kw_only=True)
class RealRow:
    """A row in flight under a learner's own identity."""

    submission_id: int
    course_id: str
    queue_name: str
    leased: bool


def real_rows(
    lease_seconds: int, size: int, *, courses: frozenset[str] | None, queues: frozenset[str] | None
) -> Iterator[list[RealRow]]:
    """
    The rows in flight under learners' own identities, in order of arrival, in keyset pages of ``size``.

    ``courses`` and ``queues`` are None for all.
    """
    rows, after = _real(courses, queues).select_related("submission__student_item"), Q()
    while page := list(rows.filter(after)[:size]):
        yield [
            RealRow(
                submission_id=row.submission_id,
                course_id=row.submission.student_item.course_id,
                queue_name=row.queue_name,
                leased=is_leased(row, lease_seconds),
            )
            for row in page
        ]
        last = page[-1]
        after = Q(created_at__gt=last.created_at) | Q(created_at=last.created_at, pk__gt=last.pk)


def count_real_rows(*, courses: frozenset[str] | None, queues: frozenset[str] | None) -> int:
    """How many rows ``real_rows`` would give."""
    return _real(courses, queues).count()


def _real(courses: frozenset[str] | None, queues: frozenset[str] | None) -> QuerySet[ExternalGraderDetail]:
    rows = ExternalGraderDetail.objects.filter(status__in=IN_FLIGHT).exclude(
        Q(submission__student_item__student_id__startswith=FENCE)
        | Q(submission__student_item__item_id__startswith=FENCE)
    )
    if courses is not None:
        rows = rows.filter(is_one_of("submission__student_item__course_id", courses))
    if queues is not None:
        rows = rows.filter(is_one_of("queue_name", queues))
    return rows.order_by("created_at", "pk")


def count_failed_since(course_id: str, moment: datetime) -> int:
    """How many of a course's submissions, learners' own, have failed for good since then. Served by status_time."""
    rows = ExternalGraderDetail.objects.filter(status=_Status.FAILED, status_time__gte=moment)
    rows = rows.filter(submission__student_item__course_id=course_id)
    rows = rows.filter(submission__student_item__course_id__startswith=course_id)  # by bytes: see exact_match
    return rows.exclude(submission__student_item__student_id__startswith=FENCE).count()


def queues_answered_since(queue_names: Iterable[str], moment: datetime) -> set[str]:
    """Those of these queues of which a result was stored since then. One statement."""
    wanted = set(queue_names)
    rows = ExternalGraderDetail.objects.filter(queue_name__in=wanted, status_time__gte=moment)
    return wanted.intersection(exact(rows.filter(status=_Status.RETIRED, grader_reply__isnull=False), "queue_name"))


def queues_handed_out_since(queues: Iterable[str], moment: datetime) -> set[str]:
    """Those of these queues from which a grader has pulled, or to which it has answered, since then. One statement."""
    moved = (_Status.PULLED, _Status.RETIRED, _Status.RETRY, _Status.FAILED)
    wanted = set(queues)
    rows = ExternalGraderDetail.objects.filter(queue_name__in=wanted, status__in=moved, status_time__gte=moment)
    return wanted.intersection(exact(rows, "queue_name"))
