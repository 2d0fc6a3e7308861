"""One of many, a course or a step: an error in it is reported, and does not stop the others."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from django.db import connections

from ..core.data import ExitCode
from ..core.errors import RunLocked, ShimError
from .control import Stopped

log = logging.getLogger(__name__)

_APP = Path(__file__).resolve().parent.parent
T = TypeVar("T")
SAID_LIMIT = 500


def run_step(step: str, course_id: str, work: Callable[..., T], *args: object) -> tuple[T | None, str]:
    """
    Do one step of one course, and return (its result, ""), or (None, what went wrong).

    No error is passed on, because the next course has done nothing wrong. The error is logged, and the caller has to
    show it and to end with an exit code that says so. An error of ours says what to do about it. Of any other error
    only the type is told, and in the log the place: its text may contain what a learner wrote.

    Raises:
        Stopped: with the reason, where the work raises it.
    """
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()  # what went before may have left it broken
    try:
        return work(*args), ""
    except Stopped:
        raise
    except ShimError as error:
        return None, f"{type(error).__name__}: {error}"[:SAID_LIMIT]
    except Exception as error:
        name = type(error).__name__
        log.error("migration_shim: %s of %s failed: %s at %s", step, course_id or "the site", name, _place(error))
        return None, name


def exit_code_of(problems: Iterable[dict[str, str]]) -> ExitCode:
    """
    Return the exit code for the problems of a document.

    Another run at work gives LOCKED and no ERROR, because that run looks at the same things.
    """
    code = ExitCode.OK
    for problem in problems:
        code |= ExitCode.LOCKED if problem["said"].startswith(f"{RunLocked.__name__}: ") else ExitCode.ERROR
    return code


def _place(error: Exception) -> str:
    """Return the last line of our code that the error came through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if _APP in Path(frame.filename).parents]
    return f"{Path(ours[-1].filename).relative_to(_APP)}:{ours[-1].lineno}"
