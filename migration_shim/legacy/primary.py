"""Whether the alias ``xqueue`` leads to the primary, and until when it has what XQueue has written."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import DatabaseError, connections

from ..conf import LEGACY_ALIAS, usable
from ..core.errors import LegacyNotWritable
from ..db.replication import REPLICA_STATUS
from ..models import LegacySubmission


def check_is_primary(who: str) -> None:
    """
    Refuse a server that is read-only or a replica, or of which that cannot be told. ``who`` is what needs the primary.

    A row has to be read as graders have left it by then; a lagging replica would show the past. What is written on a
    replica, XQueue never sees.

    Raises:
        LegacyNotWritable: with what to do.
    """
    reason, unknown = why_not_primary()
    if reason:
        raise LegacyNotWritable(
            f"The database behind the alias {LEGACY_ALIAS!r} is {reason}. {who} needs the primary: what it reads of a "
            "row must be what graders have made of it by then. Point the alias at the primary."
        )
    if unknown:
        raise LegacyNotWritable(f"{unknown} {who} needs the primary. Nothing was changed.")


def why_not_primary() -> tuple[str, str]:
    """Return why the server is no primary, and why that cannot be told; each text is empty where it does not apply."""
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
    Return until when this server is known to have what XQueue has written. ``clock`` is its own time.

    On a primary that is ``clock``. A lagging replica has its clock right and its rows late. It applies commits in their
    order, so it has all that was committed before its newest row arrived.
    """
    if why_not_primary() == ("", ""):
        return clock
    newest = LegacySubmission.objects.using(LEGACY_ALIAS).order_by("-id").values_list("arrival_time", flat=True).first()
    return clock if newest is None else min(clock, newest)


def grant_to_ask() -> str:
    """
    Return the GRANT that lets the alias's account ask whether the server is a replica; it gives no access to data.
    """
    connection: Any = connections[LEGACY_ALIAS]  # MySQL's wrapper, which cannot be imported without its driver
    newer = connection.mysql_is_mariadb and connection.mysql_version >= (10, 5, 9)
    return f"GRANT {'REPLICA MONITOR' if newer else 'REPLICATION CLIENT'} ON *.* TO {account()};"


def account() -> str:
    """Return the account of the alias, as a GRANT names it."""
    with connections[LEGACY_ALIAS].cursor() as cursor:
        cursor.execute("SELECT CURRENT_USER()")
        user, _, host = cursor.fetchone()[0].rpartition("@")
    return f"'{user}'@'{host}'"
