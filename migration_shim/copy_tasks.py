"""The task that does what the ledger owes, and how it is started without keeping a learner waiting."""

from __future__ import annotations

from typing import Any

from celery import current_app, shared_task
from django.db import OperationalError
from kombu import Connection
from kombu.pools import producers

from . import copies, outbox
from .conf import ShimSettings, load
from .errors import TargetWriteFailed

#: A nudge that no worker has taken so long after its time is of no use: there have been others.
EXPIRES = 60.0


@shared_task(name="migration_shim.drain_outbox", ignore_result=True)
def drain_outbox() -> str:
    """Do what is due; delivered twice, or never, it does no harm. What is left after its turn is left to another."""
    settings = load()
    done = outbox.drain(settings)
    if done["unfinished"]:
        send(settings, after=0)
    return " ".join(f"{word}={number}" for word, number in sorted(done.items()))


# Processes of the release before send one task a copy, by these names, while an upgrade is rolled out.


@shared_task(name="migration_shim.write_shadow", ignore_result=True)
def write_shadow(course_id: str, identity: str) -> str:
    """Write one shadow. ``course_id`` is for whoever looks at the queue."""
    try:
        return copies.write_shadow(identity)
    except (TargetWriteFailed, OperationalError) as error:
        return f"left to the next backfill: {type(error).__name__}"


@shared_task(name="migration_shim.write_reverse", ignore_result=True)
def write_reverse(course_id: str, identity: str) -> str:
    """Write one reverse shadow."""
    return copies.write_reverse(identity)


def send(settings: ShimSettings, *, after: float) -> None:
    """
    Start the task, so many seconds from now: one try, with ``publish_seconds`` as the timeout of the socket itself.

    Where all pooled connections of the process are waiting for the broker, that wait may come on top, once.

    Raises:
        Exception: whatever the broker's client raises.
    """
    seconds = settings.publish_seconds
    options: dict[str, Any] = {"countdown": after, "expires": after + EXPIRES, "retry": False}
    if settings.celery_queue:
        options["queue"] = settings.celery_queue
    connection = broker(seconds)
    with producers[connection].acquire(block=True, timeout=seconds) as producer:
        drain_outbox.apply_async(producer=producer, **options)


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
