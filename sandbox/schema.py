"""Create or update the schema of both databases, and refuse a legacy database that is not ours."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass

from django.core.management import call_command
from django.db import connections
from django.db.migrations.recorder import MigrationRecorder

from migration_shim.target import installed
from sandbox.databases import LEGACY_MEDIA, PROJECT_ROOT, SANDBOX_DIR

MARKER_TABLE = "sandbox_marker"
LEGACY_TABLE = "queue_submission"


class NotASandbox(RuntimeError):
    """The legacy database has tables but not the sandbox's marker: it may be a real XQueue, so it is left alone."""


class PrepareFailed(RuntimeError):
    """The legacy schema could not be made; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What one run of :func:`prepare` found and did."""

    target: str
    """Vendor of the target database: ``sqlite`` or ``mysql`` (MariaDB too)."""
    legacy: str
    """Vendor of the legacy database."""
    migrations_applied: int
    """Migrations recorded by this run, both databases together; 0 when all was there."""
    uuid_migration_faked: bool
    """Whether this run used the way round edx-submissions' migration 0006 on MariaDB."""


def prepare() -> Prepared:
    """Bring the databases behind the aliases ``default`` (target) and ``xqueue`` (legacy) up to date.

    May be called as often as wanted. Raises :class:`NotASandbox` before anything is written.
    """
    SANDBOX_DIR.mkdir(parents=True, exist_ok=True)
    LEGACY_MEDIA.mkdir(parents=True, exist_ok=True)
    require_sandbox_legacy()
    before = _recorded("default") + _recorded("xqueue")
    _prepare_legacy()
    faked = _prepare_target()
    return Prepared(
        target=connections["default"].vendor,
        legacy=connections["xqueue"].vendor,
        migrations_applied=_recorded("default") + _recorded("xqueue") - before,
        uuid_migration_faked=faked,
    )


def require_sandbox_legacy() -> None:
    """Raise :class:`NotASandbox` unless the legacy database is empty or carries the sandbox's marker table.

    There is no way to override this: rows and schema of a real XQueue are never the sandbox's to change.
    """
    tables = connections["xqueue"].introspection.table_names()
    if tables and MARKER_TABLE not in tables:
        raise NotASandbox(
            f"the legacy database (alias xqueue) has {len(tables)} tables but not {MARKER_TABLE}: "
            "it was not made by the sandbox and is left untouched"
        )


def _prepare_legacy() -> None:
    # The marker comes first: DDL is not transactional on MySQL, and a crash between the two must not lock us out.
    with connections["xqueue"].cursor() as cursor:
        cursor.execute(f"CREATE TABLE IF NOT EXISTS {MARKER_TABLE} (id integer PRIMARY KEY)")
    # XQueue is a service of its own with its own settings; its apps are not installed in the LMS that runs this.
    command = [sys.executable, "-m", "django", "prepare_xqueue"]
    env = os.environ | {"DJANGO_SETTINGS_MODULE": "sandbox.xqueue.settings", "PYTHONPATH": str(PROJECT_ROOT)}
    done = subprocess.run(command, cwd=PROJECT_ROOT, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PrepareFailed(f"XQueue's migrate ended with status {done.returncode}:\n{done.stderr[-2000:]}")
    if LEGACY_TABLE not in connections["xqueue"].introspection.table_names():
        raise PrepareFailed(
            f"XQueue's migrate made no {LEGACY_TABLE} behind the alias xqueue: "
            "MIGRATION_SHIM_LEGACY_DB and the alias name different databases"
        )


def _prepare_target() -> bool:
    """Migrate the target; return whether the way round migration 0006 was needed.

    The one place for it: edx-submissions, 4.0.2 included, does not migrate on MariaDB. Its 0006_mariadb_uuid_conversion
    changes the type of a column ``uuid`` in submissions_studentitem and submissions_score, which never had one (error
    1054). The only column it could change, submissions_submission.uuid, already has MariaDB's uuid type when Django 5
    created the table. So its predecessors are applied, it is recorded as applied, and migrate goes on.
    """
    connection = connections["default"]
    recorder = MigrationRecorder(connection)
    unusable = installed.unusable_migration(connection)
    faked = unusable is not None and unusable not in recorder.applied_migrations()
    if faked:
        _migrate(*installed.BEFORE_UUID_MIGRATION)
        recorder.record_applied(*unusable)
    _migrate()
    return faked


def _migrate(*args: str) -> None:
    call_command("migrate", *args, database="default", interactive=False, verbosity=0)


def _recorded(alias: str) -> int:
    return len(MigrationRecorder(connections[alias]).applied_migrations())
