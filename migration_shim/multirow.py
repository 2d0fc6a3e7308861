"""
One SELECT for many rows; ``inserting`` has the INSERT.

Most of what ``filter(column__in=...)`` takes is spent on each value by itself. Here it is spent once a statement.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connections, models
from django.db.models.sql.compiler import SQLCompiler

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
        sql += " FOR UPDATE" * (lock and here.features.has_select_for_update)
        cursor.execute(sql, parameters)
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
