"""One of many, a course or a step: an error in it is reported, and does not stop the others."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from django.db import connections

from ..core.data import ExitCode
from ..core.errors import RunLocked, ShimError
from . import causes
from .control import Stopped

log = logging.getLogger(__name__)

T = TypeVar("T")
SAID_LIMIT = 500
#: One cause after another of the same code is logged at most this often.
SAY_SECONDS = 60.0
#: A connection serves further steps for so long beyond its ``CONN_MAX_AGE``.
KEEP_SECONDS = 30.0
_logged: tuple[str, float] = ("", 0.0)


def run_step(step: str, course_id: str, work: Callable[..., T], *args: object) -> tuple[T | None, str]:
    """
    Do one step of one course, and return (its result, ""), or (None, what went wrong).

    No error is passed on, because the next course has done nothing wrong. The error is logged, and the caller has to
    show it and to end with an exit code that says so. An error of ours says what to do about it. A known cause (a
    database that is down) is told in our words, behind its code. Of any other error only the type is told, and in the
    log the place: its text may contain what a learner wrote.

    Raises:
        Stopped: with the reason, where the work raises it.
    """
    for connection in connections.all(initialized_only=True):
        _renew(connection)
    try:
        return work(*args), ""
    except Stopped:
        raise
    except Exception as error:
        found = causes.known(error)
        if isinstance(error, ShimError) and (found is None or found.message == str(error)):
            return None, f"{type(error).__name__}: {error}"[:SAID_LIMIT]
        name = found.code if found else type(error).__name__
        if found is None or _is_news(name):
            whose, at = course_id or "the site", causes.place(error)
            log.error("migration_shim.step_failed: %s of %s failed: %s at %s", step, whose, name, at)
        return None, (found.said() if found else name)[:SAID_LIMIT]


def _is_news(code: str) -> bool:
    """Tell whether a cause has not been logged lately: a server that is down concerns every course alike."""
    global _logged
    before, _logged = _logged, (code, time.monotonic())
    return before[0] != code or _logged[1] - before[1] > SAY_SECONDS


def _renew(connection: Any) -> None:
    """
    Close a connection that what went before may have left broken, or that is old.

    ``CONN_MAX_AGE`` is meant for requests. With 0, its default, each of many courses would connect anew, which takes as
    long as a dozen statements. What is kept beyond it is asked first whether it is alive: where the server was started
    anew between two courses, the second one must not pay for it.
    """
    if connection.in_atomic_block:
        return
    until, moment = connection.close_at, time.monotonic()
    if connection.connection is not None and until is not None and until <= moment < until + KEEP_SECONDS:
        connection.close_at = None if connection.is_usable() else until
    connection.close_if_unusable_or_obsolete()
    if connection.connection is not None:
        connection.close_at = until


def exit_code_of(problems: Iterable[Mapping[str, Any]]) -> ExitCode:
    """
    Return the exit code for the problems of a document.

    Another run at work gives LOCKED and no ERROR, because that run looks at the same things.
    """
    code = ExitCode.OK
    for problem in problems:
        code |= ExitCode.LOCKED if problem["said"].startswith(f"{RunLocked.__name__}: ") else ExitCode.ERROR
    return code
