"""
One INSERT, one SELECT or one UPDATE for many rows: no model instances, no signals, and no ``RETURNING``, which MySQL 8
has not.

Most of what ``bulk_create`` and ``filter(column__in=...)`` take is spent on each value by itself: on instances, on
expressions, on preparing and escaping the same defaults again for each row. Here it is spent once a statement.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from django.db import connection, connections, models

#: A statement of this many characters is under a server's ``max_allowed_packet`` (16 MB) however it is escaped.
STATEMENT_CHARACTERS = 1024 * 1024
#: What a value of a column with a bound counts for.
SHORT_CHARACTERS = 40

_PLAIN_TEXT = re.compile(r"[A-Za-z0-9_ .:+-]*")
#: No "a" or "n" outside of quotes but those of words that are meant: ``nan`` and ``inf`` are no numbers to a server.
_PLAIN_ROW = re.compile(r"(?:(?:-?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?|True|False|None|'[A-Za-z0-9_.:+ -]*')(?:, )?)+")
#: Fields whose values go to the database as they are.
_AS_THEY_ARE = (models.CharField, models.IntegerField, models.BooleanField, models.ForeignKey)


def insert(
    model: type[models.Model],
    columns: Sequence[str],
    rows: Iterable[tuple[Any, ...]],
    *,
    keep_existing: bool = False,
    **same: Any,
) -> None:
    """
    Insert rows in as few statements as their size and the database's bounds allow.

    Args:
        model: whose table; a column that is not named takes the field's default, as it would in ``save()``.
        columns: the attributes whose values are in ``rows``, in this order.
        rows: the values.
        keep_existing: pass over a row that is there already by a unique key, and change nothing of it.
        same: the attributes that have one value for all rows.
    """
    fields = {field.attname: field for field in model._meta.concrete_fields if not field.primary_key}
    values = {name: same[name] if name in same else field.get_default() for name, field in fields.items()}
    rest = {name: fields[name].get_db_prep_save(values[name], connection) for name in fields if name not in columns}
    # A constant is written into the statement once, and not handed over again for each row.
    literals = {name: text for name, value in rest.items() if (text := _literal(value)) is not None}
    repeated = tuple(value for name, value in rest.items() if name not in literals)
    names = [*columns, *(name for name in rest if name not in literals), *literals]
    quote = connection.ops.quote_name
    head = f"INSERT INTO {quote(model._meta.db_table)} ({', '.join(quote(fields[name].column) for name in names)})"
    row_sql = f"({', '.join(['%s'] * (len(names) - len(literals)) + list(literals.values()))})"
    tail = ""
    if keep_existing:  # never INSERT IGNORE, which cuts what is too long and stores it
        key = quote(model._meta.pk.column)
        tail = f" ON DUPLICATE KEY UPDATE {key} = {key}" if connection.vendor == "mysql" else " ON CONFLICT DO NOTHING"
    used = [fields[name] for name in columns]
    texts = [place for place, field in enumerate(used) if isinstance(field, models.TextField)]
    prepared = [(place, prepare) for place, field in enumerate(used) if (prepare := _preparation(field)) is not None]
    with connection.cursor() as cursor:
        for chunk in _chunks(rows, prepared, texts, repeated):
            number = len(chunk) // (len(names) - len(literals))
            cursor.execute(f"{head} VALUES {', '.join([row_sql] * number)}{tail}", chunk)


def select(
    model: type[models.Model],
    names: Sequence[str],
    *,
    using: str = "default",
    lock: bool = False,
    **among: Collection[str] | Collection[int],
) -> list[tuple[Any, ...]]:
    """
    The named columns, as the database has them, of the rows whose columns in ``among`` hold one of the values each.

    Args:
        model: whose table.
        names: attributes.
        using: the alias.
        lock: lock the rows, where the database has row locks.
        among: texts or numbers, by attribute.
    """
    if not all(among.values()):
        return []
    here = connections[using]
    quote = here.ops.quote_name
    column = {field.attname: quote(field.column) for field in model._meta.concrete_fields}
    tests = [f"{column[name]} IN ({', '.join(['%s'] * len(values))})" for name, values in among.items()]
    sql = f"SELECT {', '.join(column[name] for name in names)} FROM {quote(model._meta.db_table)}"
    sql += f" WHERE {' AND '.join(tests)}" + " FOR UPDATE" * (lock and here.features.has_select_for_update)
    with here.cursor() as cursor:
        cursor.execute(sql, [value for values in among.values() for value in values])
        return cursor.fetchall()


def update(model: type[models.Model], columns: Sequence[str], rows: Mapping[int, Sequence[Any]], **same: Any) -> None:
    """
    Change rows by their keys, in one statement where the server is MySQL: elsewhere there are no round trips to save.

    Args:
        model: whose table; its key is a number.
        columns: the attributes whose values are in ``rows``, in this order.
        rows: by key, the values as the database takes them.
        same: the attributes that get one value in all rows.
    """
    if not rows:
        return
    quote = connection.ops.quote_name
    fields = {field.attname: field for field in model._meta.concrete_fields}
    table, key = quote(model._meta.db_table), quote(model._meta.pk.column)
    names = [quote(fields[name].column) for name in columns]
    alike = [fields[name].get_db_prep_save(value, connection) for name, value in same.items()]
    of_all = [f"{table}.{quote(fields[name].column)} = %s" for name in same]
    with connection.cursor() as cursor:
        if connection.vendor != "mysql":
            settings = ", ".join([*(f"{name} = %s" for name in names), *(text.split(".", 1)[1] for text in of_all)])
            statement = f"UPDATE {table} SET {settings} WHERE {key} = %s"
            cursor.executemany(statement, [[*values, *alike, pk] for pk, values in rows.items()])
            return
        texts: list[Any] = []
        written = [_row_written((pk, *values), texts) for pk, values in rows.items()]
        heads = ", ".join(f"NULL AS {name}" for name in (key, *names))
        settings = ", ".join([*(f"{table}.{name} = new.{name}" for name in names), *of_all])
        cursor.execute(
            f"UPDATE {table} JOIN (SELECT {heads} UNION ALL SELECT {' UNION ALL SELECT '.join(written)}) AS new"
            f" ON {table}.{key} = new.{key} SET {settings}",
            [*texts, *alike],
        )


def _chunks(
    rows: Iterable[tuple[Any, ...]],
    prepared: list[tuple[int, Callable[[Any], Any]]],
    texts: list[int],
    repeated: tuple[Any, ...],
) -> Iterable[list[Any]]:
    """The parameters of one statement after the other. ``texts`` are the columns without a bound."""
    limit = connection.features.max_query_params
    chunk: list[Any] = []
    size = 0
    for row in rows:
        values = [*row, *repeated]
        for place, prepare in prepared:
            values[place] = prepare(values[place])
        row_size = SHORT_CHARACTERS * len(values) + sum([len(values[place] or "") for place in texts])
        if chunk and (size + row_size > STATEMENT_CHARACTERS or (limit and len(chunk) + len(values) > limit)):
            yield chunk
            chunk, size = [], 0
        chunk += values
        size += row_size
    if chunk:
        yield chunk


def _preparation(field: models.Field) -> Callable[[Any], Any] | None:
    """What makes a value of a field into one for the database; None where that is the same."""
    if isinstance(field, _AS_THEY_ARE) or type(field) is models.TextField:
        return None
    if type(field) is models.DateTimeField:  # without its look at whether the value is a date at all
        return functools.lru_cache(maxsize=1)(connection.ops.adapt_datetimefield_value)  # often the same twice
    return lambda value: field.get_db_prep_save(value, connection)


def _row_written(values: tuple[Any, ...], texts: list[Any]) -> str:
    """A row as it stands in a statement; what has to be escaped goes to ``texts``, in its order."""
    # Numbers, plain words and None are written alike in Python and in SQL, but for None itself.
    whole = repr(values)[1:-1]
    if _PLAIN_ROW.fullmatch(whole):
        return whole.replace("None", "NULL")
    return ", ".join([_written(value, texts) for value in values])


def _written(value: Any, texts: list[Any]) -> str:
    """A value as it stands in a statement; one that has to be escaped goes to ``texts``, and a place for it stands."""
    written = _literal(value)
    if written is None and isinstance(value, float) and math.isfinite(value):
        written = repr(value)
    if written is None:
        texts.append(value)
        return "%s"
    return written


def _literal(value: Any) -> str | None:
    """A constant as SQL, or None where it would have to be escaped."""
    if value is None:
        return "NULL"
    if isinstance(value, bool | int):
        return str(int(value))
    return f"'{value}'" if isinstance(value, str) and _PLAIN_TEXT.fullmatch(value) else None
