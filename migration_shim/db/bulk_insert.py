"""
One INSERT for many rows, without model instances, and one for a single instance. No signals are sent.

Most of the time of ``bulk_create`` is spent on each value by itself: on instances, on expressions, on preparing and
escaping the same defaults again for each row. Here it is spent once per statement, or once per column of it.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from django.db import connection, connections, models
from django.views.decorators.debug import sensitive_variables

from . import bulk
from .literals import Literals, Ready

#: A statement of this many characters is under a server's ``max_allowed_packet`` (16 MB) however it is escaped.
STATEMENT_CHARACTERS = 256 * 1024
#: The size that is assumed for a value of a column with a length limit.
SHORT_CHARACTERS = 40

Row = tuple[Any, ...]


def insert(
    model: type[models.Model],
    columns: Sequence[str],
    rows: Iterable[Row],
    *,
    keep_existing: bool = False,
    returning: Sequence[str] = (),
    **same: Any,
) -> list[Row] | None:
    """
    Insert rows in as few statements as their size and the database's limits allow.

    Args:
        model: the model of the table; a column that is not named gets the field's default, as it would in ``save()``.
        columns: the attributes whose values are in ``rows``, in this order.
        rows: the values, as the database takes them: texts, numbers and NULLs. Times are aware.
        keep_existing: whether to leave a row unchanged that already exists by a unique key.
        returning: the attributes to return of every row, also of one that existed already.
        same: the attributes that have one value for all rows, as the field takes it.

    Returns:
        The values of ``returning``, as the database has them and in no order; None from a database that cannot return
            any.
    """
    fields = {field.attname: field for field in model._meta.concrete_fields}
    quote = connection.ops.quote_name
    defaults = _defaults(model, columns, same)
    column = bulk.quoted(model, quote)
    names = ", ".join([column[name] for name in (*columns, *defaults)])
    head = f"INSERT INTO {quote(model._meta.db_table)} ({names}) VALUES "
    tail = ""
    if keep_existing:  # never INSERT IGNORE, which cuts what is too long and stores it
        # Not the key: MySQL has made one for the row by then, and takes it for a conflict (1869).
        first = column[columns[0]]
        kept = f" ON DUPLICATE KEY UPDATE {first} = {first}"
        tail = kept if connection.vendor == "mysql" else " ON CONFLICT DO NOTHING"
    # MariaDB only: MySQL has no RETURNING, and SQLite's says nothing of a row that was kept.
    tells = returning and connection.vendor == "mysql" and connection.features.can_return_rows_from_bulk_insert
    if tells:
        tail += f" RETURNING {', '.join([column[name] for name in returning])}"
    texts = [place for place, name in enumerate(columns) if isinstance(fields[name], models.TextField)]
    times = [place for place, name in enumerate(columns) if isinstance(fields[name], models.DateTimeField)]
    found: list[Row] = []
    with connection.cursor() as cursor:
        for chunk in _chunks(rows, texts, len(columns) + len(defaults)):
            by_column: list[Sequence[Any]] = list(zip(*chunk, strict=True))
            moments, as_texts = None, []
            for place in times:
                if by_column[place] != moments:  # two of them are often the same
                    moments, as_texts = by_column[place], _times(by_column[place])
                by_column[place] = as_texts
            values, parameters = written(by_column, list(defaults.values()))
            cursor.execute(head + values + tail, parameters)
            if tells:
                found += cursor.fetchall()
    return found if tells else None


@sensitive_variables()
def insert_one(instance: models.Model, asking: tuple[str, Sequence[Any]] | None = None) -> bool:
    """
    Insert an unsaved instance and set its key: ``save(force_insert=True)``, in less time.

    ``save()`` builds the statement anew each time, and names every column, which costs the driver and the server a word
    each. A column is left out here if the table itself gives it the same value.

    Args:
        instance: the instance. No column's value is worked out by its field (``auto_now``).
        asking: a condition on other tables, in SQL, with its parameters. The same statement answers it, or a second one
            where the database returns nothing of an INSERT.

    Returns:
        The answer; True where nothing is asked. The row is there whatever the answer is.

    Raises:
        DatabaseError: as ``save()`` does.
    """
    here = connections[connection.alias]  # ``connection`` looks it up at each word
    values = {}
    held = instance.__dict__
    for attribute, column, omitted, prepare in _columns(type(instance), here.vendor):
        value = held[attribute]
        if value != omitted:
            values[column] = value if prepare is None else prepare(value)
    table, key = instance._meta.db_table, instance._meta.pk
    quote = here.ops.quote_name
    condition, more = asking or ("", ())
    returning = condition and here.features.can_return_columns_from_insert
    statement = f"INSERT INTO {quote(table)} ({', '.join(values)}) VALUES ({', '.join(['%s'] * len(values))})"
    holds: Any = True
    with here.cursor() as cursor:
        if returning:
            statement += f" RETURNING {quote(str(key.column))}, {condition}"
            cursor.execute(statement, [*values.values(), *more])
            [(number, holds)] = cursor.fetchall()
        else:
            cursor.execute(statement, list(values.values()))
            number = here.ops.last_insert_id(cursor, table, str(key.column))
            if condition:
                cursor.execute(f"SELECT {condition}", list(more))
                [(holds,)] = cursor.fetchall()
    setattr(instance, key.attname, number)
    instance._state.adding, instance._state.db = False, here.alias
    return bool(holds)


#: Fields whose values the driver takes as they are: texts, numbers and booleans.
_PLAIN = (models.CharField, models.TextField, models.IntegerField, models.FloatField, models.BooleanField)
#: What no value equals: the column is always named.
_NEVER = object()


@functools.cache
def _columns(model: type[models.Model], vendor: str) -> list[tuple[str, str, Any, Callable[[Any], Any] | None]]:
    """
    Return the columns of a model except its key: attribute, and name as the database quotes it.

    Each comes with the value with which an INSERT need not name it, and with what makes of a value the one that the
    driver takes; None where they are the same. ``vendor`` is the database's, whose way of quoting is used.
    """
    quote = connection.ops.quote_name
    return [
        (field.attname, quote(str(field.column)), _omitted(field), _preparing(field))
        for field in model._meta.concrete_fields
        if not field.primary_key
    ]


def _preparing(field: models.Field[Any, Any]) -> Callable[[Any], Any] | None:
    if isinstance(field, _PLAIN):
        return None
    if isinstance(field, models.DateTimeField):
        return lambda value: _times([value])[0]
    return lambda value: field.get_db_prep_save(value, connection)


def _omitted(field: models.Field[Any, Any]) -> Any:
    """Return the value that the table gives a column by itself; ``_NEVER`` where there is none."""
    if field.has_db_default():
        return field.db_default
    return None if field.null else _NEVER


def _defaults(model: type[models.Model], columns: Sequence[str], same: dict[str, Any]) -> dict[str, Any]:
    """
    Return the value of each column that is not in the rows, as the database takes it, unless the table gives the same.
    """
    found = {}
    for field in model._meta.concrete_fields:
        if field.primary_key or field.attname in columns:
            continue
        value = same[field.attname] if field.attname in same else field.get_default()
        # Two in three of the ledger's columns: the server would read a word for each of them in every row.
        if value != _omitted(field):
            found[field.attname] = field.get_db_prep_save(value, connection)
    return found


def _chunks(rows: Iterable[Row], texts: list[int], width: int) -> Iterable[list[Row]]:
    """Yield the rows of one statement after the other. ``texts`` are the columns without a length limit."""
    rows = list(rows)
    sizes = [SHORT_CHARACTERS * width] * len(rows)
    for place in texts:
        sizes = [size + len(row[place] or "") for size, row in zip(sizes, rows, strict=True)]
    start = size = 0
    most = (connection.features.max_query_params or sys.maxsize) // width
    for place, row_size in enumerate(sizes):
        if place > start and (size + row_size > STATEMENT_CHARACTERS or place - start >= most):
            yield rows[start:place]
            start, size = place, 0
        size += row_size
    if rows:
        yield rows[start:]


def _times(values: Sequence[datetime | None]) -> list[str | None]:
    """Return what the fields make of times, without their check of the type, which takes five times as long."""
    if any(value is not None and value.tzinfo is None for value in values):
        raise ValueError("a time without a zone")  # which Python would take for the machine's own
    zone = connection.timezone
    return [None if value is None else str(value.astimezone(zone).replace(tzinfo=None)) for value in values]


def written(by_column: list[Sequence[Any]], defaults: list[Any]) -> tuple[str, list[Any]]:
    """
    Return what stands behind ``VALUES`` for rows given by column, and its parameters.

    Each row has the ``defaults`` behind its own values.
    """
    return (_in_text if connection.vendor == "mysql" else _in_parameters)(by_column, defaults)


def _in_text(by_column: list[Sequence[Any]], defaults: list[Any]) -> tuple[str, list[Any]]:
    """Return the rows as one parameter, which is their text."""
    literals = Literals(connection.connection)
    constant = "".join([f", {literals.of([value])[0]}" for value in defaults])
    rows = zip(*map(literals.of, by_column), strict=True)
    return "%s", [Ready(", ".join([f"({', '.join(row)}{constant})" for row in rows]))]


def _in_parameters(by_column: list[Sequence[Any]], defaults: list[Any]) -> tuple[str, list[Any]]:
    """Return the rows as placeholders and parameters."""
    one = f"({', '.join(['%s'] * (len(by_column) + len(defaults)))})"
    rows = list(zip(*by_column, strict=True))
    return ", ".join([one] * len(rows)), [value for row in rows for value in (*row, *defaults)]
