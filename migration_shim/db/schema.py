"""Whether the database has the tables of this release, by Django's own record of applied migrations."""

from __future__ import annotations

import functools
import pkgutil

from django.db import DatabaseError, connection
from django.db.migrations.recorder import MigrationRecorder

from .. import migrations

APP = "migration_shim"


def complaint() -> str:
    """
    Return what is wrong with the app's tables, and what to do; empty where they are this release's. One statement.
    """
    try:
        return asked()
    except DatabaseError as error:
        return f"Whether the tables of {APP} are there cannot be told: {type(error).__name__}."


def asked() -> str:
    """
    Return what is wrong with the app's tables, as ``complaint`` does.

    Raises:
        DatabaseError: the database does not answer.
    """
    applied = _applied()
    if not applied:
        return f"The tables of {APP} are not there. Run manage.py migrate {APP}, or take the app out of INSTALLED_APPS."
    missing = [name for name in _names() if name not in applied]
    if not missing:
        return ""
    names = ", ".join(missing)
    return f"The tables of {APP} are those of an older release: {names} not applied. Run manage.py migrate."


def is_behind() -> bool:
    """Tell whether the tables are those of an older release, or missing; False where that cannot be told."""
    try:
        applied = _applied()
    except DatabaseError:
        return False
    return not applied.issuperset(_names())


def _applied() -> set[str]:
    return {name for app, name in MigrationRecorder(connection).applied_migrations() if app == APP}


@functools.cache
def _names() -> tuple[str, ...]:
    return tuple(sorted(module.name for module in pkgutil.iter_modules(migrations.__path__)))
