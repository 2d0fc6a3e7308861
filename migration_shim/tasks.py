"""Celery's entry points: the one module of the app that its workers look into."""

from __future__ import annotations

from typing import Any

from celery import Task, shared_task
from kombu.exceptions import OperationalError as BrokerError

from . import walk
from . import watch as watching
from .backfill import ranges
from .conf import load
from .copy_tasks import drain_outbox, write_reverse, write_shadow
from .errors import RunLocked, WorkersFailed

__all__ = [
    "backfill_range",
    "drain_outbox",
    "reconcile_range",
    "send_backfill",
    "send_reconcile",
    "watch",
    "write_reverse",
    "write_shadow",
]


@shared_task(
    name="migration_shim.backfill_range",
    acks_late=True,
    reject_on_worker_lost=True,
    ignore_result=True,
)
def backfill_range(range_id: int) -> str:
    """Work through one range of a backfill. Delivered twice, or never, it does no harm: the command looks after it."""
    return ranges.work(range_id)


@shared_task(
    name="migration_shim.reconcile_range",
    acks_late=True,
    reject_on_worker_lost=True,
    ignore_result=True,
)
def reconcile_range(range_id: int) -> str:
    """Work through one range of a reconcile. Delivered twice, or never, it does no harm, as above."""
    return walk.work(range_id)


@shared_task(name="migration_shim.watch", ignore_result=True)
def watch() -> str:
    """One round of ``xqueue_watch``, for Celery beat; the word says what came of it."""
    try:
        answer = watching.run()
    except RunLocked:
        return "another watch is at work"
    return f"exit code {int(answer.exit_code)}"


def send_backfill(range_id: int) -> None:
    """
    Publish one range of a backfill: its number, and nothing else.

    Raises:
        WorkersFailed: the broker does not take it.
    """
    _send(backfill_range, range_id)


def send_reconcile(range_id: int) -> None:
    """
    Publish one range of a reconcile: its number, and nothing else.

    Raises:
        WorkersFailed: the broker does not take it.
    """
    _send(reconcile_range, range_id)


def _send(task: Task, range_id: int) -> None:
    queue = load().celery_queue
    options: dict[str, Any] = {"queue": queue} if queue else {}
    try:
        task.apply_async(kwargs={"range_id": range_id}, **options)
    except BrokerError as error:
        raise WorkersFailed(f"Celery's broker does not take the work: {type(error).__name__}.") from error
