"""What preflight says of the two databases: every fault made on the server itself, and nothing said without one."""

import os
from contextlib import contextmanager

import pytest
from django.db import connections
from django.db.migrations.recorder import MigrationRecorder

from migration_shim import api
from migration_shim.core.errors import LegacyNotReadable
from migration_shim.legacy import primary, privileges
from migration_shim.models import Run
from migration_shim.preflight import databases
from tests.backfill.handoff.test_alias import USER, account, on_a_server
from tests.builders.rows import COURSE, fresh, ignore  # noqa: F401

BOTH = ["default", "xqueue"]
stored = pytest.mark.django_db(databases=BOTH)
#: Accounts and columns are changed outside of any transaction, and no rows are written that would have to be removed.
shared = pytest.mark.usefixtures("outside_transactions")
ALL = "SELECT, INSERT, UPDATE (retired, pull_time, pullkey, grader_id)"
RETIRE = "SELECT, UPDATE (retired, pullkey, grader_id)"


@pytest.fixture
def outside_transactions(databases_ready, django_db_blocker):
    """Both databases as they are."""
    with django_db_blocker.unblock():
        yield


def found():
    return {finding.rule.code: finding for finding in databases.findings()}


def as_root(statement):
    with connections["default"].cursor() as cursor:
        cursor.execute(statement)


@contextmanager
def fit_account(*rights):
    """The alias under an account with these rights on its table, which may ask whether the server is a replica."""
    with account(*rights, ask=True):
        yield


@contextmanager
def options(alias, **changed):
    """Connections of an alias made with other OPTIONS."""
    connection = connections[alias]
    given = connection.settings_dict["OPTIONS"]
    connection.close()
    connection.settings_dict["OPTIONS"] = {**given, **changed}
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict["OPTIONS"] = given


@contextmanager
def column(alias, table, name, definition):
    """A column of another type for a while."""
    with connections[alias].cursor() as cursor:
        cursor.execute(f"SHOW CREATE TABLE {table}")
        lines = cursor.fetchone()[1].splitlines()
        (before,) = (line.strip().rstrip(",") for line in lines if line.strip().startswith(f"`{name}` "))
        cursor.execute(f"ALTER TABLE {table} MODIFY {name} {definition}")
        try:
            yield
        finally:
            cursor.execute(f"ALTER TABLE {table} MODIFY {before}")


@shared
def test_a_sound_pair_of_databases_has_no_finding():
    if connections["xqueue"].vendor == "mysql":
        with fit_account(ALL):
            assert found() == {}
    else:
        assert found() == {}


# Migrations


def unapply(*migrations):
    recorder = MigrationRecorder(connections["default"])
    for app, name in migrations:
        assert recorder.migration_qs.filter(app=app, name=name).exists()
        recorder.record_unapplied(app, name)


@stored
def test_a_migration_that_was_not_applied_is_named():
    unapply(
        ("migration_shim", "0002_moves_and_evidence"), ("submissions", "0008_externalgraderdetail_queue_key_and_more")
    )
    finding = found()["migrations_missing"]
    assert finding.severity == "blocker"
    assert "migration_shim.0002_moves_and_evidence" in finding.about
    assert "submissions.0008_externalgraderdetail_queue_key_and_more" in finding.about
    assert finding.advice == "Run: manage.py migrate"


@stored
def test_on_mariadb_the_way_round_migration_0006_is_named():
    unapply(("submissions", "0006_mariadb_uuid_conversion"))
    advice = found()["migrations_missing"].advice
    on_mariadb = getattr(connections["default"], "mysql_is_mariadb", False)
    assert ("migrate --fake submissions 0006_mariadb_uuid_conversion" in advice) == on_mariadb
    assert (advice == "Run: manage.py migrate") != on_mariadb


@on_a_server
@shared
def test_a_uuid_column_that_was_never_converted_is_named():
    if not connections["default"].features.has_native_uuid_field:
        pytest.skip("this server has no type for UUIDs")
    with column("default", "submissions_submission", "uuid", "char(32) NOT NULL"):
        assert found()["uuid_columns"].about == "submissions_submission.uuid"


# What the account may do


@on_a_server
@shared
@pytest.mark.parametrize(
    ("rights", "codes"),
    [
        (("SELECT",), {"grant_update", "grant_return"}),
        (("SELECT", "UPDATE (retired)"), {"grant_update", "grant_return"}),
        ((RETIRE,), {"grant_return"}),
        (("SELECT", "UPDATE (retired, pull_time, pullkey, grader_id)"), {"grant_return"}),
        (("SELECT", "INSERT", "UPDATE (retired, pullkey, grader_id)"), {"grant_return"}),
    ],
)
def test_what_the_account_may_not_do_comes_with_the_grant_that_helps(rights, codes):
    with fit_account(*rights):
        lacking = found()
        assert set(lacking) == codes
        assert all(
            finding.severity == ("blocker" if code == "grant_update" else "warning")
            for code, finding in lacking.items()
        )
        for finding in lacking.values():
            assert finding.about.startswith("GRANT SELECT, ")
            as_root(finding.about)
        connections["xqueue"].close()
        assert found() == {}  # nor too much


@on_a_server
@shared
@pytest.mark.parametrize("rights", [("INSERT",), ("SELECT (id, retired)",)])
def test_a_table_that_may_not_be_read_comes_with_the_grant_that_helps(rights):
    with fit_account(*rights):
        assert set(found()) == {"legacy_unreadable"}
        with pytest.raises(LegacyNotReadable) as refused:
            api.preflight(COURSE, ignore)
        what, _, statement = str(refused.value).partition(": run ")
        assert what == "XQueue's table queue_submission cannot be read through the alias xqueue"
        assert found()["legacy_unreadable"].about == f"run {statement}"
        assert statement.startswith("GRANT SELECT ON ")
        run = Run.objects.latest("id")
        assert (run.kind, run.complete) == ("preflight", False)
        run.delete()
        as_root(statement)
        connections["xqueue"].close()
        assert "legacy_unreadable" not in found()


@on_a_server
@shared
def test_an_account_that_the_server_does_not_let_in_is_a_finding():
    with account():  # no right at all: not even to name the database
        assert found()["legacy_unreadable"].about == "OperationalError 1044"
    with fit_account(ALL):
        as_root(f"ALTER USER '{USER}'@'%' IDENTIFIED BY 'changed'")
        assert found()["legacy_unreadable"].about == "OperationalError 1045"


EVERYTHING = "ALL PRIVILEGES ON *.*"


@on_a_server
@shared
@pytest.mark.parametrize(
    ("statement", "excess"),
    [
        ("GRANT DELETE, DROP ON {table} TO {user}", "DELETE ON {table}, DROP ON {table}"),
        ("GRANT UPDATE ON {table} TO {user}", "UPDATE ON {table}"),
        ("GRANT SELECT ON {database}.* TO {user}", "SELECT ON {database}.*"),
        ("GRANT ALL PRIVILEGES ON *.* TO {user}", EVERYTHING),
        ("GRANT SELECT ON {table} TO {user} WITH GRANT OPTION", "GRANT OPTION ON {table}"),
        ("GRANT PROCESS, REPLICATION CLIENT ON *.* TO {user}", None),
    ],
)
def test_what_the_account_need_not_do_is_named(statement, excess):
    database = f"`{connections['xqueue'].settings_dict['NAME']}`"
    names = {"database": database, "table": f"{database}.`queue_submission`", "user": f"'{USER}'@'%'"}
    with fit_account(ALL):
        as_root(statement.format(**names))
        findings = found()
        if excess is None:
            assert findings == {}
        elif excess == EVERYTHING and not connections["xqueue"].mysql_is_mariadb:  # MySQL names each right
            assert findings["grant_excess"].about.startswith("SELECT ON *.*, INSERT ON *.*, UPDATE ON *.*")
        else:
            assert set(findings) == {"grant_excess"}
            assert findings["grant_excess"].severity == "warning"
            assert findings["grant_excess"].about == excess.format(**names)


def test_the_lines_of_mysql_8_are_read_too_and_no_hash_of_a_password_is_kept():
    lines = [
        "GRANT USAGE ON *.* TO `shim`@`%` IDENTIFIED BY PASSWORD '*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19'",
        "GRANT BACKUP_ADMIN,REPLICATION CLIENT ON *.* TO `shim`@`%`",
        "GRANT INSERT, SELECT, UPDATE (`grader_id`, `pullkey`,`retired`) ON `xqueue`.`queue_submission` TO `shim`@`%`",
        "GRANT SELECT, CREATE ON `xqueue`.`auth user` TO `shim`@`%`",
        "GRANT `reader`@`%` TO `shim`@`%`",
        "GRANT PROXY ON ``@`` TO `root`@`localhost` WITH GRANT OPTION",
    ]
    assert privileges.excess_of(lines, "xqueue") == [
        "BACKUP_ADMIN ON *.*",
        "SELECT ON `xqueue`.`auth user`",
        "CREATE ON `xqueue`.`auth user`",
    ]


@on_a_server
@shared
def test_an_alias_that_leads_to_no_primary_is_a_blocker_and_its_rights_are_not_judged(monkeypatch):
    monkeypatch.setattr(primary, "why_not_primary", lambda: ("a replica", ""))
    with fit_account("SELECT"):
        assert {code: finding.about for code, finding in found().items()} == {"legacy_no_primary": "It is a replica."}


@on_a_server
@shared
def test_an_account_that_may_not_ask_for_the_primary_is_told_how_it_may():
    with account(ALL):
        assert {code: finding.severity for code, finding in found().items()} == {"legacy_primary_unknown": "blocker"}
        as_root(primary.grant_to_ask())
        connections["xqueue"].close()  # a right of the whole server counts from the next connection on
        assert not found()


# How texts are kept


@on_a_server
@shared
@pytest.mark.parametrize(
    ("alias", "table", "name", "severity"),
    [
        ("xqueue", "queue_submission", "grader_reply", "warning"),
        ("default", "submissions_externalgraderdetail", "grader_reply", "blocker"),
        ("default", "migration_shim_ledgerentry", "grader_payload", "blocker"),
    ],
)
def test_a_column_without_all_of_unicode_is_named(alias, table, name, severity):
    with column(alias, table, name, "longtext CHARACTER SET utf8mb3 COLLATE utf8mb3_general_ci"):
        finding = found()["charset"]
    assert finding.severity == severity
    assert finding.about == f"alias {alias}: {table}.{name} utf8mb3 (utf8mb3_general_ci)"


@on_a_server
@shared
@pytest.mark.parametrize("alias", BOTH)
@pytest.mark.parametrize(
    ("code", "changed", "said"),
    [
        ("charset", {"charset": "utf8mb3"}, "utf8mb3"),
        ("isolation", {"isolation_level": "repeatable read"}, "REPEATABLE-READ"),
        ("not_strict", {"init_command": "SET sql_mode='NO_ENGINE_SUBSTITUTION'"}, ""),
    ],
)
def test_a_connection_that_loses_text_or_reads_the_past_is_named(alias, code, changed, said):
    sound = set(found())
    with options(alias, **changed):
        findings = found()
    assert set(findings) - sound == {code}
    assert f"alias {alias}" in findings[code].about
    assert findings[code].about.endswith(said)


@shared
@pytest.mark.skipif(os.environ.get("MIGRATION_SHIM_LEGACY_DB", "").startswith("mysql"), reason="what SQLite says")
def test_a_legacy_file_without_xqueues_table_is_a_finding(tmp_path):
    connection = connections["xqueue"]
    given = connection.settings_dict["NAME"]
    connection.close()
    connection.settings_dict["NAME"] = str(tmp_path / "empty.sqlite3")
    try:
        (finding,) = databases._legacy()
        assert (finding.rule.code, finding.about) == (
            "legacy_unreadable",
            "OperationalError no such table: queue_submission",
        )
    finally:
        connection.close()
        connection.settings_dict["NAME"] = given
