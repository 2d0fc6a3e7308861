"""
What the LMS's cache remembers of each course's phase, for the moment in which the database does not tell it.

Every step leaves its phase here, and every round of ``xqueue_watch`` does, for a cache that was emptied. It decides
nothing while the phase can be read. A cache that raises is an empty one.
"""

from __future__ import annotations

import hashlib
import logging

from django.core.cache import cache

from ..core.data import Phase

log = logging.getLogger(__name__)


def _key(course_id: str) -> str:
    # A course id may hold what memcached takes in no key.
    digest = hashlib.sha256(course_id.encode("utf-8", "surrogatepass")).hexdigest()
    return f"migration_shim.phase.{digest}"


def leave(course_id: str, phase: Phase) -> None:
    """Remember the phase in force of a course, for as long as the cache keeps it. Raises nothing."""
    try:
        cache.set(_key(course_id), phase.value, timeout=None)
    except Exception as error:  # whatever a cache backend raises: no step waits for it
        log.warning("migration_shim: the cache does not take the phase of a course: %s", type(error).__name__)


def last(course_id: str) -> Phase | None:
    """The phase that was left here last; None where nothing is known. Raises nothing."""
    try:
        return Phase(cache.get(_key(course_id)))
    except Exception:  # nothing there, rubbish, or whatever a cache backend raises
        return None
