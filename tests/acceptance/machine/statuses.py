"""
Every change of status, pullkey and failures of an ExternalGraderDetail, written down by the database itself.

A trigger sees what no signal does: the UPDATEs of querysets. What is rolled back is not seen, as it should be.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.db import connection
from submissions.models import ExternalGraderDetail

TABLE = "machine_status_log"
_COLUMNS = ("status", "pullkey", "num_failures")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One committed change of one row: status, pullkey and failures, before and after."""

    submission_id: int
    before: tuple[str, str, int]
    after: tuple[str, str, int]


@contextmanager
def logged() -> Iterator[None]:
    """Keep the log for the length of the block."""
    old, new = (", ".join(f"COALESCE({side}.{name}, '')" for name in _COLUMNS) for side in ("OLD", "NEW"))
    differs = " OR ".join(f"COALESCE(OLD.{name}, '') <> COALESCE(NEW.{name}, '')" for name in _COLUMNS)
    table = ExternalGraderDetail._meta.db_table
    number = "integer PRIMARY KEY " + ("AUTOINCREMENT" if connection.vendor == "sqlite" else "AUTO_INCREMENT")
    columns = "old_status, old_key, old_failures, new_status, new_key, new_failures"
    with connection.cursor() as cursor:
        cursor.execute(
            f"CREATE TABLE {TABLE} (id {number}, submission_id integer, old_status varchar(20), old_key varchar(128), "
            "old_failures integer, new_status varchar(20), new_key varchar(128), new_failures integer)"
        )
        # SELECT and not VALUES: SQLite and MariaDB have different words for a condition.
        cursor.execute(
            f"CREATE TRIGGER {TABLE} AFTER UPDATE ON {table} FOR EACH ROW BEGIN "
            f"INSERT INTO {TABLE} (submission_id, {columns}) SELECT NEW.submission_id, {old}, {new} "
            f"FROM (SELECT 1 AS one) AS always WHERE {differs}; END"
        )
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP TRIGGER {TABLE}")
            cursor.execute(f"DROP TABLE {TABLE}")


def changes(after: int) -> tuple[list[Change], int]:
    """What was logged after the line ``after``, and the number of the last line."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {TABLE} WHERE id > %s ORDER BY id", [after])
        lines = cursor.fetchall()
    found = [Change(submission_id=line[1], before=tuple(line[2:5]), after=tuple(line[5:8])) for line in lines]
    return found, lines[-1][0] if lines else after


def valid(change: Change) -> bool:
    """
    Whether edx-submissions' own table of transitions leads from one state to the other.

    A lease that ran out and was renewed goes from pulled to pulled in one UPDATE: that is retry in between, so it must
    be counted as a failure and come with another key. Nothing else counts a failure than the way to retry or failed.
    """
    (status, key, failures), (new_status, new_key, new_failures) = change.before, change.after
    if status == new_status:
        if status == "pulled":
            return new_failures == failures + 1 and new_key not in ("", key)
        return new_failures == failures and new_key == ""  # a pullkey taken away
    if new_status not in ExternalGraderDetail.VALID_TRANSITIONS[status]:
        return False
    return new_failures == failures + (new_status in ("retry", "failed"))
