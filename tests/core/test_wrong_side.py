"""When a legacy row came to the wrong side, by the log of a course's phases: edges to the second."""

from datetime import UTC, datetime, timedelta

import pytest

from migration_shim.core.data import Phase
from migration_shim.core.wrong_side import SKEW, target_phase_at

START = datetime(2026, 11, 29, 12, tzinfo=UTC)
GRACE = timedelta(seconds=30)
DAY = timedelta(days=1)
MOMENT = timedelta(microseconds=1)


def log(*phases):
    """A course that goes on every day at noon."""
    return [(START + day * DAY, Phase(phase)) for day, phase in enumerate(phases)]


def found(changes, at):
    return target_phase_at(changes, at, GRACE)


@pytest.mark.parametrize("phases", [(), ("shadow",), ("shadow", "legacy", "shadow")])
def test_a_course_that_was_never_the_targets_has_no_wrong_side(phases):
    assert found(log(*phases), START + 10 * DAY) is None


def test_what_a_door_may_have_begun_before_the_step_is_right():
    changes = log("shadow", "live")
    edge = START + DAY + GRACE + SKEW
    assert (found(changes, edge - MOMENT), found(changes, edge)) == (None, Phase.LIVE)
    assert found(changes, START) is None


def test_what_came_at_the_way_back_is_right():
    changes = log("live", "legacy")
    edge = START + DAY - SKEW
    assert (found(changes, edge - MOMENT), found(changes, edge)) == (Phase.LIVE, None)
    assert found(changes, START + 3 * DAY) is None


def test_between_live_and_complete_there_is_no_edge():
    changes = log("live", "complete", "live", "complete")
    for day, phase in ((1, Phase.COMPLETE), (2, Phase.LIVE), (3, Phase.COMPLETE)):
        assert found(changes, START + day * DAY) is phase
        assert found(changes, START + day * DAY - MOMENT) is not phase
    assert found(changes, START + 9 * DAY) is Phase.COMPLETE


def test_every_interval_counts():
    changes = log("live", "legacy", "shadow", "live", "shadow")
    hour = timedelta(hours=1)
    inside = [found(changes, START + day * DAY + hour) for day in range(5)]
    assert inside == [Phase.LIVE, None, None, Phase.LIVE, None]


def test_a_step_to_the_same_phase_begins_nothing_new():
    changes = log("live", "live")
    assert found(changes, START + DAY + MOMENT) is Phase.LIVE


def test_an_interval_shorter_than_the_doubt_has_no_inside():
    changes = [(START, Phase.LIVE), (START + GRACE + 2 * SKEW, Phase.LEGACY)]
    assert all(found(changes, START + second * timedelta(seconds=1)) is None for second in range(400))
