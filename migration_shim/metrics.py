"""Counters and timings for the platform's monitoring, and for Prometheus where its client is installed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from edx_django_utils.monitoring import increment, set_custom_attribute

try:
    from prometheus_client import Counter, Histogram
except ImportError:  # not every installation has it
    Counter = Histogram = None

_EVENTS = Counter("migration_shim_events", "Events of the router", ["event"]) if Counter else None
_SECONDS = (
    Histogram("migration_shim_leg_seconds", "Seconds of one leg of one submission", ["leg"]) if Histogram else None
)


def count(event: str, error: Exception | None = None) -> None:
    """Count an event; of an error only its type is passed on."""
    increment(f"migration_shim.{event}")
    if error is not None:
        set_custom_attribute("migration_shim.error", type(error).__name__)
    if _EVENTS is not None:
        _EVENTS.labels(event).inc()


def attribute(name: str, value: str) -> None:
    """Attach a value to the current transaction of the platform's monitoring."""
    set_custom_attribute(f"migration_shim.{name}", value)


@contextmanager
def timed(leg: str) -> Iterator[None]:
    """Measure one leg, in seconds."""
    started = time.monotonic()
    try:
        yield
    finally:
        seconds = time.monotonic() - started
        set_custom_attribute(f"migration_shim.{leg}_seconds", round(seconds, 4))
        if _SECONDS is not None:
            _SECONDS.labels(leg).observe(seconds)
