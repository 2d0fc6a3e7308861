"""
A short digest of a row, computed by the database, so that unchanged rows need not be sent to be compared.

It has 64 bits, as 16 hexadecimal digits, and covers one row. Rows are never summed: sums of digests lose rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

#: Stands for a digest that could not be made. No database makes it, and it never equals another digest.
UNKNOWN = "?"


def sql(connection: Any, parts: Sequence[str]) -> str:
    """
    Return the SQL expression for the digest of ``parts``.

    It is NULL where the database cannot compute it (a row over MySQL's ``max_allowed_packet``, a server without MD5),
    which has to be taken for "changed".

    Args:
        connection: the connection to the database that is asked.
        parts: columns that are never NULL and contain no comma; for others use the functions below.
    """
    if connection.vendor == "mysql":
        joined = ", ',', ".join(parts)  # not CONCAT_WS, which leaves out what is NULL
        return f"LEFT(MD5(CONCAT({joined})), 16)"
    joined = " || ',' || ".join(parts)
    return f"SUBSTR(MD5({joined}), 1, 16)"


def nullable(column: str) -> str:
    """Return the part for a column of numbers, times or words of ours that may be NULL."""
    return f"IFNULL({column}, '-')"


def texts(connection: Any, columns: Sequence[str], long: str) -> list[str]:
    """
    Return the parts for columns of anybody's text, NULL or not.

    Each part includes the text's length, so that text that moves from one column to its neighbour is noticed, and no
    column's character set can make two rows alike. Where the server has two cyclic redundancy checks of different
    polynomials, these stand for all the bytes, as 64 bits. Nothing is copied or converted then; the checks take a fifth
    of the time of an MD5, miss no change within 64 bits, and miss one in 2**64 of any others.

    Args:
        connection: the connection to the database that is asked.
        columns: most of the columns.
        long: one more column, whose texts may be long.
    """
    if not has_two_checks(connection):
        return [*(_text(connection, column) for column in columns), _long_text(connection, long)]
    every = [*columns, long]
    # The same bytes in the same character set are the same text.
    said = [f"IFNULL(LENGTH({column}), '-'), ',', CHARSET({column})" for column in every]
    return [*said, _checked("CRC32", every), _checked("CRC32C", every)]


def has_two_checks(connection: Any) -> bool:
    """Tell whether the server has CRC32 and CRC32C, both of which can continue from an earlier check."""
    return connection.vendor == "mysql" and connection.mysql_is_mariadb and connection.mysql_version >= (10, 8)


def _checked(function: str, columns: Sequence[str]) -> str:
    """Return the check of all columns, one after the other, without joining them."""
    check = "0"
    for column in columns:
        check = f"{function}({check}, IFNULL({column}, ''))"
    return check


def _text(connection: Any, column: str) -> str:
    """Return one text behind its length and in utf8mb4."""
    if connection.vendor == "mysql":
        # Not IFNULL: a failed CONCAT is NULL as well, and would look like a missing text.
        return f"IF({column} IS NULL, '-', CONCAT(LENGTH({column}), ':', CONVERT({column} USING utf8mb4)))"
    return f"CASE WHEN {column} IS NULL THEN '-' ELSE HEX(CAST({column} AS BLOB)) END"


def _long_text(connection: Any, column: str) -> str:
    """Return one text as a digest of its own, which copies none of it."""
    return f"IF({column} IS NULL, '-', MD5({column}))" if connection.vendor == "mysql" else _text(connection, column)


def known(digest: str) -> str:
    """Return the SQL expression for a digest to be stored or sent, which is never NULL."""
    return f"COALESCE({digest}, '{UNKNOWN}')"


def same(stored: str, present: str) -> str:
    """Return the SQL expression that is 1 where two digests are equal, else 0, also where either is NULL."""
    return f"COALESCE({stored} = {present}, 0)"


def uncached(connection: Any) -> str:
    """
    Return the prefix of a statement whose subqueries ask about a different row each time.

    MariaDB would keep every answer of theirs, by all columns that it depends on, in a table for each, and no answer is
    ever asked for again. That took a third of such a statement's time.
    """
    if connection.vendor == "mysql" and connection.mysql_is_mariadb:
        return "SET STATEMENT optimizer_switch = 'subquery_cache=off' FOR "
    return ""


def microseconds(connection: Any, start: str, end: str) -> str:
    """Return the SQL expression for the time between two columns in microseconds; NULL where one of them is."""
    if connection.vendor == "mysql":
        return f"TIMESTAMPDIFF(MICROSECOND, {start}, {end})"
    return f"django_timestamp_diff({end}, {start})"
