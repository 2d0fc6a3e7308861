"""
One SELECT or one UPDATE for many rows, and an UPDATE that is built once and sent often. ``bulk_insert`` has the INSERT.

Most of the time of ``filter(column__in=...)`` is spent on each value by itself. Here it is spent once per statement.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Any, TypeVar

from django.core.exceptions import EmptyResultSet
from django.db import connection, connections, models
from django.db.models.expressions import Col, RawSQL

from .literals import Literals, Ready

Model = TypeVar("Model", bound=models.Model)


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


def update(model: type[models.Model], columns: Sequence[str], rows: Mapping[int, Sequence[Any]], **same: Any) -> None:
    """
    Change rows by their keys, in one statement on MySQL; elsewhere there are no round trips to save.

    Args:
        model: the model of the table; its key is a number.
        columns: the attributes whose values are in ``rows``, in this order.
        rows: by key, the values as the database takes them.
        same: the attributes that get one value in all rows.
    """
    if not rows:
        return
    quote = connection.ops.quote_name
    fields = {field.attname: field for field in model._meta.concrete_fields}
    column = quoted(model, quote)
    table, key = quote(model._meta.db_table), column[model._meta.pk.attname]
    names = [column[name] for name in columns]
    alike = [fields[name].get_db_prep_save(value, connection) for name, value in same.items()]
    of_all = [column[name] for name in same]
    with connection.cursor() as cursor:
        if connection.vendor != "mysql":
            changes = ", ".join(f"{name} = %s" for name in (*names, *of_all))
            statement = f"UPDATE {table} SET {changes} WHERE {key} = %s"
            cursor.executemany(statement, [[*values, *alike, pk] for pk, values in rows.items()])
            return
        # Each literal costs the driver and the server. So one value for all rows is written once, and so is the same
        # value of two columns.
        own: dict[str, tuple[Any, ...]] = {}
        settings = []
        for name, values in zip(names, zip(*rows.values(), strict=True), strict=True):
            if values.count(values[0]) == len(values):
                of_all.append(name)
                alike.append(values[0])
                continue
            source = next((other for other, there in own.items() if there == values), name)
            own.setdefault(source, values)
            settings.append(f"{table}.{name} = new.{source}")
        settings += [f"{table}.{name} = %s" for name in of_all]
        write = Literals(connection.connection).of
        lists = map(", ".join, zip(write(list(rows)), *map(write, own.values()), strict=True))
        heads = ", ".join(f"NULL AS {name}" for name in (key, *own))
        # A SELECT for each row takes the server several microseconds longer to read.
        before, between, after = (
            ("VALUES (", "), (", ")") if _has_values(connection) else ("SELECT ", " UNION ALL SELECT ", "")
        )
        # In this order, because the server might otherwise scan a small table and lock all of it.
        cursor.execute(
            f"UPDATE (SELECT {heads} UNION ALL {before}%s{after}) AS new STRAIGHT_JOIN {table}"
            f" ON {table}.{key} = new.{key} SET {', '.join(settings)}",
            [Ready(between.join(lists)), *alike],  # type: ignore[list-item]  # the driver was taught it, by Literals
        )


def _has_values(here: Any) -> bool:
    """Tell whether the server reads rows as ``VALUES (...), (...)``. MySQL's wants a word more, and since 8.0.19."""
    return bool(here.mysql_is_mariadb and here.mysql_version >= (10, 3))


def update_where(
    model: type[models.Model], where: Mapping[str, Any], values: Mapping[str, Any], *, one_more: str = ""
) -> int:
    """
    Do ``filter(**where).update(**values)`` without building the statement, which takes longer than the server does.

    Args:
        model: the model of the table.
        where: the values that the rows' columns hold, by attribute; not None.
        values: the new values, by attribute.
        one_more: the attribute of a number to increase by one, if any.

    Returns:
        How many rows were changed.
    """
    fields = _fields(model)
    parameters = [fields[name].get_db_prep_save(value, connection) for name, value in (*values.items(), *where.items())]
    with connection.cursor() as cursor:
        cursor.execute(_updating(model, tuple(where), tuple(values), one_more, connection.vendor), parameters)
        return cursor.rowcount


@functools.cache
def _fields(model: type[models.Model]) -> dict[str, models.Field[Any, Any]]:
    return {field.attname: field for field in model._meta.concrete_fields}


@functools.cache
def _updating(
    model: type[models.Model], where: tuple[str, ...], values: tuple[str, ...], one_more: str, vendor: str
) -> str:
    """Return the statement of ``update_where``. ``vendor`` is the database's, whose way of quoting is used."""
    quote, fields = connection.ops.quote_name, _fields(model)
    column = {name: quote(str(field.column)) for name, field in fields.items()}
    settings = [f"{column[name]} = %s" for name in values]
    settings += [f"{column[one_more]} = {column[one_more]} + 1"] if one_more else []
    same = " AND ".join(f"{column[name]} = %s" for name in where)
    return f"UPDATE {quote(model._meta.db_table)} SET {', '.join(settings)} WHERE {same}"


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


def instances(model: type[Model], rows: Iterable[Sequence[Any]], *, without: Collection[str] = ()) -> list[Model]:
    """
    Return instances of a model, for rows that hold its columns, as the database has them, in the order of fields.

    ``raw()`` makes the same of them, and takes longer than the server: it finds out anew each time what goes where.
    Attributes that the rows are ``without`` are read when they are asked for.
    """
    here = connections[connection.alias]  # ``connection`` looks it up at each word
    names, converted = _converted(model, here.vendor, tuple(without))
    found = []
    for row in rows:
        values = list(row)
        for place, column in converted:
            for convert in (*here.ops.get_db_converters(column), *column.get_db_converters(here)):
                values[place] = convert(values[place], column, here)
        found.append(model.from_db(here.alias, names, values))
    return found


def found(
    model: type[Model], condition: str, parameters: Sequence[Any], *, without: Collection[str] = ()
) -> list[Model]:
    """
    Return the instances of a model whose rows meet a condition written by hand.

    Args:
        model: the model.
        condition: what stands behind ``WHERE``, an order and a limit included.
        parameters: as ``ask`` takes them.
        without: as ``instances`` takes it.
    """
    columns = quoted(model, connection.ops.quote_name)
    read = ", ".join(column for name, column in columns.items() if name not in without)
    rows = ask(f"SELECT {read} FROM {model._meta.db_table} WHERE {condition}", parameters)
    return instances(model, rows, without=without)


@functools.cache
def _converted(
    model: type[models.Model], vendor: str, without: tuple[str, ...]
) -> tuple[list[str], list[tuple[int, Col]]]:
    """
    Return the attributes of a model, and those of its columns, with their places, whose values are to be converted.

    ``vendor`` is the database's.
    """
    fields = [field for field in model._meta.concrete_fields if field.attname not in without]
    columns = [field.get_col(model._meta.db_table) for field in fields]
    converted = [
        (place, column)
        for place, column in enumerate(columns)
        if connection.ops.get_db_converters(column) or column.get_db_converters(connection)
    ]
    return [field.attname for field in fields], converted
