"""All of the app's Celery tasks: the one module that Celery's workers import. ``runs/broker.py`` sends them."""

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
    """
    Do what submissions are owed, for one turn, and return what came of it as a text.

    The message may be delivered twice, or never. If work is left after the turn, another message is sent.
    """
    settings = load()
    done = outbox.drain(settings)
    if done["unfinished"]:
        broker.send(settings, after=0)
    return " ".join(f"{word}={number}" for word, number in sorted(done.items()))


@shared_task(name=broker.BACKFILL_RANGE, acks_late=True, reject_on_worker_lost=True, ignore_result=True)
def backfill_range(range_id: int) -> str:
    """Work through one range of a backfill. Its message may be delivered twice, or never: the command follows up."""
    return ranges.work(range_id)


@shared_task(name=broker.RECONCILE_RANGE, acks_late=True, reject_on_worker_lost=True, ignore_result=True)
def reconcile_range(range_id: int) -> str:
    """Work through one range of a reconcile. Its message may be delivered twice, or never: the command follows up."""
    return scan.work(range_id)


@shared_task(name="migration_shim.watch", ignore_result=True)
def watch() -> str:
    """Do one round of ``xqueue_watch``, for Celery beat, and return what came of it as a text."""
    try:
        answer = watch_round.run()
    except RunLocked:
        return "another watch is at work"
    return f"exit code {int(answer.exit_code)}"


# While an upgrade is rolled out, processes of the release before send one task a copy, by these names.


@shared_task(name="migration_shim.write_shadow", ignore_result=True)
def write_shadow(course_id: str, identity: str) -> str:
    """Write one shadow. ``course_id`` is there only to be seen in the queue."""
    try:
        return copies_write.write_shadow(identity)
    except (TargetWriteFailed, OperationalError) as error:
        return f"left to the next backfill: {type(error).__name__}"


@shared_task(name="migration_shim.write_reverse", ignore_result=True)
def write_reverse(course_id: str, identity: str) -> str:
    """Write one reverse shadow. ``course_id`` is there only to be seen in the queue."""
    return copies_write.write_reverse(identity)
