"""Celery's workers, where Celery is installed: it is an extra, and ``broker`` is None without it."""

from __future__ import annotations

from collections.abc import Callable

from ..core.errors import ConfigurationError

try:
    from . import broker
except ImportError:
    broker = None  # type: ignore[assignment]  # a module, or none


def sender(kind: str) -> Callable[[int], None]:
    """
    Return the function that hands the number of a range to the workers.

    Args:
        kind: of the run: ``backfill`` or ``reconcile``.

    Raises:
        ConfigurationError: Celery is not installed.
    """
    if broker is None:
        raise ConfigurationError("--workers celery needs Celery, which is not installed.")
    return {"backfill": broker.send_backfill, "reconcile": broker.send_reconcile}[kind]
