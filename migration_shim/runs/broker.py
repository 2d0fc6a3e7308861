"""
Celery's broker, and what is sent through it: tasks by their names, without keeping a learner waiting.

The tasks themselves are in ``tasks``, which imports all that they do. A process that only sends them needs none of it.
"""

from __future__ import annotations

import importlib
from typing import Any
from urllib.parse import urlsplit

from celery import current_app
from kombu import Connection
from kombu.exceptions import OperationalError as BrokerError
from kombu.pools import producers

from ..conf import ShimSettings, load
from ..core.errors import BrokerDown

DRAIN_OUTBOX = "migration_shim.drain_outbox"
BACKFILL_RANGE = "migration_shim.backfill_range"
RECONCILE_RANGE = "migration_shim.reconcile_range"

#: Seconds after which a nudge that no worker has taken is useless, because others have followed it.
EXPIRES = 60.0


def send(settings: ShimSettings, *, after: float) -> None:
    """
    Have a worker look at the outbox in ``after`` seconds: one try, with ``publish_seconds`` as the socket's own
    timeout.

    Where all pooled connections of the process are waiting for the broker, that wait may be added, once.

    Raises:
        Exception: whatever the broker's client raises.
    """
    seconds = settings.publish_seconds
    options = {"countdown": after, "expires": after + EXPIRES, "retry": False}
    with producers[connection(seconds)].acquire(block=True, timeout=seconds) as producer:
        _send(DRAIN_OUTBOX, {}, settings, producer=producer, **options)


def send_backfill(range_id: int) -> None:
    """
    Send one range of a backfill to the workers: its number, and nothing else.

    Raises:
        BrokerDown: the broker does not accept it.
    """
    _send_range(BACKFILL_RANGE, range_id)


def send_reconcile(range_id: int) -> None:
    """
    Send one range of a reconcile to the workers: its number, and nothing else.

    Raises:
        BrokerDown: the broker does not accept it.
    """
    _send_range(RECONCILE_RANGE, range_id)


def _send_range(name: str, range_id: int) -> None:
    try:
        _send(name, {"range_id": range_id}, load())
    except BrokerError as error:
        raise BrokerDown(_address()) from error


def _address() -> str:
    """Return host and port of the broker. The rest of its URL holds credentials, and may hold them anywhere."""
    url = str(current_app.conf.broker_write_url or current_app.conf.broker_url or "").partition(";")[0]
    try:
        parts = urlsplit(url)
        return f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname or ""
    except ValueError:  # a port that is none
        return ""


def _send(name: str, arguments: dict[str, Any], settings: ShimSettings, **options: Any) -> None:
    """
    Send a task by its name. Nothing waits for a result of ours, and no backend is told of one.

    In eager mode Celery runs the task here, and therefore has to know it. Elsewhere only workers import ``tasks``.
    """
    if is_eager():
        importlib.import_module("migration_shim.tasks")
    if settings.celery_queue:
        options["queue"] = settings.celery_queue
    current_app.signature(name, kwargs=arguments).apply_async(ignore_result=True, **options)


def is_eager() -> bool:
    """Tell whether Celery runs a task in the process that sends it."""
    return bool(current_app.conf.task_always_eager)


def connection(seconds: float) -> Connection:
    """Return a connection to Celery's broker, not opened yet, with ``seconds`` as the socket's own timeout."""
    return current_app.connection_for_write(connect_timeout=seconds, transport_options=_timeouts(seconds))


def _timeouts(seconds: float) -> dict[str, object]:
    """Return the socket timeouts in the words of each transport: Redis, and AMQP."""
    if _is_redis():
        return {
            "socket_timeout": seconds,
            "socket_connect_timeout": seconds,
            "max_retries": 0,
            "retry_on_timeout": False,
        }
    return {"read_timeout": seconds, "write_timeout": seconds, "max_retries": 0}


def _is_redis() -> bool:
    url = current_app.conf.broker_write_url or current_app.conf.broker_url or ""
    return str(url).startswith(("redis", "sentinel"))


def waits_for_ever() -> bool:
    """Tell whether the platform's own tasks are sent to a Redis without a timeout."""
    return _is_redis() and not (current_app.conf.broker_transport_options or {}).get("socket_timeout")
