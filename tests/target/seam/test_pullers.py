"""Many graders at one queue: every row once, no "empty" while rows wait, no finished grade refused."""

import functools
import json
import os
import time

import pytest
from django.db import connection
from submissions.models import ExternalGraderDetail, Score

from migration_shim.conf import load
from migration_shim.models import LedgerEntry
from migration_shim.target import leases, results
from sandbox.grader import GraderClient, ServerEntry
from tests.builders import pulling, rows
from tests.builders.rows import fresh  # noqa: F401
from tests.builders.watchers import COMMITTED, SEAM_URL, account

pytestmark = COMMITTED


def puller(isolation, settings, grade_every):
    """A grader that calls the app's own functions on a connection of its own; it grades every so many-th row."""
    if connection.vendor == "mysql":
        with connection.cursor() as cursor:
            cursor.execute(f"SET SESSION TRANSACTION ISOLATION LEVEL {isolation}")

    def pull():
        began = time.monotonic()
        lease, given_up = leases.lease_next(pulling.QUEUE, settings)
        ended = time.monotonic()
        assert not given_up
        if lease is None:
            return pulling.Poll(began=began, ended=ended, submission_id=None)
        submission_id, taken = lease.detail.submission_id, None
        assert lease.entry is not None and lease.entry.target_submission_id == submission_id
        if submission_id % grade_every == 0:
            result = results.Result(submission_id=submission_id, key=lease.detail.pullkey, reply=rows.RIGHT)
            taken = results.store(result, settings) == "stored"
        return pulling.Poll(began=began, ended=ended, submission_id=submission_id, taken=taken)

    return pull


def check(found, ids, deaths=0):
    """Nothing went wrong, and the database says the same."""
    assert found.errors == []
    assert found.handed_out == set(ids)
    assert (found.twice, found.false_empties, found.refused) == (0, 0, 0)
    graded = sum(poll.taken is True for poll in found.polls)
    details = ExternalGraderDetail.objects.filter(submission_id__in=ids)
    assert details.filter(status="retired").count() == Score.objects.count() == graded > 0
    assert details.filter(status="pulled", num_failures=deaths).count() == len(ids) - graded
    assert set(LedgerEntry.objects.values_list("leases", flat=True)) == {1}


@pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ"])
def test_forty_graders_and_a_thousand_rows(isolation):
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has no isolation levels; the next test is its own")
    ids = pulling.fill(1000)
    every = 1 if "MIGRATION_SHIM_TEST_LONG" in os.environ else 5
    make = functools.partial(puller, isolation, load(), every)
    check(pulling.crowd([make] * 40), ids)


def test_eight_graders_and_a_hundred_rows():
    ids = pulling.fill(100)
    make = functools.partial(puller, "READ COMMITTED", load(), 2)
    check(pulling.crowd([make] * 8), ids)


@pytest.mark.parametrize("deaths", [0, 1], ids=["fresh rows", "expired leases"])
def test_without_skip_locked_too(monkeypatch, deaths):
    """As on MySQL before 8.0: candidates are read, and an UPDATE with conditions decides."""
    monkeypatch.setattr(type(connection.features), "has_select_for_update_skip_locked", False)
    ids = pulling.fill(100)
    if deaths:
        ExternalGraderDetail.objects.update(status="pulled", pullkey="k")
    make = functools.partial(puller, "REPEATABLE READ", load(), 2)
    check(pulling.crowd([make] * 8), ids, deaths)


def test_graders_over_http(servers):
    """Each with an account of its own: a second session of one account ends the first."""
    ids = pulling.fill(100)

    def make(name):
        client = GraderClient(ServerEntry(url=SEAM_URL, username=name, password="pw", queues=()), timeout=20)
        assert client.login()

        def pull():
            began = time.monotonic()
            document = client.pull(pulling.QUEUE)
            ended = time.monotonic()
            if document is None:
                return pulling.Poll(began=began, ended=ended, submission_id=None)
            submission_id = json.loads(document["xqueue_header"])["submission_id"]
            taken = client.put(document["xqueue_header"], rows.RIGHT)
            return pulling.Poll(began=began, ended=ended, submission_id=submission_id, taken=taken)

        return pull

    names = [f"grader{number}" for number in range(8)]
    for name in names:
        account(name)
    check(pulling.crowd([functools.partial(make, name) for name in names]), ids)


def test_the_log_of_polls_tells_what_went_wrong():
    """What the tests above look at: a row twice, an "empty" while rows wait, a refusal."""
    polls = [
        pulling.Poll(began=0, ended=1, submission_id=1, taken=True),
        pulling.Poll(began=0, ended=2, submission_id=1, taken=False),
        pulling.Poll(began=0, ended=3, submission_id=None),
        pulling.Poll(began=4, ended=5, submission_id=2),
        pulling.Poll(began=3, ended=6, submission_id=None),
    ]
    found = pulling.Crowd(polls=polls, errors=[], seconds=6)
    assert (found.handed_out, found.twice, found.false_empties, found.refused) == ({1, 2}, 1, 1, 1)
