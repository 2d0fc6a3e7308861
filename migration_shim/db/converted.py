"""
Rows with the values that Django's fields have, without a queryset.

A queryset asks of every value anew what has to be converted. Here that is found out once for a column of all rows.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from django.db import connections, models
from django.db.models.expressions import Col

from . import bulk


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
    for place, column in _columns(model, tuple(names)):
        if converters := [*here.ops.get_db_converters(column), *column.get_db_converters(here)]:
            columns[place] = [
                value if value is None else _converted(value, converters, column, here) for value in columns[place]
            ]
    return list(zip(*columns, strict=True))


@functools.cache
def _columns(model: type[models.Model], names: tuple[str, ...]) -> list[tuple[int, Col]]:
    fields = {field.attname: field for field in model._meta.concrete_fields}
    return [(place, fields[name].get_col(model._meta.db_table)) for place, name in enumerate(names)]


def _converted(value: Any, converters: Sequence[Any], column: Col, here: Any) -> Any:
    if type(value) is datetime and len(converters) == 1:
        return value.replace(tzinfo=here.timezone)  # as the converter does, by way of three more functions
    for convert in converters:
        value = convert(value, column, here)
    return value
