"""
One INSERT for many rows: no model instances, no signals, and no ``RETURNING``, which MySQL 8 has not; and one SELECT.

Most of what ``bulk_create`` and ``filter(column__in=...)`` take is spent on each value by itself: on instances, on
expressions, on preparing and escaping the same defaults again for each row. Here it is spent once a statement.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connection, connections, models
from django.db.models.sql.compiler import SQLCompiler

#: A statement of this many characters is under a server's ``max_allowed_packet`` (16 MB) however it is escaped.
STATEMENT_CHARACTERS = 1024 * 1024
#: What a value of a column with a bound counts for.
SHORT_CHARACTERS = 40

_PLAIN_TEXT = re.compile(r"[A-Za-z0-9_ .:+-]*")
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


class Packed(models.Func):
    """
    Columns made into one value by the database: bytes that say exactly what is in them, NULL and "" apart.

    What is only compared with itself need not be sent, decoded and converted column by column. NULL where MySQL will
    not make it, because it would be larger than ``max_allowed_packet``.
    """

    arity = None
    output_field = models.BinaryField()

    def __init__(self, *columns: str) -> None:
        super().__init__(*map(_Quoted, columns))

    def as_sql(self, compiler: SQLCompiler, connection: Any, **context: Any) -> tuple[str, Sequence[Any]]:
        """With SQL's own operator, and as MySQL has it."""
        if connection.vendor == "mysql":
            template = "CONCAT(%(expressions)s)"
            return super().as_sql(compiler, connection, template=template, arg_joiner=", ',', ", **context)
        template = "CAST(%(expressions)s AS BLOB)"
        return super().as_sql(compiler, connection, template=template, arg_joiner=" || ',' || ", **context)


class _Quoted(models.Func):
    """A value as a literal of SQL. Bytes on MySQL: columns of different collations cannot be joined."""

    function = "QUOTE"
    output_field = models.BinaryField()

    def as_mysql(self, compiler: SQLCompiler, connection: Any, **context: Any) -> tuple[str, Sequence[Any]]:
        return self.as_sql(compiler, connection, template="CAST(QUOTE(%(expressions)s) AS BINARY)", **context)


def raw(rows: models.QuerySet[Any], **among: Iterable[int]) -> list[tuple[Any, ...]]:
    """
    What a ``values_list`` would give, as the database has it: times without a zone or as text, booleans as numbers.

    Converting takes longer than reading; what is only compared with itself needs none.

    Args:
        rows: a query.
        among: numbers, by one attribute of its model: as ``filter(attribute__in=numbers)``, which looks at each of them
            several times. The query has no other condition then, and no order.
    """
    try:
        sql, parameters = rows.query.get_compiler(rows.db).as_sql()
    except EmptyResultSet:  # an IN of nothing
        return []
    for name, numbers in among.items():
        meta, quote = rows.model._meta, connections[rows.db].ops.quote_name
        wanted = ", ".join([str(int(number)) for number in numbers])
        if not wanted:
            return []
        sql += f" WHERE {quote(meta.db_table)}.{quote(meta.get_field(name).column)} IN ({wanted})"
    with connections[rows.db].cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall()


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


def _literal(value: Any) -> str | None:
    """A constant as SQL, or None where it would have to be escaped."""
    if value is None:
        return "NULL"
    if isinstance(value, bool | int):
        return str(int(value))
    return f"'{value}'" if isinstance(value, str) and _PLAIN_TEXT.fullmatch(value) else None
