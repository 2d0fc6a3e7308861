"""The nudge: a message that tells a worker that the ledger owes something; no learner waits for it."""

from __future__ import annotations

import logging
import threading
import time

from ..conf import ShimSettings
from ..metrics import count, timed
from ..runs.workers import broker
from . import after_request, breaker

log = logging.getLogger(__name__)

#: Seconds between two nudges of one process.
EVERY = 1.0
_turn = threading.Lock()
_last = -EVERY


def nudge(settings: ShimSettings) -> None:
    """
    Have a worker look at the outbox. The message names no submission, and nothing is raised.

    Within a request the message is sent after the answer: no learner waits for a broker, or for the making of a
    message. A process sends at most one a second. The worker starts a second and the hold later. So a submission that
    is accepted in the second after a nudge needs no nudge of its own, and the last of a burst is not forgotten. Where
    no message can be sent (no Celery, a broker that does not answer in time, an open breaker), the next nudge or the
    watch finds what is owed.
    """
    after_request.run_after_answer(lambda: _send(settings))


def _send(settings: ShimSettings) -> None:
    if broker is None or broker.is_eager():
        return  # there is no worker: without Celery the watch does what is owed
    if not _is_time() or not breaker.allows(breaker.OUTBOX):
        return
    try:
        with timed("publish"):
            broker.send(settings, after=settings.hold_seconds + EVERY)
    except Exception as error:  # every broker client raises its own; none may reach a learner
        breaker.failed(breaker.OUTBOX, settings)
        count("nudge_not_sent", error)
        log.warning("migration_shim.nudge_not_sent: no worker could be told of what is owed: %s", type(error).__name__)
    else:
        breaker.succeeded(breaker.OUTBOX)


def _is_time() -> bool:
    global _last  # noqa: PLW0603  (a clock of the process)
    if not _turn.acquire(blocking=False):
        return False
    try:
        moment = time.monotonic()
        if moment - _last < EVERY:
            return False
        _last = moment
        return True
    finally:
        _turn.release()
