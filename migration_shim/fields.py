"""Columns of text: our own, which compare the same on every database, and XQueue's, which may not hold every text."""

from __future__ import annotations

import functools
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connections, models
from django.db.models.functions import MD5
from django.db.models.lookups import Exact, In

#: Python's names of the character sets that MySQL's and MariaDB's columns may have, where they differ.
_CODECS = {"latin1": "cp1252", "binary": "utf-8", "utf8mb4": "utf-8"}
#: All that utf8mb3 holds is below.
_ASTRAL = "\U00010000"


class ExactCharField(models.CharField):
    """
    A CharField compared byte for byte.

    MySQL's and MariaDB's usual collations take ``course-v1:Org+MISC1+1`` and ``course-v1:Org+misc1+1`` for one text.
    Opaque keys are case-sensitive: two such courses must never share a row of ours.
    """

    def db_type(self, connection: Any) -> str | None:
        """The column's type, with a binary collation where the database's default is not one."""
        column = super().db_type(connection)
        return f"{column} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin" if connection.vendor == "mysql" else column


def exact(rows: models.QuerySet[Any], column: str) -> list[str]:
    """
    Return the distinct texts of a column, compared byte for byte, in order.

    ``DISTINCT`` compares by the column's collation. Any collation takes names for one that differ only in blanks at the
    end, and the usual ones also names that differ in case or in an accent.
    """
    grouped = rows.order_by().values(_exact=MD5(column)).annotate(_text=models.Min(column))
    return sorted(text for _, text in grouped.values_list("_exact", "_text"))


def holds(connection: Any, field: Any, text: str) -> bool:
    """
    Tell whether the column of a field can hold a text.

    Where it cannot, no row has the text, and the server must not be asked: instead of comparing it fails (1267, 1271).
    XQueue's columns may be utf8mb3, which has no emoji, or hold even less.
    """
    if text.isascii() or connection.vendor != "mysql":
        return True
    known = _charsets(connection.alias, connection.settings_dict["NAME"], field.model._meta.db_table)
    charset = known.get(str(field.column), "utf8mb4")
    if charset in ("utf8", "utf8mb3"):
        return max(text) < _ASTRAL
    try:
        text.encode(_CODECS.get(charset, charset))
    except (UnicodeEncodeError, LookupError):
        return False
    return True


@functools.cache
def _charsets(alias: str, database: str, table: str) -> dict[str, str]:
    """Return the character set of each text column of a table; the server is asked once a process."""
    with connections[alias].cursor() as cursor:
        cursor.execute(
            "SELECT column_name, character_set_name FROM information_schema.columns "
            "WHERE table_schema = %s AND table_name = %s AND character_set_name IS NOT NULL",
            [database, table],
        )
        return dict(cursor.fetchall())


class ForeignCharField(models.CharField):
    """A text column of another system: a text that it cannot hold equals none in it, without the server being asked."""


@ForeignCharField.register_lookup
class _Equal(Exact):
    def as_sql(self, compiler: Any, connection: Any) -> Any:
        if isinstance(self.rhs, str) and not holds(connection, self.lhs.target, self.rhs):
            raise EmptyResultSet
        return super().as_sql(compiler, connection)


@ForeignCharField.register_lookup
class _Among(In):
    def process_rhs(self, compiler: Any, connection: Any) -> Any:
        if self.rhs_is_direct_value():
            self.rhs = [text for text in self.rhs if holds(connection, self.lhs.target, text)]
        return super().process_rhs(compiler, connection)
