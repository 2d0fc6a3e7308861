"""
What the account of the alias ``xqueue`` may do on XQueue's server: too little, and too much. For MySQL and MariaDB.

What it may do is tested by statements that touch no row, because rights also come with roles, wildcards and columns.
What it should not be able to do is read from SHOW GRANTS.
"""

from __future__ import annotations

import re

from django.db import DatabaseError, connections

from ..conf import LEGACY_ALIAS
from ..core.errors import LegacyNotWritable
from ..models import LegacySubmission
from .primary import account, check_is_primary
from .timeouts import AWAY

#: What retiring rows needs.
UPDATE = "SELECT, UPDATE (retired, pullkey, grader_id)"
#: What reviving and inserting rows needs.
WRITE = "SELECT, INSERT, UPDATE (retired, pull_time, pullkey, grader_id)"
#: The server's errors for a missing privilege on a table or a column, and for a read-only server or session.
_DENIED, _READ_ONLY = (1142, 1143), (1290, 1792)
_TABLE = LegacySubmission._meta.db_table
_NOBODY = -1  # no row has this id
_QUOTED = r"`(?:[^`]|``)+`"
#: A line of SHOW GRANTS; one that names a role, or a proxy, has another form. What follows may be a password's hash.
_LINE = re.compile(rf"GRANT (?P<rights>.+?) ON (?P<scope>\*\.\*|{_QUOTED}\.(?:\*|{_QUOTED})) TO ")
_OPTION = "WITH GRANT OPTION"
#: UPDATE here means whole rows. UPDATE of columns, in brackets, is what the app asks for.
_USED = {"SELECT", "INSERT"}
#: Rights that let an account look at the server, not at its data. The throttle and ``primary`` do so.
_LOOKING = {
    "USAGE",
    "PROCESS",
    "REPLICATION CLIENT",
    "BINLOG MONITOR",
    "REPLICA MONITOR",
    "SLAVE MONITOR",
}


def check_may_update() -> None:
    """
    Refuse an alias that may not UPDATE, or that does not certainly lead to the primary.

    Raises:
        LegacyNotWritable: with what to do.
    """
    check_is_primary("A handoff")
    probe_update()


def check_may_write() -> None:
    """
    Refuse an alias that may not write what a return writes, or that does not certainly lead to the primary.

    Raises:
        LegacyNotWritable: with the GRANT to run, or what else is in the way.
    """
    check_is_primary("A return")
    probe_write()


def probe_write() -> None:
    """
    Test the right to write by an UPDATE and an INSERT of no rows.

    Raises:
        LegacyNotWritable: with the GRANT to run.
    """
    columns = ", ".join(
        field.column for field in LegacySubmission._meta.concrete_fields if field.column and not field.primary_key
    )
    try:
        LegacySubmission.objects.using(LEGACY_ALIAS).filter(pk=_NOBODY).update(
            retired=False, pull_time=None, pullkey="", grader_id=""
        )
        with connections[LEGACY_ALIAS].cursor() as cursor:
            # No row, so that no id is used up.
            cursor.execute(f"INSERT INTO {_TABLE} ({columns}) SELECT {columns} FROM {_TABLE} WHERE id = %s", [_NOBODY])
    except DatabaseError as error:
        read_only = _number(error) in _READ_ONLY
        if not read_only and not _is_denied(error):
            raise
        what = "is read-only" if read_only else "may not write what a return has to write"
        raise LegacyNotWritable(
            f"The account of the alias {LEGACY_ALIAS!r} {what}. Nothing was changed. "
            f"On XQueue's database, the primary, run: {grant(WRITE)}"
        ) from error


def probe_update() -> None:
    """
    Test the right to update by an UPDATE of no rows.

    Raises:
        LegacyNotWritable: with the GRANT to run.
    """
    try:
        with connections[LEGACY_ALIAS].cursor() as cursor:
            cursor.execute(f"UPDATE {_TABLE} SET retired = 1, pullkey = '', grader_id = '' WHERE id < 0", [])
    except DatabaseError as error:
        if not _is_denied(error):
            raise
        raise LegacyNotWritable(
            f"The account of the alias {LEGACY_ALIAS!r} may not update XQueue's rows. Nothing was held. "
            f"On XQueue's database run: {grant(UPDATE)}"
        ) from error


def _is_denied(error: Exception) -> bool:
    """Tell whether a right is missing. SQLite's errors have no number: there nothing else can fail such a statement."""
    return _number(error) is None or _number(error) in _DENIED


def _number(error: Exception) -> int | None:
    return error.args[0] if error.args and isinstance(error.args[0], int) else None


def grant(rights: str) -> str:
    """Return the GRANT that gives the account of the alias these rights on XQueue's table."""
    connection = connections[LEGACY_ALIAS]
    if connection.vendor != "mysql":
        return "make the file and its directory writable."
    return f"GRANT {rights} ON `{connection.settings_dict['NAME']}`.{_TABLE} TO {account()};"


def read_complaint() -> str:
    """Return why XQueue's table cannot be read: the GRANT to run if a right is missing. Empty where it can be read."""
    try:
        probe_read()
    except AWAY as error:
        return read_complaint_of(error)
    return ""


def probe_read() -> None:
    """
    Test whether XQueue's table can be read, by a SELECT of no row.

    Raises:
        Exception: one of ``timeouts.AWAY``.
    """
    LegacySubmission.objects.using(LEGACY_ALIAS).filter(pk=_NOBODY).first()


def read_complaint_of(error: Exception) -> str:
    """Return what an error of ``probe_read`` says: the GRANT to run, or its class and number."""
    number = error.args[0] if error.args else ""
    if number in _DENIED:
        return f"run {grant('SELECT')}"
    return f"{type(error).__name__} {number}".strip()


def update_complaint() -> str:
    """Return the GRANT without which rows cannot be retired, or an empty text."""
    try:
        probe_update()
    except LegacyNotWritable:
        return grant(UPDATE)
    return ""


def return_complaint() -> str:
    """Return the GRANT without which nothing can be given back, or an empty text."""
    try:
        probe_write()
    except LegacyNotWritable:
        return grant(WRITE)
    return ""


def excess() -> list[str]:
    """Return the rights that this app has no use for, each with where it holds: ``DELETE ON *.*``."""
    with connections[LEGACY_ALIAS].cursor() as cursor:
        cursor.execute("SHOW GRANTS")
        lines = [row[0] for row in cursor.fetchall()]
    return excess_of(lines, connections[LEGACY_ALIAS].settings_dict["NAME"])


def excess_of(lines: list[str], database: str) -> list[str]:
    """Return the excess rights in given lines of SHOW GRANTS, where XQueue's table is in ``database``."""
    own = f"`{database}`.`{LegacySubmission._meta.db_table}`"
    found = []
    for line in lines:
        match = _LINE.match(line)
        if match is None:
            continue
        scope = match["scope"]
        rights = re.split(r", ?(?![^(]*\))", match["rights"])
        found += [f"{right} ON {scope}" for right in rights if not _is_used(right, scope == own)]
        if line.endswith(_OPTION):
            found.append(f"GRANT OPTION ON {scope}")
    return found


def _is_used(right: str, on_own_table: bool) -> bool:
    name, bracket, _ = right.partition(" (")
    if on_own_table:
        return name in _USED or (name == "UPDATE" and bool(bracket))
    return name in _LOOKING
