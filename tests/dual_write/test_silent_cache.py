"""A Redis that takes connections and never answers, as cache and as broker: no learner waits for it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import redis
from django.core.cache.backends.locmem import LocMemCache
from django.test import Client

from migration_shim.copies import breaker
from migration_shim.doors import grader_login
from migration_shim.ledger import phase_memory
from migration_shim.lms import shared_cache
from migration_shim.models import LedgerEntry
from sandbox.databases import PROJECT_ROOT
from tests.builders.attempts import COURSE, attempt, put_course_in
from tests.builders.dead_cache import HELD, silent_socket, told, without_timeout
from tests.builders.rows import HOST
from tests.dual_write.test_table import LEGACY_PHASES, TARGET_PHASES, rows
from tests.private_redis import CannotStart, running

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "xqueue"])

PHASES = [None, *LEGACY_PHASES, *TARGET_PHASES]
BASIC = {"HTTP_AUTHORIZATION": "Basic Y2FwYTpwdw=="}


@contextlib.contextmanager
def a_stopped_redis():
    try:
        with running() as url:
            client = redis.Redis.from_url(url)
            pid = client.info("server")["process_id"]
            client.close()
            os.kill(pid, signal.SIGSTOP)
            try:
                yield url
            finally:
                os.kill(pid, signal.SIGCONT)
    except CannotStart as error:
        pytest.skip(str(error))


@pytest.fixture
def silent(settings, monkeypatch):
    """Every cache of the LMS is silent, from when this is called, and nobody has noticed yet."""
    before = dict(settings.CACHES)
    monkeypatch.setattr(shared_cache, "_silent_until", 0.0)
    with silent_socket() as url:

        def go():
            settings.CACHES = {name: without_timeout(url) for name in settings.CACHES}

        yield go
        settings.CACHES = before


def is_owed():
    """Whether a copy is owed of the one submission that there is."""
    return LedgerEntry.objects.filter(copy_due__isnull=False).exists()


@pytest.mark.parametrize("copies", ["deferred", "inline"])
@pytest.mark.parametrize("phase", PHASES)
def test_a_cache_that_never_answers_holds_no_learner(phase, copies, legacy, shim, silent):
    shim(COPIES=copies)
    if phase is not None:
        put_course_in(phase)
    silent()
    assert told(attempt().send)[0] == 0
    target = phase in TARGET_PHASES
    shadow = phase == "shadow" and copies == "inline"
    assert rows() == (int(not target), int(target), int(shadow), 0)
    assert is_owed() == (phase == "live" or (phase == "shadow" and not shadow))


@pytest.mark.parametrize("phase", PHASES)
def test_nor_at_the_http_door(phase, legacy, shim, silent, monkeypatch):
    monkeypatch.setenv("MIGRATION_SHIM_SUBMIT_DOOR", "1")
    shim(COPIES="deferred", SUBMIT_USERS={"capa": "pw"})
    if phase is not None:
        put_course_in(phase)
    silent()
    one = attempt()
    form = {"xqueue_header": one.request.header, "xqueue_body": one.request.body}
    answer = told(lambda: Client(**HOST).post("/migration_shim/xqueue/submit/", form, **BASIC))
    assert json.loads(answer.content)["return_code"] == 0
    target = phase in TARGET_PHASES
    assert rows() == (int(not target), int(target), 0, 0)
    assert is_owed() == (phase in ("shadow", "live"))


#: What two requests of a process of its own are told: the Python door's, and the HTTP door's, at once after each other.
TWO_DOORS = """
import json, sys
import django; django.setup()
from django.conf import settings
from django.core.signals import request_finished, request_started
from django.test import Client
url, cache, basic, host, own, other = json.loads(sys.argv[1])
settings.CACHES = {"default": cache}
settings.MIGRATION_SHIM = {**settings.MIGRATION_SHIM, "SUBMIT_USERS": {"capa": "pw"}}
from migration_shim.api import queue_interface
request_started.send(sender=None)
said = [queue_interface(None).send_to_queue(*own, [])[0]]
request_finished.send(sender=None)  # the nudge is sent here
form = {"xqueue_header": other[0], "xqueue_body": other[1]}
said.append(Client(**host).post("/migration_shim/xqueue/submit/", form, **basic).json()["return_code"])
print(json.dumps(said))
"""


@pytest.mark.parametrize(
    ("phase", "server"), [(None, a_stopped_redis), ("shadow", silent_socket), ("live", a_stopped_redis)]
)
def test_a_process_whose_cache_and_broker_are_silent_takes_submissions_at_both_doors(phase, server, legacy):
    if phase is not None:
        put_course_in(phase)
    both = [[one.request.header, one.request.body] for one in (attempt(), attempt())]
    with server() as url:
        environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "sandbox.lms.settings",
            "MIGRATION_SHIM_BROKER_URL": url,
            "MIGRATION_SHIM_XQUEUE_URL": legacy.url,
            "MIGRATION_SHIM_SUBMIT_DOOR": "1",
            "SANDBOX_FLAGS": "own",
        }
        arguments = json.dumps([url, without_timeout(url), BASIC, HOST, *both])
        command = [sys.executable, "-c", TWO_DOORS, arguments]
        # A caller that is held for ever ends the test: subprocess.TimeoutExpired.
        done = subprocess.run(
            command, cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [0, 0]
    target = phase == "live"
    assert rows() == (2 * (not target), 2 * target, 0, 0)
    assert LedgerEntry.objects.filter(copy_due__isnull=False).count() == (0 if phase is None else 2)


# The limit


class Answers(LocMemCache):
    """A cache that does as it is told, and counts what it is asked."""

    asked = 0
    waits: threading.Event | None = None

    def get(self, *args, **kwargs):
        self.asked += 1
        if self.waits is not None:
            self.waits.wait(HELD)
        return super().get(*args, **kwargs)


@pytest.fixture
def answers(monkeypatch):
    found = Answers("answers", {})
    monkeypatch.setattr(shared_cache, "_silent_until", 0.0)
    monkeypatch.setattr(shared_cache, "cache", found)
    yield found
    if found.waits is not None:
        found.waits.set()


def test_after_a_silence_a_cache_is_asked_nothing_for_a_while(answers, monkeypatch):
    answers.waits = threading.Event()
    monkeypatch.setattr(shared_cache, "PATIENCE", 0.05)
    for _ in range(3):
        with pytest.raises(shared_cache.CacheSilent):
            shared_cache.ask(lambda cache: cache.get("x"))
    assert phase_memory.recall(COURSE) is None
    assert breaker.allows("shadow")
    assert grader_login._failures("key") == 0
    assert answers.asked == 1
    answers.waits.set()
    monkeypatch.setattr(shared_cache, "_silent_until", 0.0)
    assert shared_cache.ask(lambda cache: cache.get("x", 7)) == 7


def test_a_cache_that_raises_is_asked_again_at_once(answers):
    def gone(cache):
        cache.get("x")
        raise ConnectionError

    for _ in range(2):
        with pytest.raises(ConnectionError):
            shared_cache.ask(gone)
    assert answers.asked == 2


def test_a_timeout_of_redis_own_is_waited_for_once(settings, monkeypatch):
    """As the runbook has it set; redis-py's error is none of Python's."""
    monkeypatch.setattr(shared_cache, "_silent_until", 0.0)
    before = dict(settings.CACHES)
    with silent_socket() as url:
        options = {"socket_timeout": 0.3, "socket_connect_timeout": 0.3}
        settings.CACHES = {name: without_timeout(url) | {"OPTIONS": options} for name in before}
        began = time.monotonic()
        for _ in range(20):
            with pytest.raises(shared_cache.CacheSilent):
                shared_cache.ask(lambda cache: cache.get("x"))
        assert time.monotonic() - began < 3  # 20 times its timeout are 6
    settings.CACHES = before
