"""
Retry after contention: work that may succeed later is tried again, as a whole, a few times.

This is the one rule for every write of the app that others may compete with:

- Contention is a deadlock, a lock wait that took too long, or a lost connection.
- A collision, a unique key that somebody else has just taken, is retried only for callers that ask for it (``also``).
  To others it says that the work is done.
- Nothing is retried inside a transaction. A deadlock has rolled back the whole of it, and only the code that opened it
  can repeat it.
- An error that a row's own text causes never passes, though MySQL and MariaDB call it operational.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import Error, IntegrityError, InterfaceError, OperationalError, connections

from ..core.errors import TargetWriteFailed

Result = TypeVar("Result")

#: What MySQL and MariaDB call operational though a row's own text is at fault: a character that the column's character
#: set has not.
_TEXT_ERRORS = (1366, 3988)


def on_contention(
    write: Callable[[], Result],
    *,
    tries: int = 4,
    first_pause: float = 0.2,
    also: Callable[[BaseException], bool] = lambda error: False,
) -> Result:
    """
    Call ``write`` until it succeeds or the tries are used up. It must leave nothing behind when it fails.

    Between two tries, connections that no longer answer are closed, so that Django opens new ones.

    Args:
        write: the whole of the work, with the transaction that it opens.
        tries: how often it is called at most.
        first_pause: the longest pause before the second try, in seconds; at least half of it is waited. It doubles each
            time.
        also: which errors may pass besides contention, such as ``collision``.

    Raises:
        TargetWriteFailed, django.db.Error: the error of the last try, or one that does not pass.
    """
    for tried in range(1, tries):
        try:
            return write()
        except (TargetWriteFailed, Error) as error:
            if _in_transaction() or not (contention(error) or also(error)):
                raise
        for connection in connections.all(initialized_only=True):
            connection.close_if_unusable_or_obsolete()
        # Random, so that two that have collided do not collide again after the same pause.
        time.sleep(first_pause * 2 ** (tried - 1) * random.uniform(0.5, 1))  # noqa: S311  (out of step, no secret)
    return write()


def contention(error: BaseException) -> bool:
    """Tell whether repeating the work may succeed: after a deadlock, a lock wait or a lost connection."""
    cause = _database_error(error)
    if isinstance(cause, OperationalError):
        return not (cause.args and cause.args[0] in _TEXT_ERRORS)
    return isinstance(cause, InterfaceError)


def collision(error: BaseException) -> bool:
    """Tell whether a unique key was taken: by somebody else just now, or by a row that makes this one impossible."""
    if isinstance(error, TargetWriteFailed) and error.passing and _database_error(error) is None:
        return True
    return isinstance(_database_error(error), IntegrityError)


def _database_error(error: BaseException | None) -> Error | None:
    while error is not None and not isinstance(error, Error):
        error = error.__cause__
    return error


def _in_transaction() -> bool:
    return any(connection.in_atomic_block for connection in connections.all(initialized_only=True))
