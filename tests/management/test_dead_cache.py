"""Every command with a cache whose server is gone: none needs it, none ends with a traceback, and each says it once."""

import json

import pytest
from django.core.management import get_commands, load_command_class

from migration_shim import conf
from migration_shim.copies import outbox, write
from migration_shim.core.data import ExitCode, Phase
from migration_shim.ledger import phase_memory
from migration_shim.lms import shared_cache
from migration_shim.runs import causes
from tests.builders import rows
from tests.builders.dead_cache import dead_redis, silent_socket, told, without_timeout
from tests.builders.rows import COURSE, fresh  # noqa: F401
from tests.commands import manage

pytest.importorskip("redis")
pytestmark = pytest.mark.django_db(databases=["default", "xqueue"], transaction=True)
B, C = "course-v1:ExU+B+1", "course-v1:ExU+C+1"
ONE = ("--course", COURSE)
COMMANDS = {
    "xqueue_preflight": ONE,
    "xqueue_status": (),
    "xqueue_gate": ONE,
    "xqueue_reconcile": ("--all",),
    "xqueue_backfill": ("--mode", "shadow", *ONE, "--execute"),
    "xqueue_cutover": ("--to", "legacy", "--reason", "r", "--execute", *ONE),
    "xqueue_watch": ("--once",),
    "xqueue_audit": ONE,
    "xqueue_known": (),
    "xqueue_undelivered": ONE,
    "xqueue_fail": ("--reason", "r", *ONE),
    "xqueue_campaign": ("status",),
    "xqueue_learners": None,  # needs an LMS, and names of its own
}


@pytest.fixture(name="three")
def three_courses():
    for course in (COURSE, B, C):
        rows.enter("shadow", course)
    rows.legacy_row(1)


@pytest.fixture
def dead_cache(settings):
    before = dict(settings.CACHES)
    settings.CACHES = {name: dead_redis() for name in settings.CACHES}
    yield
    settings.CACHES = before


def test_every_command_is_tried():
    assert {name for name, app in get_commands().items() if app == "migration_shim"} == COMMANDS.keys()


@pytest.mark.parametrize("name", [name for name, words in COMMANDS.items() if words is not None])
def test_no_command_needs_the_cache(three, dead_cache, capsys, name):
    code = ExitCode.OK
    try:
        load_command_class("migration_shim", name).run_from_argv(["manage.py", name, *COMMANDS[name]])
    except SystemExit as end:
        code = ExitCode(end.code)
    said = capsys.readouterr()
    assert not code & (ExitCode.ERROR | ExitCode.USAGE)
    assert "Error:" not in said.err
    assert "pw-of-the-cache" not in said.err + said.out


@pytest.fixture
def silent_cache(settings, monkeypatch):
    before = dict(settings.CACHES)
    monkeypatch.setattr(shared_cache, "_silent_until", 0.0)
    with silent_socket() as url:
        settings.CACHES = {name: without_timeout(url) for name in settings.CACHES}
        yield
        settings.CACHES = before


@pytest.mark.parametrize("name", [name for name, words in COMMANDS.items() if words is not None])
def test_a_cache_that_never_answers_holds_no_command(three, silent_cache, capsys, name):
    def run():
        try:
            load_command_class("migration_shim", name).run_from_argv(["manage.py", name, *COMMANDS[name]])
        except SystemExit as end:
            return ExitCode(end.code)
        return ExitCode.OK

    assert not told(run) & (ExitCode.ERROR | ExitCode.USAGE)


def test_nor_a_worker(three, silent_cache):
    assert told(lambda: outbox.drain(conf.load())) == {}
    assert told(lambda: write.write_shadow("0" * 64)) == "nothing to do"


def test_the_status_says_whose_breakers_it_shows(three, tmp_path):
    """In a process of its own, with the settings of an LMS whose cache is gone."""
    cache = {"default": dead_redis()}
    late = "from migration_shim.lms import shared_cache\nshared_cache.LATE = 1\n"  # a busy machine refuses late, too
    (tmp_path / "dead_cache_settings.py").write_text(f"from sandbox.lms.settings import *\nCACHES = {cache!r}\n{late}")
    lms = {"DJANGO_SETTINGS_MODULE": "dead_cache_settings", "PYTHONPATH": str(tmp_path)}
    ran = manage("xqueue_status", "--format", "json", **lms)
    assert (ran.returncode, json.loads(ran.stdout)["schema"]) == (0, "migration_shim.xqueue_status/1")
    assert ran.stderr == (
        "The cache does not answer (ConnectionError). The breakers below are those of this process alone. "
        "See: docs/runbook/errors.md#the-cache-is-down (cache_down)\n"
    )


def test_a_round_of_the_watch_says_it_once_and_not_for_every_course(three, dead_cache, capsys, caplog, monkeypatch):
    monkeypatch.setattr(phase_memory, "_said_at", -phase_memory.SAY_SECONDS)
    load_command_class("migration_shim", "xqueue_watch").run_from_argv(["manage.py", "xqueue_watch", "--once", *ONE])
    for course in (COURSE, B, C):
        phase_memory.remember(course, Phase.SHADOW)
    assert caplog.text.count("migration_shim.phase_not_remembered") == 1


def test_an_error_of_the_system_s_that_came_through_a_cache_s_client_is_the_cache_s():
    """As memcached's clients pass it on."""
    place = {"__name__": "pymemcache.client.base"}
    exec(compile("def connect():\n    raise ConnectionRefusedError(111, 'refused')", "base.py", "exec"), place)
    with pytest.raises(ConnectionRefusedError) as raised:
        place["connect"]()
    assert causes.failure_of(raised.value).code == "cache_down"
    assert causes.failure_of(ConnectionRefusedError(111, "refused")).code == "unexpected"
