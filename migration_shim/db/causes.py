"""What went wrong with a database, in one word, by the numbers and names that the servers' libraries give."""

from __future__ import annotations

import re
import sqlite3
import traceback

from django.db import DatabaseError, InterfaceError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import DatabaseErrorWrapper

#: MySQL's and MariaDB's numbers. Source: the error references of both servers.
_NUMBERS = {
    2005: "unknown_host",
    **dict.fromkeys((1053, 1927, 2006, 2013, 2055), "lost"),
    **dict.fromkeys((1205, 1213), "busy"),
    **dict.fromkeys((1040, 1203, 1226), "crowded"),
    **dict.fromkeys((1969, 3024), "slow"),
    **dict.fromkeys((1045, 1130, 1698, 4151), "password"),
    1049: "no_database",
    **dict.fromkeys((1142, 1143, 1227, 1370), "denied"),
    1044: "closed",
    **dict.fromkeys((1290, 1792, 1836), "read_only"),
    **dict.fromkeys((1021, 1114), "full"),
    1146: "no_table",
    1054: "no_column",
}
#: SQLite's names.
_NAMES = {
    "SQLITE_CANTOPEN": "no_file",
    "SQLITE_NOTADB": "no_database",
    "SQLITE_BUSY": "busy",
    "SQLITE_LOCKED": "busy",
    "SQLITE_FULL": "full",
    "SQLITE_READONLY": "read_only",
    "SQLITE_PERM": "denied",
    "SQLITE_AUTH": "denied",
}
_CANNOT_CONNECT = (2002, 2003)
#: The system's reason in the text of an error to connect that took its time. MariaDB's client gives 115 for a server
#: that is down as well, so that one says nothing.
_SILENT = re.compile(r"\((?:110|60)\b|timed out", re.I)
_TABLE = re.compile(r"Table '(?:[\w$]+\.)?([\w$]{1,64})' doesn't exist|no such table: (?:main\.)?([\w$]{1,64})")

_RIGHT = re.compile(r"\b([A-Z]{3,12}) command denied to user .{1,200}? for (?:table|column) .*?([\w$]{1,64})[`']?\W*$")


def cause_of(error: Exception) -> str:
    """Return the word for an error of a database: one of ``core.failures``."""
    number = number_of(error)
    if number is not None:
        if number in _CANNOT_CONNECT:
            return "timeout" if _SILENT.search(str(error)) else "refused"
        return _NUMBERS.get(number, "other")
    original = error.__cause__
    if isinstance(original, sqlite3.Error):
        name = getattr(original, "sqlite_errorname", "")
        text = str(original)
        if text.startswith("no such table"):
            return "no_table"
        if text.startswith("no such column"):
            return "no_column"
        return next((cause for known, cause in _NAMES.items() if name.startswith(known)), "other")
    return "other"


def number_of(error: Exception) -> int | None:
    """Return the server's number of an error, or None."""
    return error.args[0] if error.args and isinstance(error.args[0], int) else None


def table_of(error: Exception) -> str:
    """Return the table that an error says is missing, without its database; or an empty text."""
    found = _TABLE.search(str(error))
    return (found[1] or found[2]) if found else ""


def right_of(error: Exception) -> str:
    """Return the right that an error says is missing, as ``SELECT on queue_submission``; or an empty text."""
    found = _RIGHT.search(str(error))
    return f"{found[1]} on {found[2]}" if found else ""


def alias_of(error: BaseException) -> str:
    """
    Return the alias of the database that an error came from; empty where nobody can tell.

    An error does not say it. The frames that it came through do: each belongs to a connection of Django's.
    """
    found = ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        one = frame.f_locals.get("self")
        if isinstance(one, DatabaseErrorWrapper):
            one = one.wrapper  # type: ignore[attr-defined]  # not in the stubs
        elif not isinstance(one, BaseDatabaseWrapper):
            one = getattr(one, "db", None)  # a cursor's
        if isinstance(one, BaseDatabaseWrapper):
            found = one.alias
    return found


def server_of(alias: str) -> tuple[str, str, str]:
    """Return the address, the account and the name of a database as they are configured. None of them is a secret."""
    settings = connections.settings[alias]
    options, name = settings.get("OPTIONS") or {}, str(settings.get("NAME") or "")
    host, port = str(settings.get("HOST") or ""), str(settings.get("PORT") or "")
    if "sqlite" in settings.get("ENGINE", ""):
        return name, "", name
    if not host or host.startswith("/"):
        return str(options.get("unix_socket") or host or "the local server"), str(settings.get("USER") or ""), name
    return (f"{host}:{port}" if port else host), str(settings.get("USER") or ""), name


DATABASE_ERRORS = (DatabaseError, InterfaceError)
