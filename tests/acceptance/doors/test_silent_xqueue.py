"""
XQueue's database falls silent, freezes, refuses, or is locked, while a course is live: no learner waits for it and no
grade is lost; the way back takes a moment; worker and watch go on.

An LMS, an XQueue and commands in processes of their own, all led to XQueue's database through a proxy that fails as it
is told; a worker and a grader are at work all the time.
"""

import contextlib
import math
import os
import statistics
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db import connection, connections  # noqa: F401  (skipif)
from django.db.models import Count, F

from migration_shim import api, conf, tasks, toggles
from migration_shim.copies import breaker, outbox
from migration_shim.core.data import ExitCode, Leg, Phase
from migration_shim.core.errors import IllegalStep
from migration_shim.cutover import impact
from migration_shim.models import LedgerEntry, LegacySubmission
from sandbox.grader import PullGrader, ServerEntry
from sandbox.lms.courseware.models import StudentModule
from sandbox.lms.models import LearnerEffect
from sandbox.servers import FILES_HOST, running_lms, running_xqueue
from tests.acceptance.doors.browser import logged_in
from tests.acceptance.doors.conftest import REVERSE, XQUEUES
from tests.acceptance.doors.problems import ROOT
from tests.builders.attempts import attempt
from tests.builders.outbox import drain
from tests.builders.rows import COURSE, MANAGE, PAYLOAD, QUEUE, enter, fresh, legacy_row, usage_key  # noqa: F401
from tests.builders.silence import DUMP, OWN_DELIVERY, Proxy, State, held

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "xqueue"]),
    pytest.mark.skipif("connection.vendor == 'sqlite'", reason="a file can be neither silent nor locked by rows"),
]

SHORT, LONG = 24, 200  # learners
AT_ONCE = 3
SOON = 1.0  # seconds that a submission may take longer than without the trouble
PATIENCE = 90
#: Seconds that the client waits to be answered in the short form, for the 65 of a site.
READ_SECONDS = 4
OLD, NEW = usage_key("a" * 32), usage_key("b" * 32)
TROUBLES = {
    **{state.value: state for state in State if state is not State.PASSES},
    "locked by its own delivery": OWN_DELIVERY,
    "locked by a dump": DUMP,
}


@pytest.fixture(scope="module")
def proxy(databases_ready):
    """What leads to XQueue's database."""
    found = Proxy()
    yield found
    found.close()


@pytest.fixture(scope="module")
def xqueue(proxy):
    """An XQueue whose database lies behind the proxy."""
    with running_xqueue({"MIGRATION_SHIM_LEGACY_DB": proxy.url, "SANDBOX_XQUEUES": XQUEUES}, threads=32) as server:
        yield server


@pytest.fixture(scope="module")
def environment(proxy, xqueue):
    """Nudges go to a broker that nobody reads: a test plays the worker."""
    return {
        "MIGRATION_SHIM_LEGACY_DB": proxy.url,
        "MIGRATION_SHIM_XQUEUE_URL": xqueue.url,
        "MIGRATION_SHIM_BROKER_URL": "memory://",
        "SANDBOX_WAITTIME_BETWEEN_REQUESTS": "0",
    }


@pytest.fixture(scope="module")
def lms(environment):
    """An LMS with the Python door."""
    with running_lms(environment, workers=2, threads=4) as server:
        yield server


@pytest.fixture
def led(proxy, xqueue, settings, monkeypatch):
    """This process, worker that it is, goes through the proxy too; it waits no longer than a test can."""
    database = connections.settings["xqueue"]
    options = {name: value for name, value in database["OPTIONS"].items() if name != "unix_socket"}
    connections["xqueue"].close()
    monkeypatch.setitem(database, "HOST", "127.0.0.1")
    monkeypatch.setitem(database, "PORT", str(proxy.port))
    monkeypatch.setitem(database, "OPTIONS", options | {"read_timeout": READ_SECONDS})
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"LEGACY_URL": xqueue.url, "BREAKER_SECONDS": 1}
    breaker.reset()
    yield database["OPTIONS"]
    breaker.reset()
    connections["xqueue"].close()


def everybody(server, number):
    """So many learners."""
    return logged_in(server, [f"learner{index}" for index in range(number)], AT_ONCE)


def submit(learner, problem):
    """Submit, and be told that it is queued; the seconds that it took."""
    told, seconds = learner.submit(problem)
    assert told == "queued"
    return seconds


def submitted(learners, problem):
    """All of them submit, some at once; the seconds of each."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return sorted(pool.map(lambda learner: submit(learner, problem), learners))


@contextlib.contextmanager
def at_work(step):
    """Somebody who does this all the time; what it raises is the test's failure."""
    over, errors = threading.Event(), []

    def work():
        try:
            while not over.wait(0.1):
                step()
        except BaseException as error:  # it would be lost with the thread
            errors.append(error)
        finally:
            connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        assert errors == []  # before what the test has waited for in vain


def grader_at(server, monkeypatch):
    """A grader of the target, at the watcher seam."""
    user = get_user_model().objects.create_user("grader", password="pw")
    user.groups.add(Group.objects.get_or_create(name="xqueue")[0])
    monkeypatch.setenv("SANDBOX_HOSTS", f"courses.example.edu={server.address},{FILES_HOST}={server.address}")
    entry = ServerEntry(url=f"{ROOT}/migration_shim", username="grader", password="pw", queues=(QUEUE,))
    return PullGrader([entry], timeout=PATIENCE)  # a busy machine loses no hand-out


def in_trouble(name, proxy):
    """XQueue's database has this trouble, for a while."""
    what = TROUBLES[name]
    return proxy.being(what) if isinstance(what, State) else held("xqueue", what)


def until(true, what, seconds=PATIENCE):
    """Wait until this is so; how long it took."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds, f"{what}: not within {seconds} s"
        time.sleep(0.1)
    return time.monotonic() - began


def grades(problem=None):
    """The grades that learners have got, of one problem or of all."""
    found = LearnerEffect.objects.filter(kind=LearnerEffect.Kind.SCORE_SET)
    return found.filter(usage_key=problem) if problem else found


CASES = [
    *((name, SHORT) for name in TROUBLES if name != State.REFUSES),
    *(pytest.param(name, LONG, marks=[pytest.mark.long, pytest.mark.timeout(1800)]) for name in TROUBLES),
]


@pytest.mark.parametrize(("trouble", "number"), CASES)
def test_no_learner_waits_and_no_grade_is_lost(trouble, number, proxy, lms, led, monkeypatch, capsys):
    if number == LONG:
        led["read_timeout"] = 65
    patience = PATIENCE * number / SHORT
    learners = everybody(lms, number)
    grader = grader_at(lms, monkeypatch)
    enter(Phase.LEGACY)
    submitted(learners, OLD)
    assert LegacySubmission.objects.filter(queue_name=QUEUE, retired=False).count() == number
    enter(Phase.LIVE)
    time.sleep(1)  # a key has the second of its attempt
    with at_work(lambda: outbox.drain(conf.load(), seconds=5)), at_work(grader.run_once):
        free = submitted(learners, NEW)
        before = until(lambda: grades(NEW).count() == number, "grades before the trouble", patience)
        with in_trouble(trouble, proxy):
            slow = submitted(learners, OLD)
            # Grades come as ever, and the worker has found out.
            during = until(lambda: grades(OLD).count() == number, "grades in spite of the trouble", patience)
            until(lambda: breaker.state("legacy_rows")["failures"], "a worker that finds it out", patience)
    median, last = statistics.median(free), slow[math.ceil(0.99 * number) - 1]
    with capsys.disabled():
        print(
            f"\n{trouble}, {number} learners: median {median:.3f} s without, 99th percentile {last:.3f} s with;", end=""
        )
        print(f" all graded {before:.0f} s after the last without, {during:.0f} s with")

    connections["xqueue"].close()  # a server that has refused has ended it
    owed = LedgerEntry.objects.filter(copy_due__isnull=False)
    replaced = LegacySubmission.objects.filter(queue_name=QUEUE, retired=False)
    # Where the state waits for no key any more, an attempt is called left behind a minute after it began.
    replaced.update(arrival_time=F("arrival_time") - timedelta(minutes=1))
    until(lambda: drain() and not (owed.exists() or replaced.exists()), "what is owed", patience)
    assert last <= median + SOON
    assert (grader.refused, grader.unanswered) == (0, 0)
    states = [entry for state in StudentModule.objects.all() for entry in state.correct_map.values()]
    assert [(entry["correctness"], entry["queuestate"]) for entry in states] == [("correct", None)] * number * 2
    of_each = grades().values("user", "usage_key").annotate(number=Count("id"))
    assert [one["number"] for one in of_each] == [1] * number * 2
    assert set(LedgerEntry.objects.values_list("authority", "legacy_leg")) == {("target", Leg.STORED)}
    shadows = LegacySubmission.objects.filter(retired=False, queue_name=REVERSE)
    assert shadows.count() == shadows.values("lms_callback_url").distinct().count() == number * 2


AWAY = [State.SILENT, State.FROZEN]


@pytest.mark.parametrize("state", AWAY)
def test_the_way_back_takes_a_moment_and_says_what_it_could_not_count(state, proxy, led):
    def cutover(*words):
        words = ("xqueue_cutover", "--course", COURSE, "--to", "legacy", "--reason", "r", *words)
        env = os.environ | {"MIGRATION_SHIM_LEGACY_DB": proxy.url}
        began = time.monotonic()
        done = subprocess.run([*MANAGE, *words], env=env, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
        return done.stdout, time.monotonic() - began

    legacy_row()
    enter(Phase.LIVE)
    told, usual = cutover()
    assert "unknown" not in told
    with proxy.being(state):
        told, seconds = cutover("--execute")
    assert seconds < usual + 5
    assert "unknown" in told
    assert phase_of() is Phase.LEGACY


def test_a_step_that_waits_for_xqueues_database_does_not_hold_up_the_way_back(proxy, led):
    led["read_timeout"] = PATIENCE
    enter(Phase.LIVE)
    connected, away = threading.Event(), threading.Event()

    def forward():
        try:
            LegacySubmission.objects.exists()
            connected.set()
            away.wait(PATIENCE)
            return api.cutover(COURSE, Phase.COMPLETE, reason="r", execute=True, user="ada", login=None)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        step = pool.submit(forward)
        assert connected.wait(PATIENCE)
        with proxy.being(State.SILENT):
            away.set()
            time.sleep(2 * impact.COUNT_SECONDS)
            began = time.monotonic()
            back = api.cutover(COURSE, Phase.LEGACY, reason="r", execute=True, user="bob", login=None)
            seconds = time.monotonic() - began
            assert not step.done()
        with pytest.raises(IllegalStep):  # the course is in legacy by now
            step.result(PATIENCE)
    assert back.content["executed"]
    assert seconds < impact.COUNT_SECONDS + 2
    assert phase_of() is Phase.LEGACY


@pytest.mark.parametrize("state", AWAY)
def test_worker_and_watch_end_within_the_limits_and_say_what_they_could_not_do(state, proxy, led, settings):
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {
        "COPIES": "inline",
        "LEGACY_READ_TIMEOUT": 2,
        "HOLD_SECONDS": 0,
    }
    enter(Phase.LIVE)
    one = attempt()
    assert one.submit() == (0, "")
    LedgerEntry.objects.update(created_at=F("created_at") - timedelta(hours=1))
    assert not LegacySubmission.objects.exists()  # it is connected now
    with proxy.being(state):
        began = time.monotonic()
        assert tasks.drain_outbox() == "reverse_owed=1 supersession_failed=1"
        assert time.monotonic() - began < READ_SECONDS + 2 + 2
        LedgerEntry.objects.update(supersession_due=F("created_at"), copy_due=F("created_at"))
        began = time.monotonic()
        document = api.watch()
        # Each step connects anew, and is given three seconds for that.
        assert time.monotonic() - began < 25
    assert document.exit_code & ExitCode.ERROR
    said = {problem["step"]: problem["said"] for problem in document.content["problems"]}
    assert said["reconcile"].startswith("xqueue_database_")
    (course,) = document.content["courses"]
    assert (course["reconcile"], course["reverse"]) == (None, {"owed": 1, "started": 1})
    assert one.entry().legacy_leg == Leg.FAILED
    connections["xqueue"].close()
    breaker.reset()
    drain()
    assert one.entry().legacy_leg == Leg.STORED


def phase_of():
    """The phase in force."""
    toggles.new_work_cycle()
    return toggles.phase_of(COURSE).phase
