"""Starting a deferred copy: one task for Celery, without keeping a learner waiting."""

from __future__ import annotations

import logging

from . import breaker
from .conf import ShimSettings
from .metrics import count, timed

try:
    from . import copy_tasks
except ImportError:  # Celery is an extra: without it the next backfill writes the copies
    copy_tasks = None

log = logging.getLogger(__name__)


def publish(kind: str, course_id: str, identity: str, settings: ShimSettings) -> None:
    """
    Start one copy in a worker. Raises nothing.

    Where it cannot be started (no Celery, a broker that does not answer in time, an open breaker) the copy stays
    MISSING on its ledger entry, counted, until a backfill finds it.
    """
    if not breaker.allows(kind):
        count(f"{kind}_paused_by_breaker")
        return
    if copy_tasks is None:
        count(f"{kind}_left_to_backfill")
        return
    try:
        with timed("publish"):
            copy_tasks.send(kind, course_id, identity, settings)
    except Exception as error:  # every broker client raises its own; none may reach a learner
        breaker.failed(kind, settings)
        count(f"{kind}_not_published", error)
        log.warning("migration_shim: a %s copy could not be published: %s", kind, type(error).__name__)
