"""XQueue's database is XQueue's: no migration and no model of the LMS ever gets there."""

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import connections, router

from migration_shim.legacy.routers import LegacyRouter
from migration_shim.models import LedgerEntry, LegacySubmission
from tests.builders import rows
from tests.builders.rows import fresh  # noqa: F401

BOTH = ["default", "xqueue"]
pytestmark = pytest.mark.django_db(databases=BOTH, transaction=True)

MIGRATIONS = [
    ("migrate", "--database", "xqueue"),
    ("migrate", "migration_shim", "--database", "xqueue"),
    ("migrate", "migration_shim", "zero", "--database", "xqueue"),
    ("migrate", "--database", "xqueue", "--fake"),
    ("migrate", "--database", "xqueue", "--run-syncdb"),
]


def legacy_schema():
    """XQueue's tables, and which of its migrations are on record."""
    with connections["xqueue"].cursor() as cursor:
        tables = sorted(connections["xqueue"].introspection.table_names(cursor))
        cursor.execute("SELECT app, name FROM django_migrations ORDER BY app, name")
        return tables, list(cursor.fetchall())


@pytest.mark.parametrize("words", MIGRATIONS, ids=" ".join)
def test_a_migration_of_the_legacy_alias_is_refused_before_it_writes(words):
    before = legacy_schema()
    with pytest.raises(CommandError, match="XQueue's own"):
        call_command(*words, interactive=False, verbosity=0)
    assert legacy_schema() == before
    assert "queue_submission" in before[0]
    assert not [table for table in before[0] if table.startswith(("migration_shim", "submissions_"))]


def test_an_operator_is_told_and_nothing_is_made():
    before = legacy_schema()
    ran = rows.manage("migrate", "--database", "xqueue", "--noinput")
    assert ran.returncode == 1
    assert "migration_shim never migrates it" in ran.stderr
    assert legacy_schema() == before


def test_the_lms_itself_can_be_migrated():
    call_command("migrate", database="default", interactive=False, verbosity=0)


def test_no_migration_is_missing():
    call_command("makemigrations", "migration_shim", check=True, dry_run=True, verbosity=0)


def test_every_model_but_xqueues_lives_in_the_lms():
    for model in apps.get_models():
        expected = "xqueue" if model is LegacySubmission else "default"
        assert router.db_for_read(model) == router.db_for_write(model) == expected
        assert router.allow_migrate_model("xqueue", model) is False
    assert LegacySubmission._meta.managed is False


def test_no_relation_crosses_the_databases():
    ours = LegacyRouter()
    assert ours.allow_relation(LegacySubmission(), LedgerEntry()) is False
    assert ours.allow_relation(LedgerEntry(), LegacySubmission()) is False
    assert ours.allow_relation(LegacySubmission(), LegacySubmission()) is None
    assert ours.allow_relation(LedgerEntry(), get_user_model()()) is None
