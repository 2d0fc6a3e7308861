"""Waits that end for lack of progress, and not for lack of time."""

import pytest

from sandbox import waiting


class Clock:
    """A clock that a test moves: one second a sleep."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += 1


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(waiting, "time", clock)
    return clock


def test_a_wait_goes_on_as_long_as_something_changes(clock):
    numbers = iter(range(1000))
    assert waiting.until("them all", lambda: next(numbers), lambda seen: seen == 900, seconds=5) == 900
    assert clock.now == 900


def test_a_wait_ends_when_nothing_changes_and_says_what_it_saw(clock):
    seen = iter([7, 6] + [6] * 100)
    with pytest.raises(waiting.NoProgress, match=r"waited for the copies: .* for 5 s; last seen: 6 owed"):
        waiting.until("the copies", lambda: f"{next(seen)} owed", lambda seen: seen == "0 owed", seconds=5)
    assert clock.now == 6


def test_what_is_there_at_once_is_not_waited_for(clock):
    assert waiting.until("it", lambda: 1, bool, seconds=0) == 1
    assert clock.now == 0


def test_a_long_wait_says_what_it_sees(clock):
    numbers, said = iter(range(1000)), []
    waiting.until("them", lambda: next(numbers), lambda seen: seen == 40, seconds=5, say=said.append)
    assert said == ["waiting for them: 15", "waiting for them: 30"]
