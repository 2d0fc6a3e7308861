"""Every migration runs beside the releases before it: their processes go on inserting while learners submit."""

import functools
import importlib

import pytest
from django.apps import apps as django_apps
from django.db import IntegrityError, connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations import RunPython
from django.db.models import NOT_PROVIDED
from django.utils.timezone import now

from migration_shim.models import Checkpoint, LedgerEntry

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
APP = "migration_shim"
NAMES = sorted(name for app, name in MigrationLoader(None).disk_migrations if app == APP)


@functools.cache
def models_of(name):
    """The app's models as the release had them that ended with this migration."""
    apps = MigrationLoader(None).project_state([(APP, name)]).apps
    own = [model for model in apps.get_models() if model._meta.app_label == APP and model._meta.managed]
    return {model._meta.model_name: model for model in own}


def columns(table):
    """What the database has of a table: (name, may it be left out of an INSERT)."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(f"PRAGMA table_info({table})")
            rows = cursor.fetchall()
            return {
                name: not required or default is not None or bool(key) for _, name, _, required, default, key in rows
            }
        cursor.execute(
            "SELECT COLUMN_NAME, IS_NULLABLE = 'YES' OR COLUMN_DEFAULT IS NOT NULL OR EXTRA LIKE '%%auto_increment%%' "
            "FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = %s",
            [table],
        )
        return {name: bool(left_out) for name, left_out in cursor.fetchall()}


@pytest.mark.parametrize("name", NAMES)
def test_what_a_release_does_not_know_it_may_leave_out_and_what_it_reads_is_there(name):
    for model in models_of(name).values():
        there = columns(model._meta.db_table)
        known = {field.column for field in model._meta.local_concrete_fields}
        assert known <= there.keys(), model
        assert [column for column in there.keys() - known if not there[column]] == [], model


@pytest.mark.parametrize("name", NAMES)
def test_the_door_of_a_release_stores_a_submission_in_live(name):
    """Its INSERT names the columns of its own model, and no others."""
    models = models_of(name)
    fields = {"course_id": "course-v1:ExU+PY1+2026", "phase": "live", "authority": "target", "arrived_at": now()}
    known = {field.name for field in models["ledgerentry"]._meta.local_concrete_fields}
    entry = models["ledgerentry"](identity=name.ljust(64, "0")[:64], **{k: v for k, v in fields.items() if k in known})
    entry.save(force_insert=True)
    entry.target_submission_id = 1
    entry.save(update_fields=["target_submission_id"])
    models["checkpoint"](name=f"test {name}").save(force_insert=True)
    assert models_of(NAMES[-1])["ledgerentry"].objects.get(pk=entry.pk).target_submission_id == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_release_reads_and_saves_what_this_one_has_written(name):
    """It names every column of its own model, among them those that this one leaves to the database."""
    written = LedgerEntry.objects.create(identity="1" * 64, arrived_at=now())
    entry = models_of(name)["ledgerentry"].objects.get(pk=written.pk)
    entry.queue_name = "another"
    entry.save()
    written.refresh_from_db()
    assert written.queue_name == "another"


@pytest.mark.django_db(databases=["default", "xqueue"], transaction=True)
def test_columns_that_were_added_before_they_had_a_default_get_it():
    """A database in which 0002 and 0003 were applied as they once were."""
    late = importlib.import_module(f"{APP}.migrations.0010_lifecycle")
    apps, models = django_apps, models_of("0001_initial")
    with connection.schema_editor() as editor:
        for name, fields in late._LATE.items():
            model = apps.get_model(APP, name)
            for column in fields:
                field = model._meta.get_field(column)
                bare = field.clone()
                bare.set_attributes_from_name(column)
                bare.model, bare.db_default = model, NOT_PROVIDED
                editor.alter_field(model, field, bare)
    with pytest.raises(IntegrityError):
        models["checkpoint"](name="test").save(force_insert=True)
    with connection.schema_editor() as editor:
        late.set_defaults(apps, editor)
    models["checkpoint"](name="test").save(force_insert=True)
    assert Checkpoint.objects.get(name="test").plan == {}


@pytest.mark.django_db(databases=["default", "xqueue"], transaction=True)
@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one character set")
def test_a_migration_that_widens_columns_can_be_run_by_migrate():
    """MariaDB and MySQL take no change of a table back, so Django refuses one inside a transaction."""
    (name,) = [name for name in NAMES if name.startswith("0007")]
    migration = importlib.import_module(f"{APP}.migrations.{name}").Migration(name, APP)
    migration.operations = [step for step in migration.operations if isinstance(step, RunPython)]
    with connection.cursor() as cursor:
        kind = "longtext CHARACTER SET utf8mb3 NULL"
        cursor.execute(f"ALTER TABLE migration_shim_ledgerentry MODIFY grader_payload {kind}")
    with connection.schema_editor(atomic=True) as editor:
        migration.apply(MigrationLoader(None).project_state([(APP, name)]), editor)
    with connection.cursor() as cursor:
        cursor.execute("SHOW FULL COLUMNS FROM migration_shim_ledgerentry LIKE 'grader_payload'")
        assert cursor.fetchone()[2].startswith("utf8mb4_")
