"""The target's unfinished rows: of all courses, of one course, of given submissions; and which queues hand rows out."""

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
#: Shadows from before and after the course was fenced count as rows of one course.
_OWN_COURSE = Case(When(**{f"{_COURSE}__startswith": FENCE}, then=Substr(_COURSE, len(FENCE) + 1)), default=F(_COURSE))
#: A row in flight can still be handed out or answered. A failed row is not in flight, but it can be tried again.
IN_FLIGHT = (_Status.PENDING, _Status.RETRY, _Status.PULLED)
OPEN = (*IN_FLIGHT, _Status.FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRows:
    """
    Unfinished rows of one course, queue and status. ``real`` rows are learners' own, the others are shadows.

    ``oldest`` is the arrival of the oldest row. ``still_since`` is the last change of the row that has not changed for
    the longest time. ``expired`` counts the leases that have run out, and ``expired_since`` is when the oldest of them
    began.
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


def queue_names() -> list[str]:
    """Return the names of all queues that hold or held a row, of any course. The index leads from one to the next."""
    return list(ExternalGraderDetail.objects.order_by().values_list("queue_name", flat=True).distinct())


def all_rows(settings: ShimSettings) -> list[OpenRows]:
    """
    Return all unfinished rows, failed ones included. Two statements.

    Only an index on (queue_name, status) leads to such rows without reading every row there ever was, so the queues are
    read first. Imported history is left out: no learner waits for it, no grader polls it, and it may be large.
    """
    queues = [name for name in queue_names() if not name.endswith(settings.echo_queue_suffix)]
    run_out = Q(status=_Status.PULLED, status_time__lt=now() - timedelta(seconds=settings.lease_seconds))
    rows = (
        ExternalGraderDetail.objects.filter(queue_name__in=queues, status__in=OPEN)
        .order_by()
        .annotate(
            shadow=Case(
                When(**{f"{_LEARNER}__startswith": FENCE}, then=Value(True)),
                default=Value(False),
                output_field=BooleanField(),
            )
        )
        # The database takes names for the same that differ in case or trailing blanks; the digests keep them apart.
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
    """Return how many of a course's real rows the target has not finished, by status."""
    rows = ExternalGraderDetail.objects.filter(
        submission__student_item__course_id=course_id, status__in=IN_FLIGHT
    ).exclude(submission__student_item__student_id__startswith=FENCE)
    counts: dict[str, int] = {}
    for status in rows.values_list("status", flat=True):
        counts[status] = counts.get(status, 0) + 1
    return counts


def in_flight_of_course(course_id: str, queue_names: Iterable[str]) -> dict[int, str]:
    """Return the rows of a course in these queues that have no outcome: the queue by Submission id."""
    wanted = set(queue_names)
    rows = ExternalGraderDetail.objects.filter(
        of_course(course_id, "submission__student_item__"), status__in=IN_FLIGHT, queue_name__in=wanted
    )
    # The database takes names for the same that differ in case or trailing blanks.
    found = rows.order_by().values_list("submission_id", "queue_name")
    return {submission_id: queue_name for submission_id, queue_name in found if queue_name in wanted}


def ids_handed_out() -> set[int]:
    """
    Return the Submission ids, of all courses, that graders have pulled without a result that counts.

    However many rows wait, there are only as many of these as graders hold and as no grader gets done: a row that was
    handed out becomes pending again only if it was superseded in error, and then it begins anew. The index on
    (queue_name, status) serves it.
    """
    held = (_Status.PULLED, _Status.RETRY)
    rows = ExternalGraderDetail.objects.filter(queue_name__in=queue_names(), status__in=held)
    return set(rows.order_by().values_list("submission_id", flat=True))


def queues_of_in_flight(submission_ids: Iterable[int]) -> dict[int, str]:
    """Return the queue, by Submission id, of those of these submissions that have no outcome. Waits for no lock."""
    rows = ExternalGraderDetail.objects.filter(submission_id__in=list(submission_ids), status__in=IN_FLIGHT)
    return dict(rows.order_by().values_list("submission_id", "queue_name"))


def is_in_flight(column: str) -> Exists:
    """Return a condition on another table's rows: the submission that ``column`` names is in flight."""
    return Exists(ExternalGraderDetail.objects.filter(submission_id=OuterRef(column), status__in=IN_FLIGHT))


def statuses_of_unfinished(submission_ids: Iterable[int]) -> dict[int, str]:
    """
    Return the status, by Submission id, of those of these submissions that are not retired. A failed one may be
    retried.
    """
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
    Yield the rows in flight under learners' own identities, in order of arrival, in keyset pages of ``size``.

    ``courses`` and ``queues`` are None for all. ``lease_seconds`` decides which rows count as leased.
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
    """Return how many rows ``real_rows`` would yield."""
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
    """
    Return how many of a course's real submissions have failed for good since ``moment``. The index on status_time
    serves it.
    """
    rows = ExternalGraderDetail.objects.filter(status=_Status.FAILED, status_time__gte=moment)
    rows = rows.filter(submission__student_item__course_id=course_id)
    rows = rows.filter(submission__student_item__course_id__startswith=course_id)  # by bytes: see exact_match
    return rows.exclude(submission__student_item__student_id__startswith=FENCE).count()


def queues_answered_since(queue_names: Iterable[str], moment: datetime) -> set[str]:
    """Return which of these queues had a result stored since ``moment``. One statement."""
    wanted = set(queue_names)
    rows = ExternalGraderDetail.objects.filter(queue_name__in=wanted, status_time__gte=moment)
    return wanted.intersection(exact(rows.filter(status=_Status.RETIRED, grader_reply__isnull=False), "queue_name"))


def queues_handed_out_since(queues: Iterable[str], moment: datetime) -> set[str]:
    """Return which of these queues a grader has pulled from or answered to since ``moment``. One statement."""
    moved = (_Status.PULLED, _Status.RETIRED, _Status.RETRY, _Status.FAILED)
    wanted = set(queues)
    rows = ExternalGraderDetail.objects.filter(queue_name__in=wanted, status__in=moved, status_time__gte=moment)
    return wanted.intersection(exact(rows, "queue_name"))
