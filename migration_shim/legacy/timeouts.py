"""
How long every process waits for XQueue's database: to connect, for an answer, for a lock, for a statement.

The limits apply to XQueue's alias only. ``default`` is the LMS's own connection, and limits there would hit CAPA's
save.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from django.db import Error, connections
from django.db.backends.signals import connection_created
from django.utils.connection import ConnectionDoesNotExist

from ..conf import LEGACY_ALIAS
from ..db import timeouts

T = TypeVar("T")

#: Seconds. A page of a backfill is read in far less. A server that is silent for longer counts as gone.
LOCK_SECONDS, STATEMENT_SECONDS = 5, 60
#: The errors of asking while it is away; the last one where XQueue was switched off for good, and its alias removed.
AWAY = (Error, ConnectionDoesNotExist)


def connect() -> None:
    """Limit every new session on the alias."""
    connection_created.connect(_limit, dispatch_uid="migration_shim.legacy.timeouts")


def _limit(connection: Any, **kwargs: Any) -> None:
    if connection.alias != LEGACY_ALIAS or connection.vendor != "mysql":
        return
    # MariaDB counts seconds and stops any statement; MySQL counts milliseconds, and stops reading ones.
    statement = (
        f"max_statement_time = {STATEMENT_SECONDS}"
        if connection.mysql_is_mariadb
        else f"max_execution_time = {STATEMENT_SECONDS * 1000}"
    )
    locks = f"innodb_lock_wait_timeout = {LOCK_SECONDS}, lock_wait_timeout = {LOCK_SECONDS}"
    with connection.cursor() as cursor:
        cursor.execute(f"SET SESSION {locks}, {statement}")


def soon(ask: Callable[[], T], seconds: float) -> T:
    """
    Return what ``ask()`` returns, or raise what it raises, if it ends within ``seconds``.

    On MySQL and MariaDB it runs in a thread and a session of its own, which is left behind if it does not end in time:
    no timeout of a session is short enough for a database that is silent. Inside a transaction on the alias it runs
    there.

    Raises:
        TimeoutError: it did not end in time.
    """
    connection = connections[LEGACY_ALIAS]
    if connection.vendor == "sqlite" or connection.in_atomic_block:
        return ask()
    # Of that thread, all: the rules of whose rows are ours are read from the other database.
    return timeouts.call(ask, seconds, afterwards=connections.close_all)
