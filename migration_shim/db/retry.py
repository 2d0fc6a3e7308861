"""
Once more after contention: what may pass by itself is tried again, as a whole, a few times.

The one rule for every write of the app that others may meet:

- contention is a deadlock, a wait for a lock that took too long, or a connection that is gone;
- a collision, that is a unique key that somebody else has just taken, is retried by those who ask for it (``also``),
  since to others it says that the work is done;
- nothing is retried inside a transaction: a deadlock has rolled back the whole of it, and only who has opened it can
  do that again;
- what a row's own text causes never passes, though MySQL and MariaDB call it operational.
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
    Call ``write`` until it succeeds or the tries are used up; it must leave nothing behind when it fails.

    Between two tries connections that do not answer any more are closed, so that Django opens new ones.

    Args:
        write: the whole of the work, with the transaction that it opens.
        tries: how often it is called at most.
        first_pause: seconds before the second try, at most, and at least half of them; doubled each time.
        also: which errors may pass besides contention, such as ``collision``.

    Raises:
        TargetWriteFailed, django.db.Error: that of the last try, or one that does not pass.
    """
    for tried in range(1, tries):
        try:
            return write()
        except (TargetWriteFailed, Error) as error:
            if _in_transaction() or not (contention(error) or also(error)):
                raise
        for connection in connections.all(initialized_only=True):
            connection.close_if_unusable_or_obsolete()
        # Two that have met do not meet again after the same pause.
        time.sleep(first_pause * 2 ** (tried - 1) * random.uniform(0.5, 1))  # noqa: S311  (out of step, no secret)
    return write()


def contention(error: BaseException) -> bool:
    """Whether the same once more may succeed: a deadlock, a lock wait, a connection that is gone."""
    cause = _database_error(error)
    if isinstance(cause, OperationalError):
        return not (cause.args and cause.args[0] in _TEXT_ERRORS)
    return isinstance(cause, InterfaceError)


def collision(error: BaseException) -> bool:
    """Whether a unique key was taken: by somebody else just now, or by a row that makes this one impossible."""
    if isinstance(error, TargetWriteFailed) and error.passing and _database_error(error) is None:
        return True
    return isinstance(_database_error(error), IntegrityError)


def _database_error(error: BaseException | None) -> Error | None:
    while error is not None and not isinstance(error, Error):
        error = error.__cause__
    return error


def _in_transaction() -> bool:
    return any(connection.in_atomic_block for connection in connections.all(initialized_only=True))
