"""One of many, a course or a step: what goes wrong with it is said, and holds up none of the others."""

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


def attempt(step: str, course_id: str, work: Callable[..., T], *args: object) -> tuple[T | None, str]:
    """
    Do one step of one course: (what it gives, ""), or (None, what went wrong).

    Whatever it raises is survived, for the next course has done nothing wrong; it is logged, and whoever asked has to
    show it and to end with an exit code that says so. An error of ours says what to do about it. Of any other one only
    the type is told, and in the log the place: its text may be a learner's.

    Raises:
        Stopped: with the reason, as the work does.
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
    """What the problems of a document ask for: another run at work is no error, and what it looks at is looked at."""
    code = ExitCode.OK
    for problem in problems:
        code |= ExitCode.LOCKED if problem["said"].startswith(f"{RunLocked.__name__}: ") else ExitCode.ERROR
    return code


def _place(error: Exception) -> str:
    """The last line of ours that it came through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if _APP in Path(frame.filename).parents]
    return f"{Path(ours[-1].filename).relative_to(_APP)}:{ours[-1].lineno}"
