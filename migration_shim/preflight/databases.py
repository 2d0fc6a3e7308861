"""Findings about the two databases and their migrations. Nothing is written; on SQLite few of them can be checked."""

from __future__ import annotations

from collections.abc import Iterator

from django.apps import apps
from django.db import DatabaseError, connections, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader

from ..conf import LEGACY_ALIAS
from ..core.findings import WARNING, Finding, found
from ..core.site_rules import SITE_RULES as RULES
from ..legacy import primary, privileges
from ..models import LegacySubmission
from ..target import installed

TARGET_ALIAS = "default"
_APPS = ("submissions", "migration_shim")
_CHARSET = "utf8mb4"
_VARIABLES = ("character_set_client", "character_set_results", "sql_mode", "transaction_isolation", "tx_isolation")
_ISOLATION = "READ-COMMITTED"
_STRICT = ("STRICT_TRANS_TABLES", "STRICT_ALL_TABLES", "TRADITIONAL")
#: How many items of a list a finding names.
_NAMED = 5


def findings() -> Iterator[Finding]:
    """Yield the findings about migrations and databases."""
    yield from _migrations()
    yield from _server(TARGET_ALIAS)
    yield from _uuid_columns()
    yield from _charset(TARGET_ALIAS)
    try:
        yield from _legacy()
    except DatabaseError as error:
        yield found(RULES["legacy_unreadable"], about=type(error).__name__)


def _migrations() -> Iterator[Finding]:
    connection = connections[TARGET_ALIAS]
    loader = MigrationLoader(connection)
    leaves = [node for node in loader.graph.leaf_nodes() if node[0] in _APPS]
    wanted = dict.fromkeys(node for leaf in leaves for node in loader.graph.forwards_plan(leaf))
    missing = [node for node in wanted if node not in loader.applied_migrations]
    if not missing:
        return
    advice = ""
    unusable = installed.unusable_migration(connection)
    if unusable is not None and unusable in missing:
        advice = (
            "edx-submissions' migration 0006 fails on MariaDB (error 1054). Run: manage.py migrate "
            f"{' '.join(installed.BEFORE_UUID_MIGRATION)}; on the database: ALTER TABLE submissions_submission MODIFY "
            f"uuid uuid NOT NULL; then: manage.py migrate --fake {' '.join(unusable)}; manage.py migrate"
        )
    yield found(RULES["migrations_missing"], advice=advice, about=_some(f"{app}.{name}" for app, name in missing))


def _uuid_columns() -> Iterator[Finding]:
    """Yield a finding where migration 0006 was faked and its columns were not altered by hand."""
    connection = connections[TARGET_ALIAS]
    if not connection.features.has_native_uuid_field or not _is_mariadb(connection):
        return
    columns = _columns(TARGET_ALIAS, _tables(TARGET_ALIAS))
    uuids = {
        (model._meta.db_table, field.column)
        for model in _models()
        for field in model._meta.local_concrete_fields
        if isinstance(field, models.UUIDField)
    }
    wrong = [(table, column) for table, column, kind, _, _ in columns if kind != "uuid" and (table, column) in uuids]
    if wrong:
        yield found(RULES["uuid_columns"], about=_some(f"{table}.{column}" for table, column in wrong))


def _legacy() -> Iterator[Finding]:
    if complaint := privileges.read_complaint():
        yield found(RULES["legacy_unreadable"], about=complaint)
        return
    if connections[LEGACY_ALIAS].vendor != "mysql":
        return
    yield from _server(LEGACY_ALIAS)
    yield from _charset(LEGACY_ALIAS)
    reason, unknown = primary.why_not_primary()
    if unknown:
        yield found(RULES["legacy_primary_unknown"], about=unknown)
    if reason:
        yield found(RULES["legacy_no_primary"], about=f"It is {reason}.")
    else:  # a read-only server's grants say nothing
        if statement := privileges.update_complaint():
            yield found(RULES["grant_update"], about=statement)
        if statement := privileges.return_complaint():
            yield found(RULES["grant_return"], about=statement)
    if rights := privileges.excess():
        yield found(RULES["grant_excess"], about=_some(rights))


def _server(alias: str) -> Iterator[Finding]:
    """Yield the findings about charset, isolation and strictness of a connection."""
    if connections[alias].vendor != "mysql":
        return
    with connections[alias].cursor() as cursor:
        cursor.execute("SHOW SESSION VARIABLES WHERE Variable_name IN %s", [_VARIABLES])
        said = dict(cursor.fetchall())
    charsets = {said["character_set_client"], said["character_set_results"]} - {_CHARSET}
    if charsets:
        yield found(RULES["charset"], about=f"the connection of the alias {alias}: {_some(sorted(charsets))}")
    isolation = said.get("transaction_isolation") or said.get("tx_isolation", "")
    if isolation != _ISOLATION:
        yield found(RULES["isolation"], about=f"alias {alias}: {isolation}")
    if not any(mode in said["sql_mode"] for mode in _STRICT):
        yield found(RULES["not_strict"], about=f"alias {alias}")


def _charset(alias: str) -> Iterator[Finding]:
    """Yield a finding for columns that do not hold all of Unicode; on legacy a warning, for it is so already."""
    if connections[alias].vendor != "mysql":
        return
    columns = _columns(alias, _tables(alias))
    narrow = [
        f"{table}.{column} {charset} ({collation})"
        for table, column, _, charset, collation in columns
        if charset and charset != _CHARSET
    ]
    if narrow:
        severity = WARNING if alias == LEGACY_ALIAS else ""
        yield found(RULES["charset"], severity=severity, about=f"alias {alias}: {_some(narrow)}")


def _tables(alias: str) -> list[str]:
    if alias == LEGACY_ALIAS:
        return [LegacySubmission._meta.db_table]
    return sorted(model._meta.db_table for model in _models())


def _models() -> list[type[models.Model]]:
    every = (model for app in _APPS for model in apps.get_app_config(app).get_models(include_auto_created=True))
    return [model for model in every if model._meta.managed]


def _columns(alias: str, tables: list[str]) -> list[tuple[str, str, str, str | None, str | None]]:
    """Return (table, column, type, charset, collation) of the columns that the account may see."""
    with connections[alias].cursor() as cursor:
        cursor.execute(
            "SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE, CHARACTER_SET_NAME, COLLATION_NAME "
            "FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME IN %s "
            "ORDER BY TABLE_NAME, ORDINAL_POSITION",
            [tables],
        )
        return list(cursor.fetchall())


def _is_mariadb(connection: BaseDatabaseWrapper) -> bool:
    return connection.vendor == "mysql" and connection.mysql_is_mariadb  # type: ignore[attr-defined]  # of MySQL's wrapper


def _some(names: Iterator[str] | list[str]) -> str:
    every = list(names)
    more = len(every) - _NAMED
    return ", ".join(every[:_NAMED]) + (f" and {more} more" if more > 0 else "")
