"""
Many learners at once, with copies that fail, requests that are sent again, and a phase that flips under way.

The ordinary run is a small one; MIGRATION_SHIM_TEST_LONG=1 makes it 8 threads with 500 submissions each.
"""

import hashlib
import json
import os
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, connections
from requests.exceptions import ConnectionError as NoConnection

from migration_shim import toggles
from migration_shim.copies import write as copies
from migration_shim.core.data import ExitCode
from migration_shim.core.errors import TargetWriteFailed
from migration_shim.models import LedgerEntry
from migration_shim.target import writer
from tests.builders import routed_course as route
from tests.builders import rows
from tests.builders.outbox import drain

pytestmark = [
    pytest.mark.django_db(databases=["default", "xqueue"], transaction=True),
    pytest.mark.usefixtures("course"),
    pytest.mark.timeout(1800 if os.environ.get("MIGRATION_SHIM_TEST_LONG") else 240),
]

THREADS = 8


def each() -> int:
    """Submissions a thread."""
    if os.environ.get("MIGRATION_SHIM_TEST_LONG"):
        return 500 if connection.vendor == "mysql" else 100
    return 40 if connection.vendor == "mysql" else 15


def unlucky(name: str, percent: int, salt: str) -> bool:
    """Whether this one is among so many percent; the same in every run."""
    return int(hashlib.sha256((salt + name).encode()).hexdigest(), 16) % 100 < percent


def in_threads(work, number: int = THREADS) -> list:
    """``work(index)`` in so many threads at once, each with connections of its own; their results."""
    begin = threading.Barrier(number)

    def run(index: int):
        begin.wait()
        try:
            return work(index)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(run, range(number)))


def submit_all(number: int) -> tuple[list[route.Sent], list[route.Sent], list]:
    """``number`` submissions a thread, 2 % of them sent again: (all, those sent twice, the refusals)."""

    def work(thread: int):
        sent, again, refused = [], [], []
        for index in range(number):
            one = route.submission(1000 * (thread + 1) + index)
            sent.append(one)
            tries = 2 if unlucky(one.identity, 2, "again") else 1
            again += [one] * (tries - 1)
            refused += [reply for reply in (route.send(one) for _ in range(tries)) if reply[0]]
        return sent, again, refused

    results = in_threads(work)
    return tuple([one for result in results for one in result[part]] for part in range(3))


@pytest.fixture
def faults(monkeypatch, settings):
    """Make the copies of 10 % of the submissions fail, in the database or in the file storage, until ``mend()``."""
    # The breaker would pause all copies for a while, which hides most of the failures; test_breaker.py is about it.
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"BREAKER_FAILURES": 10**6}
    broken = Faults()
    insert = writer.insert

    def failing_insert(placement, *args, **kwargs):
        if placement.student_id.startswith("shadow:"):
            broken.hit(placement.queue_key.removeprefix("shadow:"), TargetWriteFailed("injected"))
        return insert(placement, *args, **kwargs)

    class FailingClient(copies.LegacyClient):
        def submit(self, header, body, files=None, **kwargs):
            try:
                broken.hit(json.loads(header)["lms_key"].removeprefix("shadow:"), NoConnection())
            except NoConnection:
                return 1, "cannot connect to server"
            return super().submit(header, body, files, **kwargs)

    monkeypatch.setattr(writer, "insert", failing_insert)
    monkeypatch.setattr(copies, "LegacyClient", FailingClient)
    return broken


class Faults:
    """Which copies fail, and which have failed."""

    def __init__(self) -> None:
        self.on = True
        self.failed: set[str] = set()

    def is_for(self, identity: str) -> bool:
        return unlucky(identity, 10, "copy")

    def hit(self, identity: str, error: Exception) -> None:
        if self.on and self.is_for(identity):
            self.failed.add(identity)
            raise error

    def mend(self) -> None:
        self.on = False


@pytest.mark.parametrize("copies_are", ["deferred", "inline"])
def test_in_shadow_no_submission_is_lost_and_the_backfill_finds_every_failed_copy(settings, faults, copies_are):
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"COPIES": copies_are}
    route.start_in("shadow")
    number = each() if copies_are == "deferred" else each() // 2  # deferred is what an LMS has
    sent, again, refused = submit_all(number)
    assert refused == []
    assert again
    everything = {one.identity for one in sent}
    assert len(everything) == THREADS * number
    held = route.holdings()

    # Legacy is authoritative: one row of each that nothing has replaced, though some were sent twice.
    assert held.legacy_live == {one.header: 1 for one in sent}
    assert route.sql("xqueue", "SELECT COUNT(*) FROM queue_submission") == [(len(sent) + len(again),)]
    assert held.real == {}

    if copies_are == "deferred":
        drain()
    expected = {identity for identity in everything if faults.is_for(identity)}
    assert faults.failed == expected
    held = route.holdings()
    assert len(expected) > len(everything) * 0.04
    assert held.shadows == {f"shadow:{identity}": 1 for identity in everything - expected}
    assert set(held.ledger) == everything
    for identity, entry in held.ledger.items():
        assert entry[:3] == ("shadow", "legacy", "stored")
        assert entry[3:] == (("failed", "injected") if identity in expected else ("stored", ""))

    faults.mend()
    document = rows.backfill(courses=frozenset([route.COURSE]))
    assert document.exit_code == ExitCode.OK
    assert document.content["written"] == len(expected)
    held = route.holdings()
    assert held.shadows == {f"shadow:{identity}": 1 for identity in everything}
    assert {entry[2:4] for entry in held.ledger.values()} == {("stored", "stored")}
    assert held.legacy_live == {one.header: 1 for one in sent}
    assert orphans() == (0, 0)


def test_in_live_no_submission_is_lost_and_every_failed_reverse_shadow_is_on_the_ledger(faults):
    route.start_in("live")
    sent, again, refused = submit_all(each())
    assert refused == []
    assert again
    everything = {one.identity for one in sent}
    held = route.holdings()

    assert held.real == {one.key: 1 for one in sent}
    assert held.legacy_live == held.reverse == {}
    assert held.shadows == {}

    drain()
    held = route.holdings()
    expected = {identity for identity in everything if faults.is_for(identity)}
    assert faults.failed == expected
    assert held.reverse == {f"shadow:{identity}": 1 for identity in everything - expected}
    assert set(held.ledger) == everything
    for identity, entry in held.ledger.items():
        assert entry[:2] == ("live", "target")
        assert entry[2:] == ("failed" if identity in expected else "stored", "stored", "")
    assert orphans() == (0, 0)

    faults.mend()
    drain()
    assert route.holdings().reverse == {f"shadow:{identity}": 1 for identity in everything}


def orphans() -> tuple[int, int]:
    """Submissions of the target without a grader's row, and student items without a submission."""
    submissions = route.sql(
        "default",
        "SELECT COUNT(*) FROM submissions_submission s LEFT JOIN submissions_externalgraderdetail d"
        " ON d.submission_id = s.id WHERE d.id IS NULL",
    )
    items = route.sql(
        "default",
        "SELECT COUNT(*) FROM submissions_studentitem i LEFT JOIN submissions_submission s"
        " ON s.student_item_id = i.id WHERE s.id IS NULL",
    )
    return submissions[0][0], items[0][0]


def test_flips_of_the_phase_under_way_lose_nothing():
    """From shadow to live and back a few times, with a permit each time, and at last to legacy at once."""
    route.start_in("shadow")
    stop = threading.Event()
    steps = ["live", "shadow", "live", "shadow", "live", "legacy"]

    def work(thread: int):
        if thread == 0:
            flip(steps, stop)
            return [], []
        sent, refused = [], []
        while not stop.is_set() or len(sent) % 3:
            one = route.submission(10_000 * thread + len(sent))
            sent.append(one)
            reply = route.send(one)
            refused += [reply] if reply[0] else []
        return sent, refused

    results = in_threads(work, 5)
    sent = [one for result in results for one in result[0]]
    assert [reply for result in results for reply in result[1]] == []
    assert len({one.identity for one in sent}) == len(sent) > 20
    drain()
    held = route.holdings()

    phases = Counter(held.ledger[one.identity][0] if one.identity in held.ledger else "legacy" for one in sent)
    assert set(phases) >= {"shadow", "live"}
    for one in sent:
        legacy, real = held.legacy_live.get(one.header, 0), held.real.get(one.key, 0)
        shadow, reverse = (side.get(f"shadow:{one.identity}", 0) for side in (held.shadows, held.reverse))
        entry = held.ledger.get(one.identity)
        if entry is None:  # phase legacy keeps no entry
            assert (legacy, real, shadow, reverse) == (1, 0, 0, 0)
        elif entry[0] == "shadow":
            assert entry == ("shadow", "legacy", "stored", "stored", "")
            assert (legacy, real, shadow, reverse) == (1, 0, 1, 0)
        else:
            assert entry == ("live", "target", "stored", "stored", "")
            assert (legacy, real, shadow, reverse) == (0, 1, 0, 1)
    assert route.sql("default", "SELECT phase FROM migration_shim_coursephase") == [("legacy",)]
    changes = route.sql("default", "SELECT step_from, step_to FROM migration_shim_phasechange ORDER BY id")
    assert changes == list(zip(["shadow", *steps], steps, strict=False))


def flip(steps: list[str], stop: threading.Event) -> None:
    """Make each step after so many further submissions, then let the others end."""
    try:
        for step in steps:
            wait_for_more(12)
            toggles.new_work_cycle()
            route.into_phase(step)
        wait_for_more(12, in_legacy=True)
    finally:
        stop.set()


def wait_for_more(number: int, in_legacy: bool = False) -> None:
    """Wait until so many more submissions are there; in phase legacy the ledger does not see them."""
    pause = threading.Event()

    def there() -> int:
        if in_legacy:
            return route.sql("xqueue", "SELECT COUNT(*) FROM queue_submission")[0][0]
        return LedgerEntry.objects.count()

    start = there()
    while there() < start + number:
        pause.wait(0.02)
