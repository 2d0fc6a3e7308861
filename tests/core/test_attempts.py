"""Which attempts at one input are replaced, by the learner's state and by time."""

from datetime import UTC, datetime, timedelta

import pytest

from migration_shim.core.supersession import STALL, Attempt, Queued, submission_time, superseded

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def made(number, key, ago, *, alive=True, routed=True):
    return Attempt(name=number, key=key, began=NOW - ago, number=number if routed else None, alive=alive)


ONE, TWO = made(1, "k1", 4 * SECOND), made(2, "k2", 3 * SECOND)
OLD = made(1, "k1", 2 * STALL)
CASES = {
    "the later key is held": ((ONE, TWO), Queued(key="k2"), {1}, None),
    "the earlier key is held": ((ONE, TWO), Queued(key="k1"), set(), TWO.began + STALL),
    "the earlier key is held, and the LMS had its minute": (
        (OLD, made(2, "k2", 1.5 * STALL)),
        Queued(key="k1"),
        {2},
        None,
    ),
    "the earlier key is held, and legacy has the later one": (
        (ONE, made(2, "k2", 3 * SECOND, alive=False)),
        Queued(key="k1"),
        set(),
        TWO.began + STALL,
    ),
    "no key is held yet": ((ONE, TWO), Queued(key=None), set(), ONE.began + STALL),
    "no key is held any more": ((OLD, TWO), Queued(key=None), {1}, None),
    "an unknown key is held": ((ONE,), Queued(key="k9"), set(), ONE.began + STALL),
    "one key": ((ONE, made(2, "k1", 3 * SECOND)), Queued(key="k1"), {1}, None),
    "one key, and nobody can look": ((ONE, made(2, "k1", 3 * SECOND)), None, {1}, None),
    "nobody can look": ((ONE, TWO), None, set(), None),
    "nobody can look, and it is a minute older": ((OLD, TWO), None, {1}, None),
    "the later one is graded": ((ONE, made(2, "k2", 3 * SECOND, alive=False)), Queued(key="k2"), {1}, None),
    "only what is alive": ((made(1, "k1", 4 * SECOND, alive=False), TWO), Queued(key="k2"), set(), None),
    "alone": ((OLD,), Queued(key=None), set(), None),
    "ids decide, whatever the clocks say": (
        (made(1, "k1", SECOND), made(2, "k2", 9 * SECOND)),
        Queued(key="k2"),
        {1},
        None,
    ),
    "imported ones go by arrival": (
        (made(9, "k1", 9 * SECOND, routed=False), made(2, "k2", SECOND)),
        Queued(key="k2"),
        {9},
        None,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_replaced(case):
    attempts, state, gone, again = CASES[case]
    for order in (attempts, attempts[::-1]):
        assert superseded(order, state, NOW) == (gone, again)


SAID = {
    '{"anonymous_student_id": "a", "submission_time": "20261129120000"}': "20261129120000",
    '{"submission_time": 20261129120000}': "",
    "{}": "",
    "": "",
    '["submission_time"]': "",
    "{": "",
    "[" * 100_000: "",
}


@pytest.mark.parametrize("text", SAID, ids=lambda text: text[:20])
def test_when_it_was_submitted_is_read_or_empty(text):
    assert submission_time(text) == SAID[text]
