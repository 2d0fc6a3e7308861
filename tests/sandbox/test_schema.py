"""The sandbox's schema: XQueue's table, the marker, the way round a migration, repeated runs."""

import time

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.db.migrations.recorder import MigrationRecorder

from migration_shim.target import installed
from sandbox import schema
from sandbox.servers import START_PATIENCE, ServerDidNotStart, running_xqueue

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "xqueue"])

# What XQueue's own migrations make, seen on MariaDB.
COLUMNS = {
    "id": "int(11)",
    "requester_id": "varchar(128)",
    "lms_callback_url": "varchar(128)",
    "queue_name": "varchar(128)",
    "xqueue_header": "varchar(1024)",
    "xqueue_body": "longtext",
    "s3_keys": "varchar(1024)",
    "s3_urls": "varchar(1024)",
    "arrival_time": "datetime(6)",
    "pull_time": "datetime(6)",
    "push_time": "datetime(6)",
    "return_time": "datetime(6)",
    "grader_id": "varchar(128)",
    "pullkey": "varchar(128)",
    "grader_reply": "longtext",
    "num_failures": "int(11)",
    "lms_ack": "tinyint(1)",
    "retired": "tinyint(1)",
}
NULLABLE = {"pull_time", "push_time", "return_time"}
INDEXES = {
    "queue_submission_lms_callback_url_f8da8c20": ["lms_callback_url"],
    "queue_submission_retired_6195dcbb": ["retired"],
    "queue_submi_queue_n_4c6cd5_idx": ["queue_name", "retired", "push_time", "arrival_time"],
    "queue_submi_queue_n_9fcfbd_idx": ["queue_name", "retired", "pull_time", "arrival_time"],
    "queue_submi_lms_cal_367510_idx": ["lms_callback_url", "retired"],
}


def legacy_tables():
    return connections["xqueue"].introspection.table_names()


def test_the_table_has_xqueues_columns():
    connection = connections["xqueue"]
    with connection.cursor() as cursor:
        described = connection.introspection.get_table_description(cursor, "queue_submission")
        assert [column.name for column in described] == list(COLUMNS)
        assert {column.name for column in described if column.null_ok} == NULLABLE
        if connection.vendor == "mysql":
            cursor.execute("SHOW COLUMNS FROM queue_submission")
            # MySQL 8 tells no width of a whole number, but of what stands for true and false.
            columns = COLUMNS if connection.mysql_is_mariadb else {**COLUMNS, "id": "int", "num_failures": "int"}
            assert {name: kind for name, kind, *_ in cursor.fetchall()} == columns


def test_the_table_has_xqueues_indexes():
    connection = connections["xqueue"]
    with connection.cursor() as cursor:
        constraints = connection.introspection.get_constraints(cursor, "queue_submission")
    found = {name: c["columns"] for name, c in constraints.items() if c["index"] and not c["primary_key"]}
    assert found == INDEXES


def test_a_second_prepare_changes_nothing(legacy_rows):
    def applied():
        return [set(MigrationRecorder(connections[alias]).applied_migrations()) for alias in ("default", "xqueue")]

    before = applied()
    prepared = schema.prepare()
    assert (prepared.migrations_applied, prepared.uuid_migration_faked) == (0, False)
    assert applied() == before


def test_the_target_has_every_migration_of_submissions():
    applied = MigrationRecorder(connections["default"]).applied_migrations()
    assert installed.UUID_MIGRATION in applied
    assert ("submissions", "0008_externalgraderdetail_queue_key_and_more") in applied


def test_the_models_of_submissions_fit_the_schema():
    call_command("makemigrations", "submissions", check=True, dry_run=True, verbosity=0)


def test_uuids_are_of_the_type_that_the_skipped_migration_would_have_made():
    connection = connections["default"]
    if connection.vendor == "mysql" and connection.mysql_is_mariadb:
        with connection.cursor() as cursor:
            cursor.execute("SHOW COLUMNS FROM submissions_submission LIKE 'uuid'")
            assert cursor.fetchone()[1] == "uuid"
    else:
        assert not schema.prepare().uuid_migration_faked


@pytest.fixture
def no_marker():
    """A legacy database as a real XQueue's: with tables, without the marker."""
    with connections["xqueue"].cursor() as cursor:
        cursor.execute(f"DROP TABLE {schema.MARKER_TABLE}")
    yield
    with connections["xqueue"].cursor() as cursor:
        cursor.execute(f"CREATE TABLE {schema.MARKER_TABLE} (id integer PRIMARY KEY)")


def test_a_legacy_database_without_the_marker_is_refused_and_left_alone(no_marker):
    before = legacy_tables()
    with pytest.raises(schema.NotASandbox, match="not made by the sandbox"):
        schema.require_sandbox_legacy()
    with pytest.raises(schema.NotASandbox):
        schema.prepare()
    assert legacy_tables() == before


@pytest.mark.parametrize("command", [("prepare",), ("load_capture", "sandbox/data")])
def test_both_commands_refuse_it(no_marker, command):
    with pytest.raises(CommandError, match="not made by the sandbox"):
        call_command(*command)


def test_an_empty_legacy_database_may_become_a_sandbox(monkeypatch):
    monkeypatch.setattr(connections["xqueue"].introspection, "table_names", list)
    schema.require_sandbox_legacy()


def test_prepare_says_when_the_environment_names_another_database(monkeypatch, tmp_path):
    """Otherwise XQueue's schema would go to one database and its rows be looked for in another."""
    monkeypatch.setenv("MIGRATION_SHIM_LEGACY_DB", f"sqlite:///{tmp_path}/other.sqlite3")
    monkeypatch.setattr(schema, "LEGACY_TABLE", "no_such_table")
    with pytest.raises(schema.PrepareFailed, match="different databases"):
        schema.prepare()


def test_prepare_shows_why_xqueues_migrate_failed(monkeypatch):
    monkeypatch.setenv("MIGRATION_SHIM_LEGACY_DB", "nonsense://")
    with pytest.raises(schema.PrepareFailed, match="nonsense"):
        schema.prepare()


def test_the_command_prints_what_it_did(capsys):
    call_command("prepare")
    vendor = connections["default"].vendor
    assert capsys.readouterr().out.startswith(f"target ({vendor}) and legacy ({vendor}) are up to date, 0 migrations")


def test_a_server_that_does_not_start_shows_its_log_at_once():
    started = time.monotonic()
    with pytest.raises(ServerDidNotStart, match="nonsense"):
        running_xqueue({"MIGRATION_SHIM_LEGACY_DB": "nonsense://"}).__enter__()
    assert time.monotonic() - started < START_PATIENCE / 2
