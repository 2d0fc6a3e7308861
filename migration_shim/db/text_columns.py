"""
People's own text in the app's columns: a text is made to fit its column, and a migration makes the columns fit.

Many LMSs still have columns of MySQL's ``utf8mb3``, which holds no character beyond U+FFFF. Strict MySQL refuses a
reason with an emoji, and with it the step. Other modes store something else than what the log's chain has hashed.
"""

from __future__ import annotations

import logging
from typing import Any

from django.db import DatabaseError, connection, models

log = logging.getLogger(__name__)

_WHOLE = "utf8mb4"
_CODECS = {"latin1": "cp1252"}
#: A ledger of up to so many rows is copied where its server cannot change it in place: a second or two.
COPIED = 20_000
_IN_PLACE = "ALGORITHM=INSTANT"
#: The columns that hold what people or other systems have written; all the others are ours, and ASCII.
_WRITTEN = {
    "phasechange": ("reason", "changed_by"),
    "gateoverride": ("reason", "signed_by"),
    "knowndifference": ("reason", "owner"),
    "divergence": ("what",),
    "flagoverride": ("note",),
}
#: What has to be kept exactly as it came.
_RESIDUE = ("raw_header", "grader_payload", "student_info", "extra_body")


def fitted(model: type[models.Model], name: str, text: str) -> str:
    r"""
    Return a text as a column can hold it: other characters are written as Python would escape them (``\U0001f525``).

    Text that is not ASCII costs a statement on MySQL and MariaDB, because a column's character set has many sources.
    """
    text = text.encode("utf-8", "backslashreplace").decode()  # no database takes half a surrogate pair
    if text.isascii() or connection.vendor != "mysql":
        return text
    for charset in _charsets(connection, model, name):
        text = _as(charset, text)
    return text


def _field(model: type[models.Model], name: str) -> models.Field[Any, Any]:
    """Return one of a model's columns. ``get_field`` also returns relations that lead to the model, which have none."""
    return next(field for field in model._meta.concrete_fields if field.name == name)


def _charsets(database: Any, model: type[models.Model], name: str) -> list[str]:
    """Return the character sets through which a text goes on its way into a column; the column's own comes last."""
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT @@character_set_client, @@character_set_connection, CHARACTER_SET_NAME "
            "FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = %s AND COLUMN_NAME = %s",
            [model._meta.db_table, _field(model, name).column],
        )
        return [charset or "" for charset in cursor.fetchone() or ("",)]


def _as(charset: str, text: str) -> str:
    if charset == _WHOLE:
        return text
    if charset in ("utf8mb3", "utf8"):
        return "".join(letter if letter <= "\uffff" else f"\\U{ord(letter):08x}" for letter in text)
    codec = _CODECS.get(charset, "ascii")
    return text.encode(codec, "backslashreplace").decode(codec)


def widen(apps: Any, schema_editor: Any) -> None:
    """
    Give the columns of people's text utf8mb4 where they have something else. For a migration; MySQL and MariaDB only.

    The ledger is changed in place where the server can do that (MariaDB), copied where it is small, and otherwise left
    as it is with a line in the log, because copying a large table would keep learners waiting. Preflight names such
    columns.
    """
    if schema_editor.connection.vendor != "mysql":
        return
    for name, columns in _WRITTEN.items():
        if statement := _alter(apps.get_model("migration_shim", name), columns, schema_editor):
            schema_editor.execute(statement)
    entries = apps.get_model("migration_shim", "ledgerentry")
    statement = _alter(entries, _RESIDUE, schema_editor)
    if statement is None:
        return
    try:
        schema_editor.execute(f"{statement}, {_IN_PLACE}")
    except DatabaseError:
        newest = entries.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
        if newest > COPIED:
            log.warning(
                "migration_shim.column_not_converted: the ledger is too large to copy now; in a quiet hour run: %s",
                statement,
            )
        else:
            schema_editor.execute(statement)


def _alter(model: type[models.Model], names: tuple[str, ...], schema_editor: Any) -> str | None:
    """Return the statement that widens the columns that need it, or None where there is nothing to do."""
    quote, changes = schema_editor.quote_name, []
    for name in names:
        field = _field(model, name)
        if _charsets(schema_editor.connection, model, name)[-1] == _WHOLE:
            continue
        column, null = field.db_type(schema_editor.connection), "NULL" if field.null else "NOT NULL"
        changes.append(f"MODIFY {quote(field.column or field.attname)} {column} CHARACTER SET {_WHOLE} {null}")
    return f"ALTER TABLE {quote(model._meta.db_table)} {', '.join(changes)}" if changes else None
