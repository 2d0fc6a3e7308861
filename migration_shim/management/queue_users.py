"""The courses that use a queue: by their counters, their last preflights, and what waits in XQueue."""

from __future__ import annotations

from collections.abc import Collection

from django.db.models import Max

from ..legacy import open_rows
from ..legacy.timeouts import AWAY
from ..models import Bucket, LedgerEntry, Run


def of_queue(queue: str, courses: Collection[str]) -> tuple[list[str], Exception | None]:
    """
    Return which of these courses use a queue, by the name that CAPA gives it, and why XQueue's database did not answer.

    It takes five statements, however many courses there are.

    Rows that XQueue has finished are not asked: it may have millions. A course without an entry and without a row in
    flight is found once it has a preflight.
    """
    counted = Bucket.objects.exclude(number=0).filter(queue_name=queue).order_by()
    found = set(counted.values_list("course_id", flat=True).distinct())
    loose = LedgerEntry.objects.filter(bucket_id=None, queue_name=queue).order_by()
    found.update(loose.values_list("course_id", flat=True).distinct())
    preflights = Run.objects.filter(kind="preflight", complete=True).order_by()
    newest = preflights.values("scope").annotate(last=Max("id")).values_list("last", flat=True)
    rows = Run.objects.filter(pk__in=list(newest)).values_list("scope", "document__queues")
    found.update(course for course, queues in rows if queue in (queues or ()))
    try:
        found.update(held.course for held in open_rows.our_rows() if held.queue == queue)
    except AWAY as error:
        return [course for course in courses if course in found], error
    return [course for course in courses if course in found], None
