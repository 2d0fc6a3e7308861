"""Celery's entry points, all of them: the one module of the app that its workers look into. See ``broker``."""

from __future__ import annotations

from celery import shared_task
from django.db import OperationalError

from .backfill import ranges
from .comparison import scan
from .conf import load
from .copies import outbox
from .copies import write as copies_write
from .core.errors import RunLocked, TargetWriteFailed
from .runs import broker
from .watch import round as watch_round

__all__ = ["backfill_range", "drain_outbox", "reconcile_range", "watch", "write_reverse", "write_shadow"]


@shared_task(name=broker.DRAIN_OUTBOX, ignore_result=True)
def drain_outbox() -> str:
    """Do what is due; delivered twice, or never, it does no harm. What is left after its turn is left to another."""
    settings = load()
    done = outbox.drain(settings)
    if done["unfinished"]:
        broker.send(settings, after=0)
    return " ".join(f"{word}={number}" for word, number in sorted(done.items()))


@shared_task(name=broker.BACKFILL_RANGE, acks_late=True, reject_on_worker_lost=True, ignore_result=True)
def backfill_range(range_id: int) -> str:
    """Work through one range of a backfill. Delivered twice, or never, it does no harm: the command looks after it."""
    return ranges.work(range_id)


@shared_task(name=broker.RECONCILE_RANGE, acks_late=True, reject_on_worker_lost=True, ignore_result=True)
def reconcile_range(range_id: int) -> str:
    """Work through one range of a reconcile. Delivered twice, or never, it does no harm, as above."""
    return scan.work(range_id)


@shared_task(name="migration_shim.watch", ignore_result=True)
def watch() -> str:
    """One round of ``xqueue_watch``, for Celery beat; the word says what came of it."""
    try:
        answer = watch_round.run()
    except RunLocked:
        return "another watch is at work"
    return f"exit code {int(answer.exit_code)}"


# Processes of the release before send one task a copy, by these names, while an upgrade is rolled out.


@shared_task(name="migration_shim.write_shadow", ignore_result=True)
def write_shadow(course_id: str, identity: str) -> str:
    """Write one shadow. ``course_id`` is for whoever looks at the queue."""
    try:
        return copies_write.write_shadow(identity)
    except (TargetWriteFailed, OperationalError) as error:
        return f"left to the next backfill: {type(error).__name__}"


@shared_task(name="migration_shim.write_reverse", ignore_result=True)
def write_reverse(course_id: str, identity: str) -> str:
    """Write one reverse shadow."""
    return copies_write.write_reverse(identity)
