"""The watch's one step: a course whose target failed goes back to legacy."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from ..conf import ShimSettings
from ..core.bounds import Breach, Observed
from ..core.data import Phase
from ..core.documents.watch import StepOfWatch
from ..core.errors import ConfigurationError
from ..cutover import steps as cutover_steps
from ..ledger import counts
from ..legacy.client import LegacyClient
from ..metrics import count
from ..models import Checkpoint, CoursePhase
from ..runs import records as run_records

#: Who stands in the record of a course that the watch has stepped back.
WATCH = "xqueue_watch"
_SAID_LIMIT = 200  # characters of XQueue's own text


def leaks_answered(course_id: str) -> int:
    """Return how many leaks of shadows were known when the watch last stepped the course back; 0 if it never did."""
    checkpoint = Checkpoint.objects.filter(name=_checkpoint_name(course_id)).first()
    return checkpoint.counts.get("shadow_leaks", 0) if checkpoint else 0


def step_back(
    course_id: str, seen: Observed, since: datetime | None, failed: list[Breach], settings: ShimSettings
) -> StepOfWatch:
    """
    Step a course back to legacy, if ``WATCH_STEP_BACK`` is on and legacy answers for each of its queues.

    Args:
        course_id: the course.
        seen: what was seen of it.
        since: when its phase began. If the course has been moved since it was observed, the step is not taken.
        failed: the breaches that say that the target failed; they become the reason on record.
        settings: the settings in force.

    Returns:
        ``stepped_back`` (bool) and ``not_stepped_back``: why it was not, or "".
    """
    why_not = "WATCH_STEP_BACK is off" if not settings.watch_step_back else _legacy_refusal(course_id)
    if why_not:
        return {"stepped_back": False, "not_stepped_back": why_not}
    reason = "the target failed: " + "; ".join(breach.text for breach in failed)
    with transaction.atomic():
        # The course's row is the lock of every step: an operator may have moved the course in the meantime.
        record = CoursePhase.objects.select_for_update().get(course_id=course_id)
        if (record.phase, record.since) != (seen.phase, since):
            return {"stepped_back": False, "not_stepped_back": "somebody has moved the course meanwhile"}
        cutover_steps.run(course_id, Phase.LEGACY, reason=reason, execute=True, user=WATCH, login=None)
        Checkpoint.objects.update_or_create(
            name=_checkpoint_name(course_id), defaults={"counts": {"shadow_leaks": seen.shadow_leaks}}
        )
    count("watch_stepped_back")
    return {"stepped_back": True, "not_stepped_back": ""}


def _legacy_refusal(course_id: str) -> str:
    """Return why legacy cannot take the course; empty if XQueue answers for every queue that the course uses."""
    queues = counts.queues(course_id)
    try:
        client = LegacyClient()
    except ConfigurationError as error:
        return str(error)
    for queue in queues:
        if refusal := client.refusal(queue):
            return f"legacy does not answer for queue {queue}: {refusal}"[:_SAID_LIMIT]
    return "" if queues else "no queue of the course is known"


def _checkpoint_name(course_id: str) -> str:
    return f"watch:{run_records.digest({'course': course_id})[:32]}"
