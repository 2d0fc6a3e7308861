"""The harness itself: no test ever touches a database that is not this run's, and no half is left out in silence."""

import os
import shlex
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.db import connections
from submissions.models import StudentItem, Submission

from migration_shim.models import CoursePhase
from tests import databases, halves

ROOT = Path(__file__).resolve().parents[2]


def test_databases_are_the_tests_own():
    """What the connections point at is what child processes read from the environment, under a name of this run."""
    for alias, variable in databases.VARIABLES.items():
        name = str(connections[alias].settings_dict["NAME"])
        assert urlsplit(os.environ[variable]).path.endswith(name.rsplit("/", 1)[-1])
        assert name.startswith((os.environ["MIGRATION_SHIM_SANDBOX_DIR"], "test_"))


def test_given_databases_are_never_the_ones_used(tmp_path):
    """An address from the environment keeps its server, account and options; its database is another one."""
    given = "mysql://root:secret@db:3307/edxapp?unix_socket=/run/sock"

    target, legacy = (databases.test_url(alias, given, tmp_path) for alias in databases.VARIABLES)

    run = os.environ[databases.CHOSEN]
    assert target == f"mysql://root:secret@db:3307/test_edxapp_default_{run}?unix_socket=/run/sock"
    assert legacy == f"mysql://root:secret@db:3307/test_edxapp_xqueue_{run}?unix_socket=/run/sock"
    file = databases.test_url("default", "sqlite:////srv/lms.sqlite3", tmp_path)
    assert file == f"sqlite:///{tmp_path}/default.sqlite3"


def test_child_processes_find_the_same_databases():
    """A process that a test starts with the tests' settings does not choose again."""
    script = "from django.conf import settings; print(settings.DATABASES['xqueue']['NAME'])"
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"}

    printed = subprocess.check_output([sys.executable, "-c", script], cwd=ROOT, env=environment, text=True)

    assert printed.strip() == str(connections["xqueue"].settings_dict["NAME"])


@pytest.mark.django_db(transaction=True, databases=["default", "xqueue"])
@pytest.mark.parametrize("turn", ["first", "second"])
def test_legacy_rows_do_not_outlive_a_transactional_test(turn):
    """Each of the two tests leaves a committed row; neither finds the other's."""
    with connections["xqueue"].cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM queue_submission")
        assert cursor.fetchone() == (0,)
        columns = {
            column.name: "2026-11-22 00:00:00" if column.name.endswith("_time") else "0"
            for column in connections["xqueue"].introspection.get_table_description(cursor, "queue_submission")
            if column.name != "id"
        }
        cursor.execute(
            f"INSERT INTO queue_submission ({', '.join(columns)}) VALUES ({', '.join(['%s'] * len(columns))})",
            list(columns.values()),
        )


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("turn", ["first", "second"])
def test_what_a_transactional_test_has_committed_does_not_outlive_it(turn):
    """A row of one table, and of one that refers to another."""
    assert not CoursePhase.objects.exists() and not Submission.objects.exists() and not StudentItem.objects.exists()
    CoursePhase.objects.create(course_id="course-v1:ExU+PY1+2026", phase="shadow")
    item = StudentItem.objects.create(student_id="s", course_id="c", item_id="i", item_type="problem")
    Submission.objects.create(student_item=item, attempt_number=1, answer="x")


def test_run_databases_says_why_a_half_did_not_run():
    """Half an address is no server: one line says so, and it is a failure where MariaDB is required."""
    environment = {"PATH": os.environ["PATH"], "MIGRATION_SHIM_TARGET_DB": "mysql://root@127.0.0.1/lms"}
    command = shlex.split("tests/run_databases.py --only mariadb --require-mariadb --version")

    done = subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True)

    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].startswith("MariaDB: not run: only MIGRATION_SHIM_TARGET_DB is set")


def test_what_one_half_leaves_out_the_other_one_runs():
    """A test that was renamed, or that stands in both lists, would run nowhere or twice without a word."""
    names = [*halves.SQLITE_ONLY, *halves.MARIADB_ONLY]

    assert len(set(names)) == len(names)
    apart = [path for part in halves.APART for path in part]
    assert not {*apart} & {*halves.SQLITE_ONLY} and all((ROOT / path).exists() for path in apart)
    for path, _, function in (name.partition("::") for name in names):
        assert (ROOT / path).exists(), path
        assert not function or f"\ndef {function}(" in (ROOT / path).read_text(encoding="utf-8"), function
        assert not any(path.startswith(f"{other}/") or (function and path == other) for other in names)
