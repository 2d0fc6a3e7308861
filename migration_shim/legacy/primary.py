"""Whether the alias ``xqueue`` may write what a handoff writes, and leads to the primary."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import DatabaseError, connections

from ..conf import usable
from ..errors import LegacyNotWritable
from .routers import LEGACY_ALIAS
from .tables import LegacySubmission

#: The server says with these that the account lacks a privilege for the table or for a column.
_DENIED = (1142, 1143)
_TABLE = LegacySubmission._meta.db_table
#: What retiring rows needs.
UPDATE = "SELECT, UPDATE (retired, pullkey, grader_id)"
#: MariaDB's for connections of all names, then by the age of the server: MySQL 8.0.22 on, then all before.
REPLICA_STATUS = ("SHOW ALL SLAVES STATUS", "SHOW REPLICA STATUS", "SHOW SLAVE STATUS")


def check_may_update() -> None:
    """
    Refuse an alias that leads to no primary, or to nobody knows what, or may not UPDATE.

    Raises:
        LegacyNotWritable: with what to do.
    """
    check_is_primary("A handoff")
    probe_update()


def check_is_primary(who: str) -> None:
    """
    Refuse a server that is read-only or a replica, or where nobody can tell; ``who`` is what needs the primary.

    What is read of a row must be what graders have made of it by then: on a replica that lags it would be the past, and
    what is written there is seen by nobody.

    Raises:
        LegacyNotWritable: with what to do.
    """
    reason, unknown = replica()
    if reason:
        raise LegacyNotWritable(
            f"The database behind the alias {LEGACY_ALIAS!r} is {reason}. {who} needs the primary: what it reads of a "
            "row must be what graders have made of it by then. Point the alias at the primary."
        )
    if unknown:
        raise LegacyNotWritable(f"{unknown} {who} needs the primary. Nothing was changed.")


def probe_update() -> None:
    """
    Ask the database itself for the right, by an UPDATE of no rows: grants come with roles, wildcards and columns.

    Raises:
        LegacyNotWritable: with the GRANT to run.
    """
    try:
        with connections[LEGACY_ALIAS].cursor() as cursor:
            cursor.execute(f"UPDATE {_TABLE} SET retired = 1, pullkey = '', grader_id = '' WHERE id < 0", [])
    except DatabaseError as error:
        code = error.args[0] if error.args and isinstance(error.args[0], int) else None
        if code is not None and code not in _DENIED:
            raise
        raise LegacyNotWritable(
            f"The account of the alias {LEGACY_ALIAS!r} may not update XQueue's rows. Nothing was held. "
            f"On XQueue's database run: {grant(UPDATE)}"
        ) from error


def replica() -> tuple[str, str]:
    """(why the server is no primary, or empty; why nobody can tell, and what to do, or empty)."""
    if connections[LEGACY_ALIAS].vendor != "mysql":
        return "", ""
    with connections[LEGACY_ALIAS].cursor() as cursor:
        cursor.execute("SELECT @@global.read_only, CONCAT(@@global.hostname, ':', @@global.port)")
        read_only, server = cursor.fetchone()
        if read_only:
            return "read-only", ""
        for statement in REPLICA_STATUS:
            try:
                cursor.execute(statement)
            except DatabaseError:
                continue
            return ("a replica", "") if cursor.fetchone() else ("", "")
    if usable()[0].legacy_primary == server:
        return "", ""
    return "", (
        f"Whether the database behind {LEGACY_ALIAS!r} is the primary is unknown: the account may not ask. On XQueue's "
        f"database run: {grant_to_ask()} If nobody may grant that, and you know that {server} is the primary: "
        f"MIGRATION_SHIM['LEGACY_PRIMARY'] = {server!r}."
    )


def seen_until(clock: datetime) -> datetime:
    """
    Until when this server is known to have what XQueue has written; ``clock`` is its own time, which a primary keeps.

    A replica that lags has its clock right and its rows late. It takes over commits in their order, so it has all that
    was committed before its newest row arrived.
    """
    if replica() == ("", ""):
        return clock
    newest = LegacySubmission.objects.using(LEGACY_ALIAS).order_by("-id").values_list("arrival_time", flat=True).first()
    return clock if newest is None else min(clock, newest)


def grant_to_ask() -> str:
    """The statement that lets the account of the alias ask whether the server is a replica; it shows no data."""
    connection: Any = connections[LEGACY_ALIAS]  # MySQL's wrapper, which cannot be imported without its driver
    newer = connection.mysql_is_mariadb and connection.mysql_version >= (10, 5, 9)
    return f"GRANT {'REPLICA MONITOR' if newer else 'REPLICATION CLIENT'} ON *.* TO {_account()};"


def grant(rights: str) -> str:
    """The statement that gives the account of the alias these rights on XQueue's table."""
    connection = connections[LEGACY_ALIAS]
    if connection.vendor != "mysql":
        return "make the file and its directory writable."
    return f"GRANT {rights} ON `{connection.settings_dict['NAME']}`.{_TABLE} TO {_account()};"


def _account() -> str:
    with connections[LEGACY_ALIAS].cursor() as cursor:
        cursor.execute("SELECT CURRENT_USER()")
        user, _, host = cursor.fetchone()[0].rpartition("@")
    return f"'{user}'@'{host}'"
