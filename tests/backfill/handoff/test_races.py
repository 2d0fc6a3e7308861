"""A handoff against live graders of both systems, live submitters and a second handoff; and one that is killed."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
import traceback
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.db import connections, transaction
from django.utils.timezone import now
from submissions.models import ExternalGraderDetail

from migration_shim import api, conf
from migration_shim.backfill.handoff.finish import on_the_way
from migration_shim.copies import outbox
from migration_shim.core.data import Move
from migration_shim.models import LedgerEntry, LegacySubmission, Run
from sandbox.databases import PROJECT_ROOT
from sandbox.lms.courseware.models import StudentModule
from tests.backfill.handoff.conftest import DELAY, SETTLE
from tests.builders import handing_off as world
from tests.builders import rows
from tests.builders.rows import fresh  # noqa: F401
from tests.builders.xqueue import XQueue

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"], transaction=True)
DEADLINE = 60
#: Under load a thread may wait for its turn longer than the sandbox's settle time; a stall beyond it is counted as one.
RACE_SETTLE, RACE_DELAY = 0.6, 1.2


class Stalling(XQueue):
    """XQueue whose pulls take a moment between read and save; ``put`` holds its row, as XQueue's does."""

    def __init__(self) -> None:
        super().__init__({world.QUEUE}, timedelta(seconds=RACE_DELAY), world.post)
        self.stalls: dict[int, float] = {}

    def pull(self) -> tuple[int, str] | None:
        row, began = self.read(world.QUEUE), time.monotonic()
        if row is None:
            return None
        time.sleep(random.uniform(0, 0.05))
        key = self.hand_out(row)
        self.stalls[row.pk] = max(self.stalls.get(row.pk, 0), time.monotonic() - began)
        return row.pk, key

    def put(self, row_id: int, key: str, reply: str) -> bool:
        with transaction.atomic(using="xqueue"):
            LegacySubmission.objects.select_for_update().get(pk=row_id)
            return super().put(row_id, key, reply)


@contextmanager
def crowd(*works):
    """Threads that go on with their work until the block is left; what one of them raises is raised here."""
    stop, errors = threading.Event(), []

    def body(work):
        try:
            while not stop.is_set():
                work()
        except Exception:
            errors.append(traceback.format_exc())
        finally:
            connections.close_all()

    threads = [threading.Thread(target=body, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield errors
    finally:
        stop.set()
        for thread in threads:
            thread.join(DEADLINE)
        assert errors == [], "\n".join(errors)


def waiting():
    """The learners whom CAPA still lets wait."""
    states = StudentModule.objects.all()
    return {state.student_id for state in states if any(entry["queuestate"] for entry in state.correct_map.values())}


def resubmit(user):
    """A learner's next attempt, through the router: the LMS stores the new key and hands the submission over."""
    row = world.submitted(user, age=timedelta(0), retired=True)  # only for what CAPA makes of it: no grader sees it
    header, body = row.xqueue_header, row.xqueue_body
    LegacySubmission.objects.filter(pk=row.pk).delete()
    assert api.queue_interface().send_to_queue(header, body) == (0, "")


def race(interval, number, shim):
    shim(HANDOFF_SETTLE_SECONDS=RACE_SETTLE, PROCESSING_DELAY_SECONDS=RACE_DELAY, COPIES="inline")
    steady, busy = range(100, 100 + number), range(500, 500 + number // 4)
    for user in [*steady, *busy]:
        world.submitted(user, age=timedelta(hours=1, seconds=user))
    xqueue = Stalling()
    new = iter(busy)

    def legacy_grader():
        time.sleep(random.uniform(0, 2 * interval))
        if (pulled := xqueue.pull()) is not None:
            time.sleep(random.uniform(0, 0.1))
            xqueue.put(*pulled, rows.RIGHT)

    def target_grader():
        if not world.grade_on_target():
            time.sleep(0.05)

    def submitter():
        time.sleep(0.1)
        if (user := next(new, None)) is not None:
            resubmit(user)

    def worker():
        outbox.drain(conf.load())
        time.sleep(0.1)

    done = []

    def second():
        if not done:
            done.append(world.run(courses=frozenset([rows.COURSE])))
        time.sleep(0.05)

    with crowd(legacy_grader, legacy_grader, target_grader, target_grader, submitter, worker, second) as errors:
        document = world.run(wait_drain=True)
        until = time.monotonic() + DEADLINE
        while (waiting() or not done or next(new, None) is not None) and time.monotonic() < until and not errors:
            time.sleep(0.05)
    return document, done[0], xqueue, steady


@pytest.mark.parametrize(
    ("interval", "number"),
    [
        (0.01, 16),
        (0.1, 16),
        pytest.param(0.01, 200, marks=pytest.mark.long),
        pytest.param(0.1, 200, marks=pytest.mark.long),
        pytest.param(1.0, 200, marks=pytest.mark.long),
    ],
)
def test_every_learner_gets_one_result(live, shim, interval, number):
    document, other, xqueue, steady = race(interval, number, shim)
    assert waiting() == set()
    moved = LedgerEntry.objects.filter(move=Move.WATCHED)
    assert moved.count() >= 1
    assert document.content["released"] + other.content["released"] == moved.count()
    stalled = {row_id for row_id, seconds in xqueue.stalls.items() if seconds > RACE_SETTLE}
    double = set(LedgerEntry.objects.filter(double_authority=True).values_list("legacy_id", flat=True))
    assert double <= stalled
    excused = {int(entry.learner, 16) for entry in LedgerEntry.objects.filter(legacy_id__in=double)}
    delivered, systems = world.deliveries(), world.systems()
    for user in steady:
        assert delivered[user, True] == 1, user
        # Two pulls of one row, one saved after the other's result, make XQueue itself deliver twice: not two systems.
        assert len(systems[user]) == 1 or user in excused, user
    for entry in moved.exclude(double_authority=True):
        assert LegacySubmission.objects.get(pk=entry.legacy_id).retired
    assert sum(world.leftovers().values()) == 0
    assert LegacySubmission.objects.filter(retired=False).count() == 0


@pytest.mark.parametrize(("kills", "number"), [(5, 6), pytest.param(50, 20, marks=pytest.mark.long)])
def test_a_killed_handoff_is_finished_by_the_next(live, kills, number):
    for user in range(1, number + 1):
        world.submitted(user)
    rows.backfill()
    reached = set()
    for kill in range(kills):
        world.submitted(100 + kill)
        command = [sys.executable, "-m", "tests.backfill.handoff.child", str(SETTLE), str(DELAY)]
        process = subprocess.Popen(command, cwd=PROJECT_ROOT, env=child_environment(), stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"ready\n"
        until = time.monotonic() + DEADLINE / 3
        while kill % 2 and not on_the_way().exists() and time.monotonic() < until:
            time.sleep(0.005)
        time.sleep(random.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        reached |= set(LedgerEntry.objects.values_list("move", flat=True))
        Run.objects.update(heartbeat_at=now() - timedelta(minutes=5))
    time.sleep(2 * DELAY)
    document = world.run()
    assert (document.content["held"], document.content["double_authority"]) == (0, 0)
    assert reached & {"held", "fenced", "released"}, "no handoff was killed on its way: this test proves nothing"
    entries = LedgerEntry.objects.all()
    assert {(entry.move, entry.authority, entry.double_authority) for entry in entries} == {
        ("watched", "target", False)
    }
    assert entries.count() == number + kills
    assert not LegacySubmission.objects.filter(retired=False).exists()
    real = ExternalGraderDetail.objects.filter(queue_name=world.QUEUE, status="pending")
    assert real.count() == number + kills
    assert sum(world.leftovers().values()) == 0
    while world.grade_on_target():
        pass
    users = [*range(1, number + 1), *range(100, 100 + kills)]
    assert world.deliveries() == {(user, True): 1 for user in users}


def child_environment():
    """The environment of this run, in which a child finds the same databases."""
    return os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONPATH": str(PROJECT_ROOT)}
