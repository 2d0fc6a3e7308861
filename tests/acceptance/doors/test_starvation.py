"""
Sixteen learners at once at an LMS of two workers, through each door: nobody is refused, nothing is lost, none is slow.

The doors are measured against the same LMS submitting straight to XQueue, with the platform's own client code. The HTTP
door has a process of its own; an LMS that posted to its own two workers would wait for itself.
"""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from migration_shim.copies import write as copies
from migration_shim.core.data import Leg, Phase
from migration_shim.models import LedgerEntry
from sandbox.lms.courseware.models import StudentModule
from sandbox.servers import running_lms
from tests.acceptance.doors.browser import logged_in
from tests.acceptance.doors.conftest import REVERSE, SHADOW
from tests.builders.rows import COURSE, PAYLOAD, QUEUE, backfill, enter, fresh, usage_key  # noqa: F401

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "xqueue"])

LEARNERS = 16
USAGE = usage_key("2dbfc989e430f3f666f0cb108c49bd4b")
ACCOUNT = "lms:lms-password"


@pytest.fixture(scope="module")
def environment(xqueue):
    """Copies are published, as in an LMS, to a broker that no worker reads: a test plays the worker."""
    return {"MIGRATION_SHIM_XQUEUE_URL": xqueue.url, "MIGRATION_SHIM_BROKER_URL": "memory://"}


@pytest.fixture(scope="module")
def straight(environment, xqueue):
    """An LMS without the app's doors: the platform's client posts to XQueue."""
    env = {**environment, "SANDBOX_DOOR": "http", "SANDBOX_DOOR_URL": xqueue.url}
    with running_lms(env, workers=2, threads=1) as server:
        yield server


@pytest.fixture(scope="module")
def python_door(environment):
    """An LMS that has the Python door."""
    with running_lms(environment, workers=2, threads=1) as server:
        yield server


@pytest.fixture(scope="module")
def http_door(environment):
    """An LMS whose platform client posts to the HTTP door, and the door beside it."""
    door_env = {**environment, "MIGRATION_SHIM_SUBMIT_DOOR": "1", "SANDBOX_SUBMIT_USERS": ACCOUNT}
    with running_lms(door_env, workers=1, threads=8) as door:
        env = {**environment, "SANDBOX_DOOR": "http", "SANDBOX_DOOR_URL": f"{door.url}/migration_shim"}
        with running_lms(env, workers=2, threads=1) as server:
            yield server


def submit_all(server, who):
    """All learners submit at the same moment; what they are told, and how long the slowest waited (seconds)."""
    # Logging in at once also makes sure that both workers have served before anything is measured.
    browsers = logged_in(server, [f"{who}{number}" for number in range(LEARNERS)], LEARNERS)
    start = threading.Barrier(LEARNERS)

    def submit(browser):
        start.wait(30)
        return browser.submit(USAGE)

    with ThreadPoolExecutor(LEARNERS) as pool:
        told = list(pool.map(submit, browsers))
    for browser in browsers:
        browser.session.close()
    return [words for words, _ in told], max(seconds for _, seconds in told)


@pytest.mark.parametrize("phase", [Phase.SHADOW, Phase.LIVE])
@pytest.mark.parametrize("door", ["python_door", "http_door"])
def test_sixteen_learners_at_an_lms_of_two_workers(systems, straight, request, door, phase):
    server = request.getfixturevalue(door)
    enter(phase)
    accepted, baseline = submit_all(straight, "straight")
    assert accepted == ["queued"] * LEARNERS
    assert len(systems.legacy_rows()) == LEARNERS
    assert (systems.target_rows(), LedgerEntry.objects.count()) == ([], 0)
    systems.forget_legacy_rows()

    told, slowest = submit_all(server, "door")
    assert told == ["queued"] * LEARNERS
    entries = LedgerEntry.objects.filter(phase=phase)
    assert entries.values("learner").distinct().count() == LEARNERS
    keys = {
        entry["queuestate"]["key"]
        for state in StudentModule.objects.filter(student__username__startswith="door")
        for entry in state.correct_map.values()
    }
    assert len(keys) == LEARNERS
    if phase is Phase.SHADOW:
        rows = systems.legacy_rows()
        assert [(row["queue_name"], row["retired"]) for row in rows] == [(QUEUE, 0)] * LEARNERS
        assert all(any(key in row["xqueue_header"] for row in rows) for key in keys)
        assert set(entries.values_list("target_leg", flat=True)) == {Leg.MISSING}
        assert backfill().content["written"] == LEARNERS
        assert [row.status for row in systems.target_rows(SHADOW)] == ["pending"] * LEARNERS
    else:
        assert {row.queue_key for row in systems.target_rows(QUEUE)} == keys
        assert systems.legacy_rows() == []
        for identity in entries.values_list("identity", flat=True):
            assert copies.write_reverse(identity) == "stored"
        rows = systems.legacy_rows()
        assert [(row["queue_name"], row["retired"]) for row in rows] == [(REVERSE, 0)] * LEARNERS
    # The door's own work is a few statements; five times the whole of a straight submission is far more than that.
    assert slowest <= 5 * baseline + 1
