"""
What speaks against another batch now: a pause file, replication lag or load. A server that may not be asked is ignored.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django.db import DatabaseError, connections

from ..conf import LEGACY_ALIAS, ShimSettings
from ..core.wording import counted
from ..db.replication import REPLICA_STATUS

#: The databases are asked at most this often.
ASK_SECONDS = 1.0
_BEHIND = ("Seconds_Behind_Source", "Seconds_Behind_Master")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """A reason to wait: its kind, for the count of seconds, and the text for an operator."""

    kind: str
    text: str


class Throttle:
    """Checks the pause file every time it is asked, and the databases once a second."""

    def __init__(self, settings: ShimSettings) -> None:
        self.settings = settings
        self.aliases = [
            alias
            for alias in ("default", LEGACY_ALIAS, *settings.throttle_replicas)
            if alias in connections.settings and connections[alias].vendor == "mysql"
        ]
        self._asked = -ASK_SECONDS
        self._last: Reason | None = None

    def reason(self) -> Reason | None:
        """Return the first reason to wait, or None."""
        path = self.settings.pause_file
        if path and Path(path).exists():
            return Reason(kind="pause_file", text=f"the pause file {path} exists")
        if time.monotonic() - self._asked >= ASK_SECONDS:
            self._last = next(self._of_databases(), None)
            self._asked = time.monotonic()
        return self._last

    def _of_databases(self) -> Iterator[Reason]:
        lag_limit, load_limit = self.settings.throttle_lag_seconds, self.settings.throttle_threads_running
        for alias in self.aliases:
            if lag_limit is not None and (seconds := lag(alias)) is not None and seconds > lag_limit:
                text = f"the database {alias} is {seconds} s behind its source (limit {lag_limit:g})"
                yield Reason(kind="lag", text=text)
            if load_limit is not None and (threads := threads_running(alias)) is not None and threads > load_limit:
                text = f"the database {alias} runs {counted(threads, 'thread')} (limit {load_limit})"
                yield Reason(kind="load", text=text)


def lag(alias: str) -> int | None:
    """
    Return how many seconds a replica is behind its source; None if it is no replica, has stopped, or may not be asked.
    """
    for statement in REPLICA_STATUS:
        try:
            with connections[alias].cursor() as cursor:
                cursor.execute(statement)
                rows = cursor.fetchall()
                names = [column[0] for column in cursor.description or ()]
        except DatabaseError:  # an older server, or no privilege: unknown is not an error
            continue
        behind = [dict(zip(names, row, strict=True)).get(name) for row in rows for name in _BEHIND]
        return max((int(seconds) for seconds in behind if seconds is not None), default=None)
    return None


def threads_running(alias: str) -> int | None:
    """Return how many threads the server runs at this moment, or None where it does not say."""
    try:
        with connections[alias].cursor() as cursor:
            cursor.execute("SHOW GLOBAL STATUS LIKE 'Threads_running'")
            row = cursor.fetchone()
    except DatabaseError:
        return None
    return int(row[1]) if row else None
