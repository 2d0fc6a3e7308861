"""What ends a command is one message: cause, meaning, what to do, page; with JSON one document; never a traceback."""

import errno
import io
import json
import os
import socket
import subprocess
import sys
from types import SimpleNamespace
from urllib.parse import urlsplit, urlunsplit

import pytest
from django.core.management import CommandError, call_command, load_command_class
from django.db import connection, connections

from migration_shim.core import failures as catalogue
from migration_shim.core.errors import BrokerDown, ConfigurationError, LegacyNotReadable, RunLocked
from migration_shim.db import schema
from migration_shim.management import failures
from migration_shim.models import CoursePhase
from migration_shim.runs import causes
from migration_shim.runs.isolated import run_step
from tests.builders import rows
from tests.builders.rows import COURSE, clean_course, fresh  # noqa: F401
from tests.commands import MANAGE, manage
from tests.schemas import validate

BOTH = ["default", "xqueue"]
shared = pytest.mark.django_db(databases=BOTH, transaction=True)
stored = pytest.mark.django_db(databases=BOTH)
on_a_server = pytest.mark.skipif(
    connections["xqueue"].vendor != "mysql", reason="SQLite has no accounts and no other databases"
)
#: The course is new: what is on stage is the failure, and not that nobody knows it.
PREFLIGHT = ("xqueue_preflight", "--course", COURSE, "--new")
SECRET = "pw-of-the-account"


def closed_port() -> int:
    """Give a port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def failed(*words: str, **environment: str) -> dict:
    """Run a command that fails, as text and as JSON; give its document after what must hold of each."""
    text, as_json = manage(*words, **environment), manage(*words, "--format", "json", **environment)
    document = validate(json.loads(as_json.stdout))
    assert document["schema"] == "migration_shim.error/1"
    assert text.returncode == as_json.returncode == document["exit_code"]
    assert text.stdout == ""
    said = text.stderr.splitlines()
    assert said[0] == f"Error: {document['message']}"
    assert said[-1] == f"  See: {document['page']} ({document['code']})"
    for output in (text.stderr, as_json.stderr, as_json.stdout):
        assert "Traceback" not in output
        assert SECRET not in output
    return document


# The databases, in real processes


@shared
@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("127.0.0.1:{port}", "refused"),
        ("no-such-host.invalid:3306", "unknown_host"),
    ],
)
@pytest.mark.parametrize(
    ("variable", "whose", "words"),
    [("LEGACY", "xqueue", PREFLIGHT), ("TARGET", "lms", ("xqueue_gate", "--course", COURSE))],
)
def test_a_database_that_is_away_is_one_message(address, code, variable, whose, words):
    address = address.format(port=closed_port())
    url = {f"MIGRATION_SHIM_{variable}_DB": f"mysql://shim:{SECRET}@{address}/some"}
    document = failed(*words, **url)
    assert document["code"] == f"{whose}_database_{code}"
    assert address in document["message"]


@shared
@pytest.mark.parametrize(
    "words",
    [
        ("xqueue_preflight",),
        ("xqueue_backfill", "--mode", "shadow"),
        ("xqueue_cutover", "--to", "shadow", "--reason", "r"),
    ],
    ids=lambda words: words[0],
)
def test_of_a_course_that_nobody_knows_the_database_is_the_cause_and_not_the_id(words):
    """It may be a new course or a typo: with XQueue's database down nobody can say."""
    address = f"127.0.0.1:{closed_port()}"
    url = f"mysql://shim:{SECRET}@{address}/some"
    document = failed(*words, "--course", "course-v1:ExU+Nobody+1", MIGRATION_SHIM_LEGACY_DB=url)
    assert document["code"] == "xqueue_database_refused"
    assert document["message"] == f"XQueue's database is down or out of reach: {address} takes no connection."
    assert "the shim does not know course-v1:ExU+Nobody+1" in document["means"]


@shared
@on_a_server
def test_a_server_that_is_silent_or_gone_in_the_middle_is_said_as_such():
    """A listener that accepts and never greets, as a server that hangs."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        url = f"mysql://shim:{SECRET}@{address}/some?connect_timeout=1&read_timeout=1"
        document = failed(*PREFLIGHT, MIGRATION_SHIM_LEGACY_DB=url)
    assert document["code"] in ("xqueue_database_timeout", "xqueue_database_lost")


@pytest.fixture
def account():
    """An account of the test's server that may only log in; give the address of a database for it, by name."""
    own = urlsplit(os.environ["MIGRATION_SHIM_LEGACY_DB"])
    name = f"shim_{os.getpid()}"
    hosts = ("localhost", "127.0.0.1", "%")
    with connections["xqueue"].cursor() as cursor:
        for host in hosts:
            cursor.execute(f"CREATE USER %s@%s IDENTIFIED BY '{SECRET}'", [name, host])

    def url(database: str, password: str = SECRET) -> str:
        place = own.netloc.rpartition("@")[2]
        return urlunsplit(own._replace(netloc=f"{name}:{password}@{place}", path=f"/{database}"))

    def grant(statement: str) -> None:
        with connections["xqueue"].cursor() as cursor:
            for host in hosts:
                cursor.execute(f"{statement} TO %s@%s", [name, host])

    yield url, grant
    with connections["xqueue"].cursor() as cursor:
        for host in hosts:
            cursor.execute("DROP USER %s@%s", [name, host])


@shared
@on_a_server
def test_a_server_that_does_not_let_the_account_do_it_says_what_is_missing(account):
    url, grant = account
    database = connections["xqueue"].settings_dict["NAME"]

    def code(address: str) -> str:
        return failed(*PREFLIGHT, MIGRATION_SHIM_LEGACY_DB=address)["code"]

    assert code(url(database, password="wrong")) == "xqueue_database_password"
    assert code(url(database)) == "xqueue_database_closed"
    grant(f"GRANT DELETE ON `{database}`.*")  # no right that the app needs
    document = failed(*PREFLIGHT, MIGRATION_SHIM_LEGACY_DB=url(database))
    assert document["code"] == "legacy_unreadable"
    assert f"GRANT SELECT ON `{database}`.queue_submission TO " in document["message"]
    document = failed(
        "xqueue_backfill", "--mode", "shadow", "--course", COURSE, "--new", MIGRATION_SHIM_LEGACY_DB=url(database)
    )
    assert document["code"] == "xqueue_database_denied"
    assert " SELECT on queue_submission: " in document["message"]


@shared
@on_a_server
def test_a_wrong_database_is_known_by_the_missing_table():
    own = urlsplit(os.environ["MIGRATION_SHIM_LEGACY_DB"])
    name = f"shim_empty_{os.getpid()}"
    with connections["xqueue"].cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
    try:
        document = failed(*PREFLIGHT, MIGRATION_SHIM_LEGACY_DB=urlunsplit(own._replace(path=f"/{name}")))
    finally:
        with connections["xqueue"].cursor() as cursor:
            cursor.execute(f"DROP DATABASE {name}")
    assert document["code"] == "xqueue_database_no_table"
    assert f"has no table queue_submission: {name} on " in document["message"]
    gone = failed(*PREFLIGHT, MIGRATION_SHIM_LEGACY_DB=urlunsplit(own._replace(path=f"/{name}")))
    assert gone["code"] == "xqueue_database_no_database"


@shared
def test_an_sqlite_file_that_is_another_or_cannot_be_opened(tmp_path):
    document = failed(*PREFLIGHT, MIGRATION_SHIM_LEGACY_DB=f"sqlite:///{tmp_path}/other.sqlite3")
    assert (document["code"], "queue_submission" in document["message"]) == ("xqueue_database_no_table", True)
    document = failed(*PREFLIGHT, MIGRATION_SHIM_LEGACY_DB=f"sqlite:///{tmp_path}/no/folder.sqlite3")
    assert document["code"] == "xqueue_database_no_file"


@shared
def test_tables_of_another_release_and_of_nobody(tmp_path):
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'migration_shim' AND name LIKE '%%owner'")
    try:
        document = failed("xqueue_gate", "--course", COURSE)
    finally:
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO django_migrations (app, name, applied)"
                " VALUES ('migration_shim', '0016_run_owner', '2026-11-30 00:00:00')"
            )
    assert document["code"] == "tables_not_ours"
    assert "0016_run_owner not applied" in document["message"]
    document = failed("xqueue_gate", "--course", COURSE, MIGRATION_SHIM_TARGET_DB=f"sqlite:///{tmp_path}/x.sqlite3")
    assert document["code"] == "tables_not_ours"


@shared
def test_a_command_line_asks_once_whether_the_tables_are_this_release_s(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(schema, "asked", lambda: asked.append(1) or "")
    with pytest.raises(SystemExit):  # the gate is not open
        load_command_class("migration_shim", "xqueue_gate").run_from_argv(
            ["manage.py", "xqueue_gate", "--course", COURSE, "--new", "--skip-checks"]  # one of them asks for itself
        )
    assert len(asked) == 1
    call_command("xqueue_status", stdout=io.StringIO())  # from Python, where nobody has asked before
    assert len(asked) == 2


def missing(alias: str, table: str) -> Exception:
    """Give the error of a real statement on a table that is not there."""
    with connections[alias].cursor() as cursor:
        try:
            cursor.execute(f"SELECT 1 FROM {table}")
        except Exception as error:
            return error
    raise AssertionError("it is there")


@stored
@pytest.mark.parametrize(
    ("alias", "table", "code"),
    [
        ("default", "submissions_gone", "target_gone"),
        ("default", "migration_shim_gone", "tables_not_ours"),
        ("xqueue", "queue_gone", "xqueue_database_no_table"),
    ],
)
def test_whose_table_is_missing_decides_what_is_said(alias, table, code):
    found = causes.known(missing(alias, table))
    assert found.code == code
    assert table in found.message


@stored
def test_the_text_of_a_statement_is_in_no_message():
    """A learner's answer in a statement must not come out, whatever the server says of it."""
    with connections["default"].cursor() as cursor, pytest.raises(Exception) as raised:
        cursor.execute("SELECT 'print(42)' FROM submissions_gone WHERE answer = 'print(42)' AND oops oops")
    error = raised.value
    said = json.dumps(failures.failure_of(error).document()) + failures.text(failures.failure_of(error))
    assert "print(42)" not in said


# One cause once


@shared
def test_a_gate_does_not_open_while_xqueue_s_database_is_away_and_names_the_cause(clean):
    """Its evidence is whole and fresh: only what happens on legacy meanwhile nobody sees. A step is refused as well."""
    rows.enter("shadow")
    address = f"127.0.0.1:{closed_port()}"
    url = {"MIGRATION_SHIM_LEGACY_DB": f"mysql://shim:{SECRET}@{address}/some"}
    assert call_gate() == 0
    assert CoursePhase.objects.get(course_id=COURSE).permit == "live"
    ran = manage("xqueue_gate", "--course", COURSE, "--format", "json", **url)
    document = validate(json.loads(ran.stdout))
    said = f"xqueue_database_refused: XQueue's database is down or out of reach: {address} takes no connection."
    assert (ran.returncode, document["verdict"], document["cause"]) == (10, "INCONCLUSIVE", "blocked")
    assert document["reasons"] == [said]
    assert document["needed"] == ["an answer of XQueue's database"]
    assert CoursePhase.objects.get(course_id=COURSE).permit == ""
    text = manage("xqueue_gate", "--course", COURSE, **url).stdout
    assert f"  because {said}\n    See: docs/runbook/errors.md#xqueues-database-does-not-answer\n" in text
    step = ("xqueue_cutover", "--course", COURSE, "--to", "live", "--reason", "r", "--execute")
    refused = manage(*step, **url)
    assert (refused.returncode, "legacy's database does not answer" in refused.stdout) == (2, True)
    assert call_gate() == 0  # it is back


@shared
def test_of_many_courses_the_gate_names_it_once_and_of_a_complete_one_not_at_all():
    for course, phase in ((COURSE, "shadow"), ("course-v1:ExU+B+1", "shadow"), ("course-v1:ExU+C+1", "complete")):
        rows.in_phase(phase, course)
    url = {"MIGRATION_SHIM_LEGACY_DB": f"mysql://shim:{SECRET}@127.0.0.1:{closed_port()}/some"}
    text = manage("xqueue_gate", "--course", COURSE, "--course", "course-v1:ExU+B+1", **url).stdout
    assert text.startswith("Of all 2: xqueue_database_refused: ")
    assert text.count("xqueue_database_refused") == 1
    assert "xqueue_database" not in manage("xqueue_gate", "--course", "course-v1:ExU+C+1", **url).stdout


def call_gate() -> int:
    command = load_command_class("migration_shim", "xqueue_gate")
    call_command(command, course=[COURSE], stdout=io.StringIO())
    return command.exit_code


@shared
def test_a_server_that_is_down_is_said_once_of_all_courses():
    url = {"MIGRATION_SHIM_LEGACY_DB": f"mysql://shim:{SECRET}@127.0.0.1:{closed_port()}/some"}
    words = [word for one in (COURSE, "course-v1:ExU+B+1", "course-v1:ExU+C+1") for word in ("--course", one)]
    words.append("--new")
    ran = manage("xqueue_reconcile", *words, **url)
    assert ran.returncode == 1
    assert ran.stdout.count("is down or out of reach") == 1
    assert ran.stdout.count("NOT COMPARED") == 1
    assert ran.stderr.count("migration_shim.step_failed") == 1
    document = validate(json.loads(manage("xqueue_reconcile", *words, "--format", "json", **url).stdout))
    assert len(document["problems"]) == 3  # each course is accounted for
    assert len({problem["said"] for problem in document["problems"]}) == 1


@stored
def test_a_step_says_a_known_cause_in_our_words_and_of_another_only_its_class():
    def asked():
        raise missing("xqueue", "queue_gone")

    def faulty():
        raise KeyError("print(42)")

    assert run_step("reconcile", COURSE, asked)[1].startswith(
        "xqueue_database_no_table: XQueue's database has no table"
    )
    assert run_step("reconcile", COURSE, faulty) == (None, "KeyError")


# What is no database's


@pytest.mark.parametrize(
    ("error", "code", "exit_code"),
    [
        (BrokerDown("broker:5672"), "broker_down", 1),
        (ConfigurationError("X must be Y."), "settings_unusable", 1),
        (LegacyNotReadable("run GRANT"), "legacy_unreadable", 1),
        (RunLocked("at work"), "run_locked", 16),
        (OSError(errno.ENOSPC, "No space left on device"), "disk_full", 1),
        (PermissionError(errno.EACCES, "Permission denied", "/reports/x.html"), "file_unusable", 1),
        (KeyboardInterrupt(), "interrupted", 130),
        (CommandError("--file: cannot be read", returncode=64), "usage", 64),
        (KeyError("print(42)"), "unexpected", 1),
    ],
)
def test_each_cause_has_a_code_of_its_own(error, code, exit_code):
    found = failures.failure_of(error)
    assert (found.code, found.exit_code) == (code, exit_code)
    assert "print(42)" not in json.dumps(validate(found.document()))


def test_the_caches_clients_are_known_by_their_packages():
    redis = pytest.importorskip("redis")
    assert failures.failure_of(redis.exceptions.ConnectionError(f"redis://:{SECRET}@h")).code == "cache_down"


def of_a_broker(monkeypatch, url):
    """Let the broker be at this URL. Celery keeps one that was asked for before, so its settings are not changed."""
    from migration_shim.runs import broker

    conf = SimpleNamespace(broker_url=url, broker_write_url=None)
    monkeypatch.setattr(broker, "current_app", SimpleNamespace(conf=conf))


def test_a_broker_s_error_is_not_the_caches_though_its_client_is_the_same(monkeypatch):
    redis = pytest.importorskip("redis")
    from migration_shim.runs import broker

    def send(*args, **options):
        raise broker.BrokerError("no") from redis.exceptions.ConnectionError(f"redis://:{SECRET}@h")

    monkeypatch.setattr(broker, "_send", send)
    of_a_broker(monkeypatch, f"redis://:{SECRET}@broker.example:6379/0")
    with pytest.raises(BrokerDown) as raised:
        broker.send_reconcile(1)
    found = failures.failure_of(raised.value)
    assert (found.code, "broker.example:6379" in found.message) == ("broker_down", True)
    assert SECRET not in json.dumps(found.document())


@pytest.mark.parametrize("url", ["redis://:p:w@h:port/", "memory://", "", "sqs://key:secret@"])
def test_an_address_of_a_broker_that_cannot_be_read_is_left_out(url, monkeypatch):
    from migration_shim.runs import broker

    of_a_broker(monkeypatch, url)
    assert broker._address() in ("", "h")


def test_what_is_raised_beside_another_error_is_not_its_cause():
    try:
        try:
            raise OSError(errno.ENOSPC, "full")
        except OSError:
            raise KeyError("x")  # noqa: B904
    except KeyError as error:
        assert failures.failure_of(error).code == "unexpected"


# How it is printed


def test_text_from_elsewhere_cannot_move_a_terminals_cursor():
    found = catalogue.refused("a course of \x1b[2J \u202eevil")
    assert "\x1b" not in failures.text(found)
    assert "\u202e" not in failures.text(found)


def test_on_a_terminal_no_line_is_wider_than_it():
    place = catalogue.Place(alias="xqueue", is_xqueue=True, server="xqueue-db.example.org:3306", user="u", name="n")
    text = failures.text(catalogue.of_database("refused", place), width=80)
    assert max(map(len, text.splitlines())) <= 80
    joined = " ".join(text.split())
    assert joined == " ".join(failures.text(catalogue.of_database("refused", place)).split())


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--format", "json"], True),
        (["--format=json", "--no-such-option"], True),
        (["--form", "json"], True),
        (["--course", "--format"], False),
        (["--format", "text"], False),
        ([], False),
    ],
)
def test_a_wrong_command_line_may_have_asked_for_json(words, wanted):
    assert failures.wants_json(["manage.py", "x", *words]) is wanted


@shared
def test_a_wrong_command_line_is_a_document_too():
    ran = manage("xqueue_gate", "--format", "json", "--no-such-option")
    document = validate(json.loads(ran.stdout))
    assert (ran.returncode, document["code"], document["exit_code"]) == (64, "usage", 64)
    assert "usage: " in ran.stderr


def run(*words: str, tail: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command in a shell, as an operator does with a pipe behind it."""
    line = " ".join([sys.executable, MANAGE, *words]) + tail
    return subprocess.run(["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True, timeout=120)


@shared
def test_a_reader_that_has_seen_enough_ends_it_quietly():
    ran = run("xqueue_status", tail=" | true")
    assert (ran.returncode, ran.stderr) == (0, "")


@shared
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_under_stdout_is_an_error():
    ran = run("xqueue_status", tail=" > /dev/full")
    assert ran.returncode == 1
    assert ran.stderr.startswith("Error: stdout or a temporary file could not be used: No space left on device")
    assert "Traceback" not in ran.stderr
    assert "Exception ignored" not in ran.stderr


@shared
def test_a_report_that_cannot_be_written_is_one_message(tmp_path):
    place = tmp_path / "report.json"
    place.mkdir()
    document = failed("xqueue_reconcile", "--course", COURSE, "--new", "--report", str(place))
    assert document["code"] == "file_unusable"


@shared
def test_ctrl_c_is_one_message(monkeypatch, capsys):
    command = load_command_class("migration_shim", "xqueue_gate")

    def broken(**options):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "document", broken)
    with pytest.raises(SystemExit) as left:
        command.run_from_argv(["manage.py", "xqueue_gate", "--course", COURSE, "--new"])
    assert left.value.code == 130
    assert capsys.readouterr().err.startswith("Error: Interrupted.")


@shared
def test_with_traceback_and_from_python_the_error_itself_is_raised(monkeypatch):
    command = load_command_class("migration_shim", "xqueue_gate")

    def broken(**options):
        raise KeyError("odd")

    monkeypatch.setattr(command, "document", broken)
    with pytest.raises(KeyError):
        command.run_from_argv(["manage.py", "xqueue_gate", "--course", COURSE, "--new", "--traceback"])
    command = load_command_class("migration_shim", "xqueue_gate")  # Django keeps on an object how it was called
    monkeypatch.setattr(command, "document", broken)
    with pytest.raises(KeyError):
        call_command(command, course=[COURSE], stdout=io.StringIO())


@shared
def test_an_error_that_nobody_expected_names_its_place_and_not_its_text(monkeypatch, capsys):
    command = load_command_class("migration_shim", "xqueue_gate")

    def broken(*args, **options):
        raise KeyError("print(42)")

    monkeypatch.setattr("migration_shim.cutover.gate.load", broken)
    with pytest.raises(SystemExit) as left:
        command.run_from_argv(["manage.py", "xqueue_gate", "--course", COURSE, "--new"])
    said = capsys.readouterr().err
    assert left.value.code == 1
    assert "nobody expected: KeyError at cutover/gate.py:" in said
    assert "print(42)" not in said
    assert "Traceback" not in said


def test_on_a_terminal_the_bar_is_gone_before_the_message(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    command = load_command_class("migration_shim", "xqueue_reconcile")
    first, second = command.progress("reconcile"), command.progress("reconcile")
    first(1, 2)
    second(1, 2)
    assert "reconcile:" in sys.stderr.getvalue()
    with pytest.raises(SystemExit):
        command._end(failures.failure_of(CommandError("no more")))
    assert sys.stderr.getvalue().rpartition("\r")[2].startswith("Error: no more")
