"""
The last known phase of each course in the LMS's cache, for when the database cannot be read.

Every step stores its phase here, and so does every round of ``xqueue_watch``, in case the cache was emptied. While the
phase can be read, this decides nothing. A cache that raises or is silent counts as empty.
"""

from __future__ import annotations

import hashlib
import logging
import time

from ..core.data import Phase
from ..lms import shared_cache

log = logging.getLogger(__name__)

#: That the cache takes nothing concerns every course alike, and a round of the watch stores them all.
SAY_SECONDS = 60.0
_said_at = -SAY_SECONDS


def _key(course_id: str) -> str:
    # A course id may hold what memcached takes in no key.
    digest = hashlib.sha256(course_id.encode("utf-8", "surrogatepass")).hexdigest()
    return f"migration_shim.phase.{digest}"


def remember(course_id: str, phase: Phase) -> None:
    """
    Remember the phase in force of a course for as long as the cache keeps it. Raises nothing.

    That it cannot be remembered is logged once a minute.
    """
    global _said_at  # noqa: PLW0603  (a clock of the process)
    try:
        shared_cache.ask(lambda cache: cache.set(_key(course_id), phase.value, timeout=None))
    except Exception as error:  # whatever a cache backend raises: no step waits for it
        if time.monotonic() - _said_at > SAY_SECONDS:
            _said_at = time.monotonic()
            log.warning(
                "migration_shim.phase_not_remembered: the cache does not take the phase of a course: %s",
                type(error).__name__,
            )


def recall(course_id: str) -> Phase | None:
    """Return the phase that was remembered last; None where none is known. Raises nothing."""
    try:
        return Phase(shared_cache.ask(lambda cache: cache.get(_key(course_id))))
    except Exception:  # nothing there, rubbish, or whatever a cache backend raises
        return None
