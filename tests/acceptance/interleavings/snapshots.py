"""The state in which a schedule begins: rows that are put back quickly, and a clock that only the explorer moves."""

from __future__ import annotations

import datetime
from typing import Any

from django.apps import apps
from django.db import connections
from django.utils import timezone

from tests.acceptance.interleavings.scheduler import ALIASES

#: Apps whose rows a schedule may change; the last one is where the platform keeps its learners' state.
APPS = ("submissions", "migration_shim", "sandbox_lms", "courseware", "student")
LEGACY_TABLES = ("queue_submission",)


def tables() -> list[tuple[str, str]]:
    """Every table that is put back, with its alias."""
    configs = [config for config in apps.get_app_configs() if config.label in APPS]
    mine = {model._meta.db_table for config in configs for model in config.get_models()}
    return [("xqueue", name) for name in LEGACY_TABLES] + [
        ("default", name) for name in sorted(mine - {*LEGACY_TABLES})
    ]


def known_tables() -> list[str]:
    """Every table that an operation may touch, those that are not put back included."""
    return [*LEGACY_TABLES, *connections["default"].introspection.table_names()]


class Clock:
    """
    The time of all processes: it begins where it is told, and goes on by a moment whenever somebody looks.

    So a schedule reads the same times whenever it is played, and nobody has to wait for a lease to run out.
    """

    def __init__(self, monkeypatch: Any) -> None:
        clock, self._now = self, datetime.datetime.now(tz=datetime.UTC)

        class Datetime(datetime.datetime):
            @classmethod
            def now(cls, tz: Any = None) -> datetime.datetime:
                clock._now += datetime.timedelta(microseconds=100)
                return clock._now if tz else clock._now.replace(tzinfo=None)

        monkeypatch.setattr(timezone, "datetime", Datetime)

    def now(self) -> datetime.datetime:
        """What time it is."""
        return self._now

    def forward(self, **time: float) -> None:
        """Let time pass, on the server's clock as well as far as this thread's connections ask for it."""
        self.set(self._now + datetime.timedelta(**time))

    def set(self, now: datetime.datetime) -> None:
        """Make it this time."""
        self._now = now
        self.tell_server()

    def tell_server(self) -> None:
        """Let this thread's connections see the same time."""
        for alias in ALIASES:
            with connections[alias].cursor() as cursor:
                cursor.execute(f"SET timestamp = {self._now.timestamp():.6f}")


class Snapshot:
    """All rows of all tables, to be put back as often as wanted."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], tuple[str, list[tuple]]] = {}
        for alias, table in tables():
            with connections[alias].cursor() as cursor:
                cursor.execute(f"SELECT * FROM {table}")
                columns = ", ".join(f"`{column[0]}`" for column in cursor.description)
                if rows := cursor.fetchall():
                    one = f"({', '.join(['%s'] * len(cursor.description))})"
                    sql = f"INSERT INTO {table} ({columns}) VALUES {', '.join([one] * len(rows))}"
                    self._rows[alias, table] = sql, [value for row in rows for value in row]

    def put_back(self) -> None:
        """Make the tables what they were."""
        empty()
        for (alias, _), (sql, values) in self._rows.items():
            with connections[alias].cursor() as cursor:
                cursor.execute(sql, values)


def empty() -> None:
    """Take all rows away, without looking at what refers to what."""
    for alias in ALIASES:
        with connections[alias].cursor() as cursor:
            cursor.execute("SET foreign_key_checks = 0")
    for alias, table in tables():
        with connections[alias].cursor() as cursor:
            cursor.execute(f"DELETE FROM {table}")


#: Whose ids a column holds, by the end of its name; the ids of other columns are compared among themselves only.
_IDS = {
    "submission_id": "submissions_submission",
    "external_grader_id": "submissions_externalgraderdetail",
    "student_item_id": "submissions_studentitem",
    "entry_id": "migration_shim_ledgerentry",
    "run_id": "migration_shim_run",
    "legacy_id": "queue_submission",
}
#: Made anew whenever something is handed out or stored.
_KEYS = ("pullkey", "lease_key", "uuid")
#: Digests of what holds ids or times.
_DIGESTS = ("seen", "previous", "digest", "log_digest", "permit_basis")
#: Documents of runs: that there is one is all that matters.
_DOCUMENTS = ("document", "settings", "versions")


def fingerprint(ignored: tuple[str, ...] = ()) -> str:
    """
    All rows, with what is made anew in every run (ids, keys, times) replaced by the order in which it comes.

    Two states with one fingerprint are taken for the same: what must hold of one holds of the other. Times are left
    out, since what follows begins with minutes in which nothing happens.
    """
    seen: dict[tuple[str, Any], int] = {}
    lines = []
    for alias, table in tables():
        if table in ignored:
            continue
        with connections[alias].cursor() as cursor:
            cursor.execute(f"SELECT * FROM {table} ORDER BY 1")
            names = [column[0] for column in cursor.description]
            for row in cursor.fetchall():
                values = [_plain(table, name, value, seen) for name, value in zip(names, row, strict=True)]
                lines.append(f"{table} {values}")
    return "\n".join(lines)


def _plain(table: str, name: str, value: Any, seen: dict[tuple[str, Any], int]) -> Any:
    if value in (None, ""):
        return value
    if isinstance(value, datetime.datetime):
        return "time"
    if isinstance(value, int) and (name == "id" or name.endswith("_id")):
        whose = next((other for end, other in _IDS.items() if name.endswith(end)), f"{table} {name}")
        return seen.setdefault((table if name == "id" else whose, value), len(seen))
    if name.endswith(_KEYS):
        return seen.setdefault(("key", value), len(seen))
    if name in _DIGESTS:
        return True
    if name in _DOCUMENTS:
        return len(value) > 2
    if name == "grader_id":  # a handoff's mark names its entry
        return value.partition(":")[0]
    return "" if name == "attempt_number" else value  # edx-submissions' own count; nobody asks it
