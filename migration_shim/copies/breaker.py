"""
A circuit breaker for each kind of copy.

After failures in a row nothing is tried for a while; then one try at a time is let through, until one succeeds. The
state is shared through the LMS's cache and costs no query. Where the cache fails or is silent, each process keeps its
own.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from ..conf import ShimSettings
from ..lms import shared_cache

log = logging.getLogger(__name__)

#: The leg of the nudge that tells workers of what is owed.
OUTBOX = "outbox"
LEGS = ("shadow", "reverse", "legacy_rows", OUTBOX)
_own: dict[str, Any] = {}


class _Store:
    """The shared cache, or this process's memory where the cache does not answer."""

    def get(self, key: str) -> Any:
        try:
            return shared_cache.ask(lambda cache: cache.get(key))
        except Exception:  # whatever a cache backend raises: a learner's submission must not hang on it
            return _own.get(key)

    def claim(self, key: str, seconds: float) -> bool:
        """Tell whether the caller is the first to ask for ``key`` within ``seconds``."""
        try:
            return bool(shared_cache.ask(lambda cache: cache.add(key, True, timeout=seconds)))
        except Exception:
            first = time.time() >= _own.get(key, 0.0)
            if first:
                _own[key] = time.time() + seconds
            return first

    def set(self, key: str, value: Any) -> None:
        _own[key] = value
        try:
            shared_cache.ask(lambda cache: cache.set(key, value, timeout=24 * 3600))
        except Exception as error:
            log.warning(
                "migration_shim.breaker_not_kept: the cache does not take the breaker's state: %s", type(error).__name__
            )


_store = _Store()


def why_alone() -> str:
    """Return why the breakers are this process's own, by the class of the cache's error; empty where it answers."""
    try:
        shared_cache.ask(lambda cache: cache.get(_key(OUTBOX)))
    except Exception as error:  # whatever a cache backend raises
        return type(error).__name__
    return ""


def _key(leg: str) -> str:
    return f"migration_shim.breaker.{leg}"


_CLOSED = {"failures": 0, "open_until": 0.0, "seconds": 0}


def state(leg: str) -> dict[str, Any]:
    """
    Return the breaker's state.

    It holds ``failures``, a number in a row; ``open_until``, in seconds since the epoch, 0 while closed; and
    ``seconds``, for how long it was opened.
    """
    return _store.get(_key(leg)) or _CLOSED


def is_open(leg: str) -> bool:
    """Tell whether the breaker is open: no try, or only one at a time, is let through. The question changes nothing."""
    return bool(state(leg)["open_until"])


def allows(leg: str) -> bool:
    """
    Tell whether the caller may try a copy now.

    Once an open breaker's time is over, only one caller in each further span of that length may try: many learners must
    not wait together to find out that nothing has changed. If the process of that caller dies and reports nothing,
    another caller may try a span later.
    """
    current = state(leg)
    if not current["open_until"]:
        return True
    return time.time() >= current["open_until"] and _store.claim(f"{_key(leg)}.try", current["seconds"])


def succeeded(leg: str) -> None:
    """Report that a copy was written: the breaker closes."""
    if state(leg)["failures"]:
        _store.set(_key(leg), _CLOSED)
        log.warning("migration_shim.copies_resumed: copies of the leg %s work again", leg)


def failed(leg: str, settings: ShimSettings) -> None:
    """Report that a copy failed. At the limit the breaker opens; a failed try of an open breaker opens it anew."""
    failures = state(leg)["failures"] + 1
    open_until = 0.0
    if failures >= settings.breaker_failures:
        open_until = time.time() + settings.breaker_seconds
        log.error("migration_shim.copies_paused: %s copies of the leg %s failed in a row; paused", failures, leg)
    _store.set(_key(leg), {"failures": failures, "open_until": open_until, "seconds": settings.breaker_seconds})


def reset() -> None:
    """Close all breakers."""
    for leg in LEGS:
        _store.set(_key(leg), _CLOSED)
