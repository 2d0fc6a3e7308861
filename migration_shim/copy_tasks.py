"""The tasks that write one deferred copy, and how one is published without keeping a learner waiting."""

from __future__ import annotations

from celery import current_app, shared_task
from django.db import OperationalError
from kombu import Connection
from kombu.pools import producers

from . import copies
from .conf import ShimSettings
from .errors import TargetWriteFailed

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
    if is_eager():
        task.apply_async(kwargs=arguments)
        return
    seconds = settings.publish_seconds
    connection = broker(seconds)
    with producers[connection].acquire(block=True, timeout=seconds) as producer:
        options = {"queue": settings.celery_queue} if settings.celery_queue else {}
        task.apply_async(kwargs=arguments, producer=producer, retry=False, **options)


def is_eager() -> bool:
    """Whether Celery runs a task in the process that sends it."""
    return bool(current_app.conf.task_always_eager)


def broker(seconds: float) -> Connection:
    """A connection to Celery's broker, not yet made, with this timeout of the socket itself."""
    return current_app.connection_for_write(connect_timeout=seconds, transport_options=_timeouts(seconds))


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
