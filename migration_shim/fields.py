"""Text that compares the same on every database."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models.functions import MD5


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
    The different texts that a column holds, in order.

    ``DISTINCT`` gives one of those that the column's collation takes for one text: of names that differ in blanks at
    the end only, whatever the collation, and with the usual one of names that differ in case or in an accent, too.
    """
    grouped = rows.order_by().values(_exact=MD5(column)).annotate(_text=models.Min(column))
    return sorted(text for _, text in grouped.values_list("_exact", "_text"))
