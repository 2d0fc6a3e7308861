"""
Deferred copies over a real broker: a Celery worker as a process of its own, a Redis, and brokers that do not answer.
"""

import base64
import contextlib
import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis
from django.conf import settings as django_settings
from django.db import connection, transaction

from migration_shim import conf
from migration_shim.copies import breaker, outbox, publish
from migration_shim.copies import write as copies
from migration_shim.models import LedgerEntry
from migration_shim.runs import broker as runs_broker
from migration_shim.tasks import write_shadow
from sandbox.databases import PROJECT_ROOT
from sandbox.lms import celery_app
from tests.builders import routed_course as route
from tests.builders import rows
from tests.builders.outbox import drain
from tests.builders.routed_course import course, xqueue_of_load  # noqa: F401
from tests.celery_worker import running_worker
from tests.private_redis import redis_url  # noqa: F401

pytestmark = [
    pytest.mark.django_db(databases=["default", "xqueue"], transaction=True),
    pytest.mark.usefixtures("course"),
]

PATIENCE = 40  # seconds; a machine may be busy
SHORT = 0.3  # seconds for publishing


class Broker:
    """A queue of its own at the broker, and a look into it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.queue = f"migration_shim_test_{uuid.uuid4().hex}"
        self.redis = redis.Redis.from_url(url)

    def messages(self) -> list[bytes]:
        return self.redis.lrange(self.queue, 0, -1)

    def idle(self) -> bool:
        """Nothing waits, and nothing is with a worker that has not begun it."""
        begun = self.redis.hvals("unacked")  # of all queues of this Redis
        return not self.messages() and not any(self.queue.encode() in message for message in begun)


@pytest.fixture
def use_broker():
    """Let this process publish to another broker, until the test ends."""
    conf = celery_app.conf

    # With the prefix: before 5.6 Celery looks for it first, and would find Django's settings there.
    def use(url, eager=False):
        conf.update(CELERY_BROKER_URL=url, CELERY_TASK_ALWAYS_EAGER=eager)

    before = conf.broker_url, conf.task_always_eager
    yield use
    use(*before)


@pytest.fixture
def broker(redis_url, settings, use_broker, monkeypatch):  # noqa: F811
    """Redis as the broker of this process, with a queue that no other worker listens to."""
    monkeypatch.setattr(publish, "_last", -1e9)  # no nudge of the test before
    broker = Broker(redis_url)
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"CELERY_QUEUE": broker.queue}
    use_broker(redis_url)
    yield broker
    broker.redis.delete(broker.queue, *broker.redis.scan_iter(f"*{broker.queue}"))
    broker.redis.close()


@contextlib.contextmanager
def worker(broker, xqueue_url):
    """A worker for the broker's queue; of a failure that happens meanwhile, pytest shows what the worker said."""
    with running_worker(broker.url, broker.queue, xqueue_url) as running:
        try:
            yield running.process
        except AssertionError:
            print(running.log_path.read_text(errors="replace")[-4000:])
            raise


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE} s in vain"
        time.sleep(0.05)


def legs(sent):
    """(legacy leg, target leg) of a submission, as committed."""
    return LedgerEntry.objects.values_list("legacy_leg", "target_leg").get(identity=sent.identity)


def copies_of(sent):
    """How many fenced rows the target holds of a submission."""
    return route.holdings().shadows.get("shadow:" + sent.identity, 0)


def accepted(*numbers, files=None):
    """Submissions of these learners, all accepted."""
    sent = [route.submission(number) for number in numbers]
    for one in sent:
        error, message = route.send(one)
        assert not error, message
    return sent


# What goes through the broker


@pytest.mark.parametrize("phase", ["shadow", "live"])
def test_nothing_of_a_submission_goes_through_the_broker(broker, phase):
    route.start_in(phase)
    (sent,) = accepted(7)
    (message,) = broker.messages()
    properties = json.loads(message)
    arguments, keywords, _ = json.loads(base64.b64decode(properties["body"]))
    assert (properties["headers"]["task"], arguments, keywords) == ("migration_shim.drain_outbox", [], {})
    whole = message.decode() + json.dumps(arguments) + json.dumps(keywords)
    for secret in ("secret answer", sent.learner, sent.key, "score_update", "grade.py", "20261122090000"):
        assert secret in sent.header + sent.body
        assert secret not in whole
    assert sent.identity not in whole


def test_a_burst_is_one_nudge_that_comes_after_it(broker, monkeypatch):
    monkeypatch.setattr(publish, "EVERY", 60.0)
    route.start_in("live")
    accepted(*range(1, 6))
    (message,) = broker.messages()
    eta = datetime.fromisoformat(json.loads(message)["headers"]["eta"])
    # Whatever is accepted before the next nudge is due by then.
    assert timedelta(seconds=55) < eta - datetime.now(tz=UTC) <= timedelta(seconds=62)


# Sent by name


def in_a_process_that_only_sends(script, *, tasks_imported):
    """Run a script in an LMS of its own, which has imported the app's tasks, or has not; what it has printed."""
    head = "import sys, django; django.setup()\n"
    head += "from migration_shim import conf\nfrom migration_shim.runs import broker\n"
    head += "from sandbox.lms import celery_app\n"
    head += "import migration_shim.tasks\n" if tasks_imported else "assert 'migration_shim.tasks' not in sys.modules\n"
    env = os.environ | {"DJANGO_SETTINGS_MODULE": "sandbox.lms.settings", "MIGRATION_SHIM_BROKER_URL": ""}
    done = subprocess.run(
        [sys.executable, "-c", head + script], cwd=PROJECT_ROOT, env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("tasks_imported", [False, True])
def test_in_eager_mode_a_task_is_run_where_it_is_sent(tasks_imported):
    script = """
from migration_shim.backfill import ranges
from migration_shim.comparison import scan
from migration_shim.copies import outbox
ranges.work = lambda range_id: print("backfill", range_id)
scan.work = lambda range_id: print("reconcile", range_id)
outbox.drain = lambda settings: print("outbox") or {"unfinished": 0}
broker.send_backfill(7)
broker.send_reconcile(8)
broker.send(conf.load(), after=0)
"""
    printed = in_a_process_that_only_sends(script, tasks_imported=tasks_imported)
    assert printed == ["backfill 7", "reconcile 8", "outbox"]


@pytest.mark.parametrize("tasks_imported", [False, True])
def test_a_process_that_only_sends_needs_no_task(tasks_imported):
    """The message is the same. A backend for results is told of nothing."""
    script = """
celery_app.conf.update(CELERY_BROKER_URL="memory://", CELERY_TASK_ALWAYS_EAGER=False)
broker.send_backfill(7)
broker.send_reconcile(8)
broker.send(conf.load(), after=5)
with celery_app.connection_for_read() as connection:
    queue = connection.SimpleQueue("celery")
    for message in [queue.get(timeout=10) for _ in range(3)]:
        headers = message.headers
        print(headers["task"], message.payload[:2], headers["ignore_result"], headers["expires"] is None)
print("migration_shim.tasks" in sys.modules)
"""
    assert in_a_process_that_only_sends(script, tasks_imported=tasks_imported) == [
        "migration_shim.backfill_range [[], {'range_id': 7}] True True",
        "migration_shim.reconcile_range [[], {'range_id': 8}] True True",
        "migration_shim.drain_outbox [[], {}] True False",
        str(tasks_imported),
    ]


# A worker


def test_a_worker_writes_shadows_with_their_files_and_reverse_shadows(broker, course):  # noqa: F811
    route.start_in("shadow")
    plain, with_file = route.submission(1), route.submission(2)
    upload = io.BytesIO(b"print('hello')\n")
    upload.name = "square.py"
    assert route.send(plain)[0] == 0
    assert route.send(with_file, [upload])[0] == 0
    with_file_identity = LedgerEntry.objects.get(learner=with_file.learner).identity
    route.start_in("live")
    (live,) = accepted(3)
    assert len(broker.messages()) >= 1
    with worker(broker, course.url):
        wait_until(lambda: not LedgerEntry.objects.exclude(legacy_leg="stored", target_leg="stored").exists())
    held = route.holdings()
    assert held.shadows == {f"shadow:{plain.identity}": 1, f"shadow:{with_file_identity}": 1}
    assert held.real == {live.key: 1}
    assert held.reverse == {f"shadow:{live.identity}": 1}
    ((name, stored),) = route.sql("default", "SELECT original_filename, file FROM submissions_submissionfile")
    media = Path(django_settings.MEDIA_ROOT)
    assert (name, (media / stored).read_bytes()) == ("square.py", b"print('hello')\n")


def test_a_task_delivered_twice_writes_one_copy(broker, course):  # noqa: F811
    route.start_in("shadow")
    sent = accepted(*range(1, 7))
    for message in broker.messages():
        broker.redis.rpush(broker.queue, message, message)
    for one in sent:  # and what a process of the release before sends beside it
        write_shadow.apply_async(kwargs={"course_id": route.COURSE, "identity": one.identity}, queue=broker.queue)
    with worker(broker, course.url):
        wait_until(broker.idle)
        wait_until(lambda: all(legs(one) == ("stored", "stored") for one in sent))
    assert route.holdings().shadows == {f"shadow:{one.identity}": 1 for one in sent}


def test_a_submission_that_was_sent_twice_before_the_worker_came_gets_its_copy(broker, course):  # noqa: F811
    """XQueue holds two rows of it then, the older one retired by the newer."""
    route.start_in("shadow")
    (sent,) = accepted(1)
    accepted(1)
    assert route.sql("xqueue", "SELECT COUNT(*) FROM queue_submission") == [(2,)]
    with worker(broker, course.url):
        wait_until(lambda: legs(sent) == ("stored", "stored"))
    assert copies_of(sent) == 1


def test_a_copy_that_cannot_be_written_is_failed_with_its_reason_and_pauses_the_others(broker, course):  # noqa: F811
    """The worker's failures open the breaker for every process; what is owed stays owed."""
    route.start_in("shadow")
    media = Path(django_settings.MEDIA_ROOT)
    media.mkdir(parents=True, exist_ok=True)
    blocker = media / f"{route.QUEUE}.shadow"
    hidden = media / "hidden"
    if blocker.exists():
        blocker.rename(hidden)
    blocker.write_text("a file where the storage needs a folder")
    for number in range(1, 6):
        upload = io.BytesIO(b"x = 1\n")
        upload.name = "x.py"
        assert route.send(route.submission(number), [upload])[0] == 0
    with worker(broker, course.url):
        wait_until(lambda: breaker.is_open(copies.SHADOW))
        wait_until(lambda: LedgerEntry.objects.filter(target_leg="failed").count() == 5)
    reasons = set(LedgerEntry.objects.values_list("target_reason", flat=True))
    assert reasons <= {"FileExistsError", "NotADirectoryError"}
    accepted(6)
    assert drain()["shadow_paused_by_breaker"] == 1
    blocker.unlink()
    if hidden.exists():
        hidden.rename(blocker)
    breaker.reset()
    assert drain()["shadow_done"] == 6
    assert LedgerEntry.objects.filter(target_leg="stored", copy_due=None).count() == 6


# What gets lost


def test_a_lost_message_is_found_by_the_next_backfill(broker):
    route.start_in("shadow")
    (sent,) = accepted(1)
    assert broker.messages()
    broker.redis.delete(broker.queue)
    assert legs(sent) == ("stored", "missing")
    assert copies_of(sent) == 0
    done = rows.manage("xqueue_backfill", "--mode", "shadow", "--course", route.COURSE, "--execute", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["written"] == 1
    assert legs(sent) == ("stored", "stored")
    assert copies_of(sent) == 1


def test_what_a_killed_worker_had_taken_is_done_by_another_when_its_time_is_over(monkeypatch, course):  # noqa: F811
    route.start_in("shadow")
    (sent,) = accepted(1)

    def killed(*args):
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(copies, "write_copy", killed)
        with pytest.raises(SystemExit):
            drain()
    assert legs(sent) == ("stored", "missing")
    assert outbox.drain(conf.load()) == {}  # it is the dead worker's for a while
    assert drain()["shadow_done"] == 1
    assert legs(sent) == ("stored", "stored")
    assert copies_of(sent) == 1


# Brokers that do not answer


class Silence:
    """A server that accepts every connection and never says a word; ``callers`` counts them."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.callers = []
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def _accept(self):
        with contextlib.suppress(OSError):  # closed
            while True:
                self.callers.append(self.listener.accept()[0])

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(5)
        for caller in self.callers:
            caller.close()


@pytest.fixture
def silence():
    server = Silence()
    yield server
    server.close()


@pytest.fixture
def impatient(settings, monkeypatch):
    """A short timeout for publishing, a nudge for each submission, and a breaker that opens at the third failure."""
    monkeypatch.setattr(publish, "EVERY", 0.0)
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"PUBLISH_SECONDS": SHORT, "BREAKER_FAILURES": 3}


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("scheme", ["redis://127.0.0.1:{port}/0", "amqp://guest:guest@127.0.0.1:{port}//"])
@pytest.mark.parametrize("phase", ["shadow", "live"])
def test_a_broker_that_hangs_costs_one_try_a_submission_until_the_breaker_opens(use_broker, silence, phase, scheme):
    use_broker(scheme.format(port=silence.port))
    route.start_in(phase)
    kind = breaker.OUTBOX
    for number in (1, 2, 3):
        assert breaker.allows(kind)
        started = time.monotonic()
        (sent,) = accepted(number)
        # Clients of brokers try again and again by default, for minutes; the bound is wide for a busy machine.
        assert time.monotonic() - started < SHORT + 4
        assert len(silence.callers) == number
        assert "missing" in legs(sent)
    assert breaker.is_open(kind)
    accepted(*range(4, 24))
    assert len(silence.callers) == 3  # nobody was asked any more
    held = route.holdings()
    assert len(held.ledger) == 23
    authoritative = held.legacy_live if phase == "shadow" else held.real
    assert list(authoritative.values()) == [1] * 23


@pytest.mark.parametrize("scheme", ["redis", "rediss", "sentinel", "amqp"])
def test_every_kind_of_broker_is_given_a_limit_in_its_own_words(use_broker, scheme):
    use_broker(f"{scheme}://127.0.0.1:1/0")
    options = runs_broker.connection(SHORT).transport_options
    words = {"amqp": ("read_timeout", "write_timeout")}.get(scheme, ("socket_timeout", "socket_connect_timeout"))
    assert [options[word] for word in words] == [SHORT, SHORT]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_broker_that_is_down_refuses_nobody(use_broker, scheme):
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # bound and not listening: refused, and nobody else can take it
        use_broker(f"{scheme}://127.0.0.1:{reserved.getsockname()[1]}")
        route.start_in("shadow")
        sent = accepted(1, 2, 3, 4)
    assert breaker.is_open(breaker.OUTBOX)
    assert {legs(one) for one in sent} == {("stored", "missing")}
    assert rows.backfill().content["written"] == 4


def test_a_caller_with_a_transaction_of_its_own_does_not_publish_before_its_commit(broker):
    route.start_in("shadow")
    with transaction.atomic():
        accepted(1)
        assert broker.messages() == []
    assert len(broker.messages()) == 1
    assert connection.in_atomic_block is False
