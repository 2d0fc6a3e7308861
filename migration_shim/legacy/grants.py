"""
What the account of the alias ``xqueue`` may do on XQueue's server: too little, and too much. For MySQL and MariaDB.

What it may is asked by statements about no row (roles, wildcards and columns all grant); what it should not, by SHOW
GRANTS.
"""

from __future__ import annotations

import re

from django.db import connections

from ..conf import LEGACY_ALIAS
from ..errors import LegacyNotWritable
from ..models import LegacySubmission
from . import give_back, primary
from .limits import AWAY

_DENIED = (1142, 1143)
_QUOTED = r"`(?:[^`]|``)+`"
#: A line of SHOW GRANTS; one that names a role, or a proxy, has another form. What follows may be a password's hash.
_LINE = re.compile(rf"GRANT (?P<rights>.+?) ON (?P<scope>\*\.\*|{_QUOTED}\.(?:\*|{_QUOTED})) TO ")
_OPTION = "WITH GRANT OPTION"
#: UPDATE stands for whole rows here: of columns, in brackets, it is what the app asks for.
_USED = {"SELECT", "INSERT"}
#: Rights that let an account look at the server, not at its data; a throttle and ``primary`` look.
_LOOKING = {
    "USAGE",
    "PROCESS",
    "REPLICATION CLIENT",
    "BINLOG MONITOR",
    "REPLICA MONITOR",
    "SLAVE MONITOR",
}


def read_complaint() -> str:
    """Why XQueue's table cannot be read: the GRANT to run if it is a right that lacks. Empty where it can."""
    try:
        LegacySubmission.objects.using(LEGACY_ALIAS).filter(pk=-1).first()
    except AWAY as error:
        number = error.args[0] if error.args else ""
        if number in _DENIED:
            return f"run {primary.grant('SELECT')}"
        return f"{type(error).__name__} {number}".strip()
    return ""


def update_complaint() -> str:
    """The GRANT without which rows cannot be retired, or empty."""
    try:
        primary.probe_update()
    except LegacyNotWritable:
        return primary.grant(primary.UPDATE)
    return ""


def return_complaint() -> str:
    """The GRANT without which nothing can be given back, or empty."""
    try:
        give_back.probe_write()
    except LegacyNotWritable:
        return primary.grant(give_back.WRITE)
    return ""


def excess() -> list[str]:
    """The rights that this app has no use for, each with where it holds: ``DELETE ON *.*``."""
    with connections[LEGACY_ALIAS].cursor() as cursor:
        cursor.execute("SHOW GRANTS")
        lines = [row[0] for row in cursor.fetchall()]
    return excess_of(lines, connections[LEGACY_ALIAS].settings_dict["NAME"])


def excess_of(lines: list[str], database: str) -> list[str]:
    """The same of given lines of SHOW GRANTS, where XQueue's table is in ``database``."""
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
