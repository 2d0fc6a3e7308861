"""Whether the alias ``xqueue`` may write what a handoff writes, and leads to the primary."""

from __future__ import annotations

from django.db import DatabaseError, connections

from ..errors import LegacyNotWritable
from .routers import LEGACY_ALIAS
from .tables import LegacySubmission

#: The server says with these that the account lacks a privilege for the table or for a column.
_DENIED = (1142, 1143)
_TABLE = LegacySubmission._meta.db_table
#: What retiring rows needs.
UPDATE = "SELECT, UPDATE (retired, pullkey, grader_id)"


def check_may_update() -> str:
    """
    Refuse an alias that is read-only, a replica, or may not UPDATE; return a warning where that cannot be known.

    The settle check of a handoff reads what graders have written: on a replica that lags behind it would read the past.
    The database itself is asked, by an UPDATE of no rows: grants come with roles, wildcards and columns.

    Raises:
        LegacyNotWritable: with what to do.
    """
    connection = connections[LEGACY_ALIAS]
    warning = ""
    if connection.vendor == "mysql":
        reason, warning = replica()
        if reason:
            raise LegacyNotWritable(
                f"The database behind the alias {LEGACY_ALIAS!r} is {reason}. A handoff needs the primary: what it "
                "reads of a row must be what graders have made of it by then. Point the alias at the primary."
            )
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"UPDATE {_TABLE} SET retired = 1, pullkey = '', grader_id = '' WHERE id < 0", [])
    except DatabaseError as error:
        code = error.args[0] if error.args and isinstance(error.args[0], int) else None
        if code is not None and code not in _DENIED:
            raise
        raise LegacyNotWritable(
            f"The account of the alias {LEGACY_ALIAS!r} may not update XQueue's rows. Nothing was held. "
            f"On XQueue's database run: {grant(UPDATE)}"
        ) from error
    return warning


def replica() -> tuple[str, str]:
    """(why the server is no primary, or empty; a warning where it would not say)."""
    with connections[LEGACY_ALIAS].cursor() as cursor:
        cursor.execute("SELECT @@global.read_only")
        if cursor.fetchone()[0]:
            return "read-only", ""
        for statement in ("SHOW REPLICA STATUS", "SHOW SLAVE STATUS"):  # the newer servers' word, and the older ones'
            try:
                cursor.execute(statement)
            except DatabaseError:
                continue
            return ("a replica", "") if cursor.fetchone() else ("", "")
    return "", (
        f"Whether the database behind {LEGACY_ALIAS!r} is a replica is unknown: the account may not ask. "
        "Make sure that it is the primary."
    )


def grant(rights: str) -> str:
    """The statement that gives the account of the alias these rights on XQueue's table."""
    connection = connections[LEGACY_ALIAS]
    if connection.vendor != "mysql":
        return "make the file and its directory writable."
    with connection.cursor() as cursor:
        cursor.execute("SELECT CURRENT_USER()")
        user, _, host = cursor.fetchone()[0].rpartition("@")
    return f"GRANT {rights} ON `{connection.settings_dict['NAME']}`.{_TABLE} TO '{user}'@'{host}';"
