"""
Queues that XQueue does not know, and queues that are new: XQueue refuses unknown queues, the target accepts any name.

A submission whose queue is misspelt is stored on the target, where no grader will ever poll it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from datetime import UTC, datetime, timedelta

from django.db.models import Count, Min, Q

from ..core.buckets import Facts, bucket_id
from ..core.data import Authority, Leg
from ..core.documents.status_course import NewQueue
from ..ledger import counts
from ..legacy import rows as legacy_rows
from ..legacy.timeouts import AWAY
from ..models import LedgerEntry, Run

#: How a reverse shadow's reason begins where XQueue answered "Queue '...' not found". Source: XQueue,
#: ``submission_queue/ext_interface``.
NOT_FOUND = "refused: Queue '"
#: For how long a queue counts as new.
NEW_FOR = timedelta(days=1)


def unknown_to_xqueue(courses: Collection[str]) -> dict[str, dict[str, int]]:
    """
    Count, by course and queue, the reverse shadows that XQueue refused because it does not know their queue.

    Once XQueue knows the queue, the watch writes them again and they are no longer counted. One statement.
    """
    refused = LedgerEntry.objects.filter(
        legacy_leg=Leg.FAILED,
        course_id__in=courses,
        authority=Authority.TARGET,
        superseded_at=None,
        legacy_reason__startswith=NOT_FOUND,
    )
    found: dict[str, dict[str, int]] = {}
    rows = refused.values_list("course_id", "queue_name").annotate(number=Count("id"))
    for course_id, queue_name, number in rows.order_by("course_id", "queue_name"):
        found.setdefault(course_id, {})[queue_name] = number
    return found


def new_queues(course_id: str, moment: datetime) -> list[NewQueue]:
    """
    Return the queues of a course that were first used within the last day: ``queue``, ``since`` and ``rows``.

    Neither the ledger nor XQueue has older submissions of them; XQueue is left out if its database does not answer.
    """
    cut = moment - NEW_FOR
    found: list[NewQueue] = []
    of_queue: dict[str, list[Facts]] = defaultdict(list)
    for facts, _ in counts.facts(course_id):
        of_queue[facts.queue_name].append(facts)
    for queue, its in sorted(of_queue.items()):
        day = cut.astimezone(UTC).date()
        if any(one.arrived_on < day for one in its):
            continue
        # Buckets count by day, so the entries of the last day are read one by one.
        entries = LedgerEntry.objects.filter(
            Q(bucket_id=None) | Q(bucket_id__in=[bucket_id(one) for one in its]),
            course_id=course_id,
            queue_name=queue,
        )
        if entries.filter(arrived_at__lt=cut).exists() or _on_legacy(queue):
            continue
        first = entries.aggregate(since=Min("arrived_at"), rows=Count("id"))
        found.append({"queue": queue, "since": first["since"].isoformat(), "rows": first["rows"]})
    return found


def _on_legacy(queue: str) -> bool:
    try:
        return legacy_rows.has_queue(queue)
    except AWAY:
        return False


def new_queues_of_last_watch() -> dict[str, list[NewQueue]]:
    """Return what ``new_queues`` found in the last finished round of the watch, by course. One statement."""
    last = Run.objects.filter(kind="watch", finished_at__isnull=False).order_by("-id")
    courses = last.values_list("document__courses", flat=True).first() or []
    return {course["course"]: course.get("new_queues") or [] for course in courses}
