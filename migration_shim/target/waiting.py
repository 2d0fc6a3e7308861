"""Queues of the target in which submissions wait: what is in flight, and since when nobody has given a result."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from submissions.models import ExternalGraderDetail

from ..core.identity import FENCE
from ..fields import exact
from .courses import of_course

_Status = ExternalGraderDetail.Status
IN_FLIGHT = (_Status.PENDING, _Status.RETRY, _Status.PULLED)


def in_flight(course_id: str, queue_names: Iterable[str]) -> dict[int, str]:
    """The rows of a course in these queues that have no outcome, by Submission id, with their queue."""
    wanted = set(queue_names)
    rows = ExternalGraderDetail.objects.filter(
        of_course(course_id, "submission__student_item__"), status__in=IN_FLIGHT, queue_name__in=wanted
    )
    # The database takes names for one that differ in case, or in blanks at the end.
    found = rows.order_by().values_list("submission_id", "queue_name")
    return {submission_id: queue_name for submission_id, queue_name in found if queue_name in wanted}


def handed_out() -> set[int]:
    """
    The rows, of all courses, that graders have had and given no result of that counts, by Submission id.

    There are as many as graders hold, and those that none of them gets done, however many wait: what was handed out is
    pending again only where it was superseded in error, and then it begins anew. (queue_name, status) leads to them.
    """
    names = ExternalGraderDetail.objects.order_by().values_list("queue_name", flat=True).distinct()
    rows = ExternalGraderDetail.objects.filter(queue_name__in=list(names), status__in=(_Status.PULLED, _Status.RETRY))
    return set(rows.order_by().values_list("submission_id", flat=True))


def unanswered(submission_ids: Iterable[int]) -> dict[int, str]:
    """Those of these submissions that have no outcome, with their queue."""
    rows = ExternalGraderDetail.objects.filter(submission_id__in=list(submission_ids), status__in=IN_FLIGHT)
    return dict(rows.order_by().values_list("submission_id", "queue_name"))


def failed_since(course_id: str, moment: datetime) -> int:
    """How many of a course's submissions, learners' own, have failed for good since then. Served by status_time."""
    rows = ExternalGraderDetail.objects.filter(status=_Status.FAILED, status_time__gte=moment)
    rows = rows.filter(submission__student_item__course_id=course_id)
    rows = rows.filter(submission__student_item__course_id__startswith=course_id)  # bytes: see of_course
    return rows.exclude(submission__student_item__student_id__startswith=FENCE).count()


def unfinished(submission_ids: Iterable[int]) -> dict[int, str]:
    """Those of these submissions that are not retired, with their status: one that has failed may be tried again."""
    rows = ExternalGraderDetail.objects.filter(submission_id__in=list(submission_ids)).exclude(status=_Status.RETIRED)
    return dict(rows.order_by().values_list("submission_id", "status"))


def answered_since(queue_names: Iterable[str], moment: datetime) -> set[str]:
    """Those of these queues of which a result was stored since then. One statement."""
    wanted = set(queue_names)
    rows = ExternalGraderDetail.objects.filter(queue_name__in=wanted, status_time__gte=moment)
    return wanted.intersection(exact(rows.filter(status=_Status.RETIRED, grader_reply__isnull=False), "queue_name"))
