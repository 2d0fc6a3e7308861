"""
The LMS's cache, asked with a time limit.

A cache that takes connections and never answers holds whoever asks it: for the timeout of its client, and most sites
give it none. So each question has its own limit here, and after a silence nothing is asked for a while. django-waffle,
sessions and the rest of the platform ask the cache by themselves; see the runbook for what bounds them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from django.core.cache import cache, close_caches
from django.db import connections

from ..db import timeouts

T = TypeVar("T")

#: Seconds that a question may take, and for which a process asks nothing more after a silence.
PATIENCE, SILENCE = 1.0, 60.0
#: Seconds after which an error of the cache's client is no answer either: its own timeout has ended.
LATE = 0.2
_silent_until = 0.0


class CacheSilent(Exception):
    """The cache did not answer in time, now or a short time ago."""


def ask(question: Callable[[Any], T]) -> T:
    """
    Return what ``question(cache)`` returns.

    It is asked in a thread of its own: not every client of a cache has a timeout.

    Raises:
        CacheSilent: no answer came within ``PATIENCE`` or its client's own timeout, now or in the last ``SILENCE``
            seconds.
        Exception: whatever the cache's backend raises at once.
    """
    global _silent_until  # noqa: PLW0603  (a clock of the process)
    began = time.monotonic()
    if began < _silent_until:
        raise CacheSilent
    try:
        return timeouts.call(lambda: question(cache), PATIENCE, afterwards=_close)
    except Exception as error:  # whatever a client raises: Redis's own timeout is no TimeoutError
        if not isinstance(error, TimeoutError) and time.monotonic() - began < LATE:
            raise
        _silent_until = time.monotonic() + SILENCE
        raise CacheSilent from error


def _close() -> None:
    """Close what the thread has opened: its own connection to the cache, and of a cache in the database that one."""
    close_caches()
    connections.close_all()
