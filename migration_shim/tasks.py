"""Celery's entry points, and how a task is published without keeping a learner waiting."""

from __future__ import annotations

from celery import current_app, shared_task
from django.db import OperationalError
from kombu.exceptions import OperationalError as BrokerError
from kombu.pools import producers

from . import copies
from .backfill import ranges
from .conf import ShimSettings, load
from .errors import TargetWriteFailed, WorkersFailed

RETRIES = 5


@shared_task(
    name="migration_shim.write_shadow",
    autoretry_for=(TargetWriteFailed, OperationalError),
    max_retries=RETRIES,
    retry_backoff=2,
    ignore_result=True,
)
def write_shadow(course_id: str, identity: str) -> str:
    """Write one shadow. ``course_id`` is for whoever looks at the queue."""
    return copies.write_shadow(identity)


@shared_task(name="migration_shim.write_reverse", ignore_result=True)
def write_reverse(course_id: str, identity: str) -> str:
    """Write one reverse shadow."""
    return copies.write_reverse(identity)


@shared_task(
    name="migration_shim.backfill_range",
    acks_late=True,
    reject_on_worker_lost=True,
    ignore_result=True,
)
def backfill_range(range_id: int) -> str:
    """Work through one range of a backfill. Delivered twice, or never, it does no harm: the command looks after it."""
    return ranges.work(range_id)


def send_range(range_id: int) -> None:
    """
    Publish one range of a backfill: its number, and nothing else.

    Raises:
        WorkersFailed: the broker does not take it.
    """
    queue = load().celery_queue
    try:
        backfill_range.apply_async(kwargs={"range_id": range_id}, **({"queue": queue} if queue else {}))
    except BrokerError as error:
        raise WorkersFailed(f"Celery's broker does not take the work: {type(error).__name__}.") from error


_TASKS = {copies.SHADOW: write_shadow, copies.REVERSE: write_reverse}


def send(kind: str, course_id: str, identity: str, settings: ShimSettings) -> None:
    """
    Publish one copy: one try, with ``publish_seconds`` as the timeout of the socket itself.

    Where all pooled connections of the process are waiting for the broker, that wait may come on top, once.

    Raises:
        Exception: whatever the broker's client raises.
    """
    task = _TASKS[kind]
    arguments = {"course_id": course_id, "identity": identity}
    if current_app.conf.task_always_eager:
        task.apply_async(kwargs=arguments)
        return
    seconds = settings.publish_seconds
    connection = current_app.connection_for_write(connect_timeout=seconds, transport_options=_timeouts(seconds))
    with producers[connection].acquire(block=True, timeout=seconds) as producer:
        options = {"queue": settings.celery_queue} if settings.celery_queue else {}
        task.apply_async(kwargs=arguments, producer=producer, retry=False, **options)


def _timeouts(seconds: float) -> dict[str, object]:
    """Socket timeouts in the words of each transport: Redis, and AMQP."""
    url = current_app.conf.broker_write_url or current_app.conf.broker_url or ""
    if str(url).startswith("redis"):
        return {
            "socket_timeout": seconds,
            "socket_connect_timeout": seconds,
            "max_retries": 0,
            "retry_on_timeout": False,
        }
    return {"read_timeout": seconds, "write_timeout": seconds, "max_retries": 0}
