"""
Rows with the values that Django's fields have, and instances of models made of them, without a queryset.

A queryset asks of every value anew what has to be converted. Here that is found out once for a column of all rows.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from django.db import connection, connections, models
from django.db.models.expressions import Col

from . import bulk

Model = TypeVar("Model", bound=models.Model)


def locked(model: type[models.Model], names: Sequence[str], ids: Collection[int]) -> list[tuple[Any, ...]]:
    """
    Lock the rows with these keys, where the database has row locks, in the order of the keys, and return columns of
    theirs.

    Args:
        model: the model of the table, which is in the ledger's database; its key is the number ``id``.
        names: the attributes to return.
        ids: the keys.
    """
    return values(model, names, bulk.select(model, names, lock=True, id=list(ids)))


def values(
    model: type[models.Model], names: Sequence[str], rows: Sequence[Sequence[Any]], *, using: str = "default"
) -> list[tuple[Any, ...]]:
    """
    Return rows with their first columns converted; those behind them stay as the database has them.

    Args:
        model: the model of the table.
        names: the attributes that the first columns of ``rows`` hold.
        rows: as a cursor returns them.
        using: the alias of the database.
    """
    if not rows:
        return []
    here = connections[using]
    columns: list[Sequence[Any]] = list(zip(*rows, strict=True))
    for place, column in _to_convert(model, tuple(names), using, here.vendor):
        converters = [*here.ops.get_db_converters(column), *column.get_db_converters(here)]
        columns[place] = [
            value if value is None else _converted(value, converters, column, here) for value in columns[place]
        ]
    return list(zip(*columns, strict=True))


@functools.cache
def _to_convert(model: type[models.Model], names: tuple[str, ...], using: str, vendor: str) -> list[tuple[int, Col]]:
    """Return those of a model's columns, with their places, whose values a database of this vendor has otherwise."""
    here, fields = connections[using], {field.attname: field for field in model._meta.concrete_fields}
    columns = [(place, fields[name].get_col(model._meta.db_table)) for place, name in enumerate(names)]
    return [one for one in columns if here.ops.get_db_converters(one[1]) or one[1].get_db_converters(here)]


def _converted(value: Any, converters: Sequence[Any], column: Col, here: Any) -> Any:
    if type(value) is datetime and len(converters) == 1:
        return value.replace(tzinfo=here.timezone)  # as the converter does, by way of three more functions
    for convert in converters:
        value = convert(value, column, here)
    return value


def instances(model: type[Model], rows: Iterable[Sequence[Any]], *, without: Collection[str] = ()) -> list[Model]:
    """
    Return instances of a model, for rows that hold its columns, as the database has them, in the order of fields.

    ``raw()`` makes the same of them, and takes longer than the server: it finds out anew each time what goes where.
    Attributes that the rows are ``without`` are read when they are asked for.
    """
    names = _names(model, tuple(without))
    return [model.from_db(connection.alias, names, row) for row in values(model, names, list(rows))]


@functools.cache
def _names(model: type[models.Model], without: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(field.attname for field in model._meta.concrete_fields if field.attname not in without)


def found(
    model: type[Model], condition: str, parameters: Sequence[Any], *, without: Collection[str] = ()
) -> list[Model]:
    """
    Return the instances of a model whose rows meet a condition written by hand.

    Args:
        model: the model.
        condition: what stands behind ``WHERE``, an order and a limit included.
        parameters: as ``bulk.ask`` takes them.
        without: as ``instances`` takes it.
    """
    columns = bulk.quoted(model, connection.ops.quote_name)
    read = ", ".join(column for name, column in columns.items() if name not in without)
    rows = bulk.ask(f"SELECT {read} FROM {model._meta.db_table} WHERE {condition}", parameters)
    return instances(model, rows, without=without)
