"""A handoff needs the primary of legacy's database and the right to write there; it says so before it holds a row."""

import os
from contextlib import contextmanager

import pytest
from django.db import connections

from migration_shim.core.errors import LegacyNotWritable
from migration_shim.legacy import primary, privileges, writes
from migration_shim.legacy import rows as legacy_rows
from tests.builders import handing_off as world
from tests.builders.rows import fresh  # noqa: F401

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"], transaction=True)
on_a_server = pytest.mark.skipif(
    not os.environ.get("MIGRATION_SHIM_LEGACY_DB", "").startswith("mysql"), reason="SQLite has no accounts, no replicas"
)
USER = f"shim_{os.getpid()}"


@contextmanager
def account(*grants, ask=False):
    """
    The alias ``xqueue`` under an account of its own, with these rights on XQueue's table and no others.

    With ``ask`` it may ask whether the server is a replica, too.
    """
    connection = connections["xqueue"]
    name = connection.settings_dict["NAME"]
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE USER '{USER}'@'%%' IDENTIFIED BY 'pw'", [])
        for grant in grants:
            cursor.execute(f"GRANT {grant} ON `{name}`.queue_submission TO '{USER}'@'%%'", [])
        if ask:
            right = "REPLICA MONITOR" if connection.mysql_is_mariadb else "REPLICATION CLIENT"
            cursor.execute(f"GRANT {right} ON *.* TO '{USER}'@'%%'", [])
    before = dict(connection.settings_dict)
    connection.close()
    connection.settings_dict.update(USER=USER, PASSWORD="pw")
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict.clear()
        connection.settings_dict.update(before)
        with connection.cursor() as cursor:
            cursor.execute(f"DROP USER '{USER}'@'%%'", [])


@contextmanager
def answers(**by_statement):
    """Let the server answer SHOW statements with these rows."""

    class Cursor:
        def __init__(self, real):
            self.real, self.rows = real, None

        def execute(self, sql, params=None):
            self.rows = next((rows for start, rows in by_statement.items() if start in sql.replace(" ", "_")), None)
            if self.rows is None:
                self.real.execute(sql, params)

        def fetchone(self):
            return self.real.fetchone() if self.rows is None else next(iter(self.rows), None)

        def __enter__(self):
            return self

        def __exit__(self, *args):
            self.real.close()

    connection = connections["xqueue"]
    make = connection.cursor
    connection.cursor = lambda: Cursor(make())
    try:
        yield
    finally:
        del connection.cursor


def test_an_account_that_may_write_is_taken():
    privileges.check_may_update()


@on_a_server
def test_the_rights_that_the_grant_names_are_enough(live):
    world.submitted()
    with account("SELECT", "UPDATE (retired, pullkey, grader_id)"):
        asked = primary.grant_to_ask()
        with pytest.raises(LegacyNotWritable, match="is unknown") as refused:
            world.run()
        assert asked in str(refused.value)
    assert world.leftovers()["held"] == 0
    with account("SELECT", "UPDATE (retired, pullkey, grader_id)", ask=True):
        assert world.run().content["released"] == 1


@on_a_server
def test_a_server_that_is_vouched_for_by_name_is_taken_and_another_one_is_not(live, shim):
    world.submitted()
    with connections["xqueue"].cursor() as cursor:
        cursor.execute("SELECT CONCAT(@@hostname, ':', @@port)")
        (name,) = cursor.fetchone()
    with account("SELECT", "UPDATE (retired, pullkey, grader_id)"):
        shim(LEGACY_PRIMARY="db2:3306")
        with pytest.raises(LegacyNotWritable, match=f"'LEGACY_PRIMARY'] = '{name}'"):
            world.run()
        assert world.leftovers()["held"] == 0
        shim(LEGACY_PRIMARY=name)
        assert world.run().content["released"] == 1


@on_a_server
@pytest.mark.parametrize("grants", [("SELECT",), ("SELECT", "UPDATE (retired)")])
def test_without_the_right_to_update_the_grant_is_named(live, grants):
    world.submitted()
    name = connections["xqueue"].settings_dict["NAME"]
    with account(*grants, ask=True), pytest.raises(LegacyNotWritable) as refused:
        world.run()
    assert f"GRANT SELECT, UPDATE (retired, pullkey, grader_id) ON `{name}`.queue_submission TO '{USER}'@'%';" in str(
        refused.value
    )
    assert world.leftovers()["held"] == 0


@on_a_server
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"read_only": [(1, "db1:3306")]}, "is read-only"),
        ({"SHOW_ALL_SLAVES_STATUS": [("Waiting for source to send event",)]}, "is a replica"),
    ],
)
def test_a_replica_is_refused(live, answer, reason):
    world.submitted()
    with answers(**answer), pytest.raises(LegacyNotWritable, match=reason):
        world.run()
    assert world.leftovers()["held"] == 0


@pytest.mark.skipif(os.environ.get("MIGRATION_SHIM_LEGACY_DB", "").startswith("mysql"), reason="a file of SQLite's")
def test_a_file_that_may_not_be_written_is_refused():
    with connections["xqueue"].cursor() as cursor:
        cursor.execute("PRAGMA query_only = 1")
        try:
            with pytest.raises(LegacyNotWritable, match="Nothing was held"):
                privileges.check_may_update()
        finally:
            cursor.execute("PRAGMA query_only = 0")


@on_a_server
def test_no_update_of_ours_locks_an_index_of_xqueues_before_the_row():
    """put_result locks the row first: what goes the other way deadlocks with it, once the LMS has the result."""
    row = world.submitted()
    seen = []

    def look(execute, sql, params, many, context):
        if sql.startswith("UPDATE"):
            seen.append((sql, params))
        return execute(sql, params, many, context)

    stored = legacy_rows.by_id([row.pk])[row.pk]
    with connections["xqueue"].execute_wrapper(look):
        writes.void(stored, 1)
        writes.fence(stored, "migration_shim:1")
        writes.revive(row.pk, "migration_shim:1")
        writes.retire([row.pk, row.pk + 1])
    with connections["xqueue"].cursor() as cursor:
        for sql, params in seen:
            cursor.execute(f"EXPLAIN {sql}", params)
            assert cursor.fetchone()[5] == "PRIMARY", sql
    assert len(seen) == 4
