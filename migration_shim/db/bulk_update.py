"""One UPDATE for many rows, and an UPDATE that is built once and sent often."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connection, models

from . import bulk
from .literals import Literals, Ready


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
    column = bulk.quoted(model, quote)
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
