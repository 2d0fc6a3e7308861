"""
Queues that only one side knows: XQueue refuses a queue that is not in its settings, the target accepts any name.

A name with a typing error in it takes submissions on the target that no grader will ever poll.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Count, Min, Q

from ..core.buckets import Facts, bucket_id
from ..core.data import Authority, Leg
from ..ledger import counts
from ..legacy import rows as legacy_rows
from ..legacy.timeouts import AWAY
from ..models import LedgerEntry, Run

#: How a reverse copy's reason begins when XQueue has said "Queue '...' not found" (``submission_queue/ext_interface``).
NOT_FOUND = "refused: Queue '"
#: For so long a queue that was never seen before is shown.
NEW_FOR = timedelta(days=1)


def unknown_to_xqueue(courses: Collection[str]) -> dict[str, dict[str, int]]:
    """
    By course and queue: how many reverse copies XQueue has refused because it does not know their queue. One statement.

    It ends once the copies are stored: the watch writes them again, and XQueue's answer is another one by then.
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


def new_queues(course_id: str, moment: datetime) -> list[dict[str, Any]]:
    """
    The queues of a course that nobody had seen before the last day: ``queue``, ``since`` and ``rows``.

    Neither the course's ledger nor XQueue has anything of them that is older. Where XQueue's database does not answer
    its word is left out.
    """
    found, cut = [], moment - NEW_FOR
    of_queue: dict[str, list[Facts]] = defaultdict(list)
    for facts, _ in counts.facts(course_id):
        of_queue[facts.queue_name].append(facts)
    for queue, its in sorted(of_queue.items()):
        day = cut.astimezone(UTC).date()
        if any(one.arrived_on < day for one in its):
            continue
        # What a day has brought, and no more: a bucket knows no hour.
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


def new_queues_of_last_watch() -> dict[str, list[dict[str, Any]]]:
    """What the last whole round of the watch has found by ``new_queues``, by course. One statement."""
    last = Run.objects.filter(kind="watch", finished_at__isnull=False).order_by("-id")
    courses = last.values_list("document__courses", flat=True).first() or []
    return {course["course"]: course.get("new_queues") or [] for course in courses}
