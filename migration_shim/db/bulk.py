"""
One SELECT for many rows, as the database has them. ``bulk_insert`` and ``bulk_update`` write many.

Most of the time of ``filter(column__in=...)`` is spent on each value by itself. Here it is spent once per statement.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime, tzinfo
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connection, connections, models
from django.db.models.expressions import RawSQL

from .literals import Literals, Ready


def select(
    model: type[models.Model],
    names: Sequence[str],
    *,
    using: str = "default",
    lock: bool = False,
    **among: Collection[str] | Collection[int],
) -> list[tuple[Any, ...]]:
    """
    Return the named columns, as the database has them, of the rows whose columns in ``among`` hold one of the given
    values.

    Args:
        model: the model of the table.
        names: the attributes to return.
        using: the alias of the database.
        lock: whether to lock the rows, where the database has row locks, in the order of their keys.
        among: the allowed texts or numbers, by attribute.
    """
    if not all(among.values()):
        return []
    here = connections[using]
    quote = here.ops.quote_name
    column = quoted(model, quote)
    sql = f"SELECT {', '.join(column[name] for name in names)} FROM {quote(model._meta.db_table)} WHERE "
    with here.cursor() as cursor:
        if here.vendor == "mysql":
            write = Literals(here.connection).of
            places = dict.fromkeys(among, "%s")
            parameters: list[Any] = [Ready(", ".join(write(list(values)))) for values in among.values()]
        else:
            places = {name: ", ".join(["%s"] * len(values)) for name, values in among.items()}
            parameters = [value for values in among.values() for value in values]
        sql += " AND ".join([f"{column[name]} IN ({place})" for name, place in places.items()])
        if lock:
            sql += f" ORDER BY {column[model._meta.pk.attname]}" + " FOR UPDATE" * here.features.has_select_for_update
        cursor.execute(sql, parameters)
        return cursor.fetchall()


def ask(sql: str, parameters: Sequence[Any] = (), *, using: str = "default") -> list[tuple[Any, ...]]:
    """
    Return the rows of a SELECT written by hand, as the database has them.

    For what is asked of every course: to build such a statement from a queryset takes several times as long as the
    server does.

    Args:
        sql: the statement, with ``%s`` for each parameter.
        parameters: texts, numbers and times.
        using: the alias of the database.
    """
    here = connections[using]
    times = here.ops.adapt_datetimefield_value
    with here.cursor() as cursor:
        cursor.execute(sql, [times(value) if isinstance(value, datetime) else value for value in parameters])
        return list(cursor.fetchall())


def like(here: Any, lookup: str) -> str:
    """Return the SQL behind a column for a lookup of Django's by a pattern, which compares byte for byte on MySQL."""
    return str(here.operators[lookup])


def moment(value: datetime | str, zone: tzinfo | None = None) -> datetime:
    """
    Return a time, as the database of the ledger returns it, with its time zone.

    For many times, pass ``connection.timezone`` as ``zone``: to look it up takes longer than all else.
    """
    at = datetime.fromisoformat(value) if isinstance(value, str) else value
    return at.replace(tzinfo=zone or connection.timezone)


def quoted(model: type[models.Model], quote: Callable[[str], str]) -> dict[str, str]:
    """Return the columns of a model by attribute, quoted for a statement."""
    return {field.attname: quote(field.column) for field in model._meta.concrete_fields if field.column}


def numbers(values: Iterable[int]) -> str:
    """Return numbers for an ``IN`` of a statement written by hand; empty where there are none. Never pass texts."""
    return ", ".join([str(int(value)) for value in values])


def listed(values: Iterable[int]) -> RawSQL | list[int]:
    """
    Return numbers for ``filter(column__in=...)``, which would look at each of a list's several times.

    Raises:
        ValueError: one is no number.
    """
    written = numbers(values)
    return RawSQL(written, ()) if written else []  # noqa: S611 - numbers, each made by int()


def among(column: str, values: Iterable[int]) -> str:
    """
    Return the condition that a column has one of these numbers, as few ranges as they make; empty where there are none.

    MariaDB makes a table of a long ``IN``, and looks each row up in both. Two numbers are no range: SQLite takes a
    thousand conditions at most. Never pass texts.
    """
    runs: list[list[int]] = []
    for value in sorted(set(map(int, values))):
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    singles = numbers(value for first, last in runs if last - first < 2 for value in range(first, last + 1))
    parts = [f"{column} BETWEEN {first} AND {last}" for first, last in runs if last - first >= 2]
    return " OR ".join([*parts, *([f"{column} IN ({singles})"] if singles else [])])


def raw(rows: models.QuerySet[Any]) -> list[tuple[Any, ...]]:
    """
    Return what a ``values_list`` would, as the database has it: times without a zone or as text, booleans as numbers.

    Converting takes longer than reading, and what is only compared with itself needs no conversion.
    """
    try:
        sql, parameters = rows.query.get_compiler(rows.db).as_sql()
    except EmptyResultSet:  # an IN of nothing
        return []
    with connections[rows.db].cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall()
