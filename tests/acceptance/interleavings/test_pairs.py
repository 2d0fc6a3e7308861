"""
Pairs of operations that meet, and what must hold whoever goes first.

What fails prints a line ``INTERLEAVING="..."``. Put before the command, it plays that one schedule again
(``test_again``); with a number in place of the schedule, so many: ``INTERLEAVING="live: submit + submit / 200"``.
"""

import os

import pytest

from tests.acceptance.interleavings import pairs, schedules
from tests.acceptance.interleavings.conftest import needs_mariadb
from tests.acceptance.interleavings.explorer import Explorer, Pair
from tests.acceptance.interleavings.operations import LEGACY, LIVE, SHADOW
from tests.acceptance.interleavings.progress import Progress
from tests.acceptance.interleavings.snapshots import Clock, fingerprint

pytestmark = [needs_mariadb, pytest.mark.django_db(databases=["default", "xqueue"], transaction=True)]
LONG = bool(os.environ.get("MIGRATION_SHIM_TEST_LONG"))
#: The long form goes on where the last one has stopped, and stops after so long.
SECONDS = float(os.environ.get("MIGRATION_SHIM_INTERLEAVINGS_SECONDS", "7200"))

#: What was found once, and the few schedules among which it shows; of the many steps of an echo not every one.
FOUND = {
    "two attempts replace each other": (Pair("submit", "submit", LIVE), "A* B A", 1),
    "a verdict is asked for while a reconcile is at work": (Pair("gate", "reconcile", SHADOW), "B* A B", 4),
    "a permit is older than what a reconcile has found": (Pair("gate", "reconcile that fails", SHADOW), "A* B A", 4),
    "a course steps by hand past what a reconcile has found": (
        Pair("flag flip", "reconcile that fails", SHADOW),
        "B* A B",
        20,
    ),
    "a register is applied while a reconcile stores": (Pair("register", "reconcile", SHADOW), "A* B A", 1),
    "an echo dies between lease and result": (Pair("echo", "copy", SHADOW), "A*! B", 5),
    "a newer attempt looks for older ones while one is on its way back": (
        Pair("submit", "return", LEGACY),
        "A5 B*! A",
        39,
    ),
    "a return dies with a row on legacy that a newer attempt did not see": (
        Pair("submit", "return", LEGACY),
        "A4 B*! A",
        47,
    ),
    "a worker looks at attempts of which one is owed its shadow": (Pair("submit", "worker", SHADOW), "A* B A", 6),
    "a watch looks before the LMS has saved the key of a newer attempt": (Pair("submit", "watch", LEGACY), "A* B A", 9),
    "router and linker insert the same entry": (Pair("submit", "reconcile", SHADOW), "A* B A", 1),
}


@pytest.fixture
def meet(stage, monkeypatch, settings):
    """Open the explorer of a pair."""
    return lambda pair: Explorer(stage, pair, Clock(monkeypatch), monkeypatch, settings)


@pytest.mark.parametrize("pair, pattern, stride", FOUND.values(), ids=FOUND)
def test_what_was_found_once(meet, pair, pattern, stride):
    with meet(pair) as explorer:
        steps = explorer.steps()
        both_orders = [schedules.parsed("A B"), schedules.parsed("B A")]
        found = explorer.explore([*both_orders, *schedules.alike(pattern, steps, 1 if LONG else stride)])
    assert not found.broken, str(found)


def test_the_same_schedule_is_the_same_run_and_ends_alike(meet):
    with meet(Pair("submit", "handoff, settle", LIVE)) as explorer:
        for text in ("A B", "A9 B4 A", "B5 A12! B", "A14 B9! A"):
            ends = set()
            for _ in range(3):
                played = explorer.play(schedules.parsed(text))
                ends.add((str([(one.steps, one.died, repr(one.error)) for one in played]), fingerprint()))
            assert len(ends) == 1, text


@pytest.mark.skipif(LONG, reason="the long form plays more of each")
@pytest.mark.parametrize("pair, number", pairs.ORDINARY, ids=str)
def test_some_schedules(meet, pair, number):
    with meet(pair) as explorer:
        found = explorer.explore(schedules.some(explorer.steps(), pairs.SEED, number))
    assert not found.broken, str(found)


@pytest.mark.long
@pytest.mark.timeout(SECONDS + 600)
def test_every_schedule_of_the_core_and_some_of_every_other_pair(meet):
    progress = Progress(SECONDS)
    for pair in pairs.all_pairs():
        if progress.is_over():
            break
        if progress.is_done(pair):
            continue
        with meet(pair) as explorer:
            meeting = explorer.meeting()
            if pairs.is_core(pair):
                wanted = schedules.every(meeting.steps, meeting)
            else:
                wanted = schedules.some(meeting.steps, pairs.SEED, pairs.SEEDED)
            progress.go_on(explorer, list(wanted))
    print(progress.summary())
    assert not progress.broken(), "\n".join(progress.broken())


@pytest.mark.skipif("INTERLEAVING" not in os.environ, reason="plays again what INTERLEAVING names")
def test_again(meet):
    name, _, text = os.environ.get("INTERLEAVING", "").partition(" / ")
    with meet(Pair.parsed(name)) as explorer:
        steps = explorer.steps()
        wanted = schedules.some(steps, pairs.SEED, int(text)) if text.isdigit() else [schedules.parsed(text)]
        found = explorer.explore(wanted)
    print(f"steps {steps}\n{found}")
    assert not found.broken, str(found)
