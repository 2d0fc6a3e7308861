"""
Two tabs at once: two attempts at one input, in any order of the doors, of CAPA's saves and of the worker.

Whatever the order, the attempt whose key the learner's state holds in the end is graded, and no other touches it.
"""

import itertools
import random
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth import get_user_model
from django.db import connections
from django.db.models import F
from submissions.models import ExternalGraderDetail

from migration_shim import conf
from migration_shim.copies import outbox
from migration_shim.models import LedgerEntry, LegacySubmission
from migration_shim.target import leases, results
from sandbox.lms.courseware.models import StudentModule
from sandbox.lms.models import AnonymousUserId, LearnerEffect
from tests.builders.attempts import attempt, put_course_in
from tests.builders.outbox import drain
from tests.builders.rows import COURSE, QUEUE, RIGHT, graded, reconcile

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "xqueue"])

SHORT, LONG = 30, 1000
INVALID = '{"correct": true, "score": 1, "msg": ""}'
_learners = itertools.count(900_000)


def pair(apart=None):
    """Two attempts of a new learner, of the same second or of two, or so many seconds apart."""
    user = next(_learners)
    learner = get_user_model().objects.create(pk=user, username=f"learner{user}")
    AnonymousUserId.objects.create(anonymous_user_id=f"{user:032x}", user=learner)
    at = datetime.now(tz=UTC)
    other = at + timedelta(seconds=random.choice((0, 1)) if apart is None else apart)
    return attempt(user=user, at=at, answer="x = 1\n"), attempt(user=user, at=other, answer="x = 2\n")


class Tab(threading.Thread):
    """One tab: the door after a while, and CAPA's save after another."""

    def __init__(self, one, answers):
        super().__init__()
        self.one, self.answers = one, answers
        self.waits = random.uniform(0, 0.1), random.uniform(0, 0.1)

    def run(self):
        try:
            time.sleep(self.waits[0])
            self.answers.append(self.one.send())
            time.sleep(self.waits[1])
            self.one.save()
        finally:
            connections.close_all()


class Worker(threading.Thread):
    """A worker that looks at the outbox all the time."""

    def __init__(self):
        super().__init__()
        self.over = threading.Event()

    def run(self):
        try:
            while not self.over.wait(0.05):
                outbox.drain(conf.load())
        finally:
            connections.close_all()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *error):
        self.over.set()
        self.join()


def rounds_of(number):
    """So many rounds beside a worker; the attempts, with what the doors said."""
    pairs = []
    with Worker():
        for _ in range(number):
            both, answers = pair(), []
            tabs = [Tab(one, answers) for one in random.sample(both, 2)]
            for tab in tabs:
                tab.start()
            for tab in tabs:
                tab.join()
            assert [error for error, _ in answers] == [0, 0]
            pairs.append(both)
    return pairs


def grade_all(queue):
    """Let a grader answer all that waits in a queue."""
    settings = conf.load()
    while (lease := leases.lease_next(queue, settings)[0]) is not None:
        result = results.Result(submission_id=lease.detail.submission_id, key=lease.detail.pullkey, reply=RIGHT)
        assert results.store(result, settings) == "stored"


def held_key(one):
    """The key that the learner's state waits for; None when it waits for none."""
    (entry,) = StudentModule.find(one.user, one.usage_key).correct_map.values()
    return (entry["queuestate"] or {}).get("key")


def alive(both):
    """The keys of those attempts of a pair that a grader may still be handed."""
    headers = {one.request.header for one in both}
    ids = LedgerEntry.objects.filter(raw_header__in=headers).values_list("target_submission_id", flat=True)
    rows = ExternalGraderDetail.objects.filter(submission_id__in=list(ids), status="pending")
    return list(rows.values_list("queue_key", flat=True))


def many(number):
    return pytest.param(number, marks=pytest.mark.long) if number == LONG else number


@pytest.mark.parametrize("number", [many(SHORT), many(LONG)])
def test_in_live_the_attempt_that_the_state_holds_is_graded(number, legacy, shim):
    put_course_in("live")
    pairs = rounds_of(number)
    awaited = {held_key(one) for one, _ in pairs}
    time.sleep(conf.load().hold_seconds)
    drain()
    assert all(awaited & set(alive(both)) for both in pairs)
    # A later attempt whose key is not there yet has its minute.
    LedgerEntry.objects.update(arrived_at=F("arrived_at") - timedelta(seconds=61))
    drain()
    assert all(len(alive(both)) == 1 for both in pairs)
    assert {alive(both)[0] for both in pairs} == awaited
    shim(HOLD_SECONDS=0)
    grade_all(QUEUE)
    grade_all(f"{QUEUE}.shadow")
    assert {held_key(one) for one, _ in pairs} == {None}
    assert not LearnerEffect.objects.filter(kind="reply_wiped").exists()
    # XQueue's graders do the same with the reverse shadows that are left.
    LegacySubmission.objects.filter(retired=False).update(**graded(ago=timedelta(0)))
    document, divergences = reconcile(COURSE)
    assert divergences == []
    assert document.content["double_authority"] == 0


@pytest.mark.parametrize("number", [many(SHORT), many(LONG)])
def test_in_shadow_nothing_is_made_of_it(number, legacy, shim):
    shim(COPIES="deferred")
    put_course_in("shadow")
    rounds_of(number)
    time.sleep(conf.load().hold_seconds)
    drain()
    shim(HOLD_SECONDS=0)
    LegacySubmission.objects.filter(retired=False).update(**graded(ago=timedelta(0)))
    grade_all(f"{QUEUE}.shadow")
    _, divergences = reconcile(COURSE)
    assert divergences == []
    assert LedgerEntry.objects.filter(target_leg="stored").exists()


def test_a_save_that_stalls_past_the_others_gets_its_attempt_back(legacy, shim):
    """The state held the second key when the worker looked; the first tab's save came last, and late."""
    shim(HOLD_SECONDS=0)
    put_course_in("live")
    at = datetime.now(tz=UTC)
    one, two = attempt(user=41, at=at), attempt(user=41, at=at + timedelta(seconds=1), answer="x = 2\n")
    assert (one.send(), two.send()) == ((0, ""), (0, ""))
    two.save()
    drain()
    status = ExternalGraderDetail.objects.values_list("status", flat=True).order_by("submission_id")
    assert list(status.all()) == ["retired", "pending"]
    one.save()
    drain()
    assert list(status.all()) == ["pending", "pending"]
    assert one.entry().superseded_at is None
    LedgerEntry.objects.update(arrived_at=at - timedelta(minutes=2))
    drain()
    assert list(status.all()) == ["pending", "retired"]


@pytest.mark.parametrize("first", [0, 1])
def test_an_attempt_whose_key_is_not_saved_yet_is_left_alone(first, legacy, shim):
    shim(HOLD_SECONDS=0)
    put_course_in("live")
    at = datetime.now(tz=UTC)
    both = attempt(user=42, at=at), attempt(user=42, at=at + timedelta(seconds=1), answer="x = 2\n")
    both[first].send()
    both[first].save()
    both[1 - first].send()
    drain()
    assert set(ExternalGraderDetail.objects.values_list("status", flat=True)) == {"pending"}


def test_without_a_state_only_what_is_a_minute_older_is_replaced(legacy):
    put_course_in("live")
    one, two = attempt(user=43), attempt(user=43, at=datetime.now(tz=UTC) + timedelta(seconds=1))
    one.send()
    two.send()
    drain()
    assert set(ExternalGraderDetail.objects.values_list("status", flat=True)) == {"pending"}
    LedgerEntry.objects.filter(pk=one.entry().pk).update(arrived_at=datetime.now(tz=UTC) - timedelta(minutes=5))
    LedgerEntry.objects.update(supersession_due=datetime.now(tz=UTC))
    drain()
    rows = ExternalGraderDetail.objects.order_by("submission_id")
    assert list(rows.values_list("status", flat=True)) == ["retired", "pending"]


@pytest.mark.parametrize("awaited", [0, 1])
def test_an_invalid_reply_to_the_attempt_left_behind_wipes_nothing(awaited, legacy, shim):
    """CAPA resets the learner's result for such a reply, whatever its key."""
    shim(HOLD_SECONDS=0)
    put_course_in("live")
    both = pair(apart=1)
    for one in both:
        one.send()
    held, other = both[awaited], both[1 - awaited]
    held.save()
    settings, left = conf.load(), other.entry().target_submission_id
    while (lease := leases.lease_next(QUEUE, settings)[0]) is not None:
        reply = INVALID if lease.detail.submission_id == left else RIGHT
        result = results.Result(submission_id=lease.detail.submission_id, key=lease.detail.pullkey, reply=reply)
        assert results.store(result, settings) == "stored"
    assert not LearnerEffect.objects.filter(kind="reply_wiped").exists()
    (entry,) = StudentModule.find(held.user, held.usage_key).correct_map.values()
    assert (entry["correctness"], entry["queuestate"]) == ("correct", None)
    assert other.entry().superseded_at is not None
