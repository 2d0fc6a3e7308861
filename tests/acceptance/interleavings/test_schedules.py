"""Schedules: how they are written, and that all of them are there."""

import pytest

from tests.acceptance.interleavings import schedules
from tests.acceptance.interleavings.schedules import Turn, written


def test_a_schedule_is_read_as_it_was_written():
    schedule = (Turn(0, 5), Turn(1, 3, dies=True), Turn(0))
    assert written(schedule) == "A5 B3! A"
    assert schedules.parsed("A5 B3! A") == schedule


@pytest.mark.parametrize("text", ["C5", "A-1", "5A", "A5!!"])
def test_what_is_no_schedule_is_refused(text):
    with pytest.raises(ValueError, match="no turn"):
        schedules.parsed(text)


def test_all_schedules_of_three_steps_and_of_two():
    found = [written(schedule) for schedule in schedules.every((3, 2))]
    assert found == [
        *("A B", "B A"),
        *("A1 B A", "A1! B", "A2 B A", "A2! B", "B1 A B", "B1! A"),
        *("A1 B1 A B", "A1 B1! A", "A2 B1 A B", "A2 B1! A", "B1 A1 B A", "B1 A1! B", "B1 A2 B A", "B1 A2! B"),
    ]


def test_some_are_the_same_for_the_same_seed_and_begin_with_both_orders():
    one = schedules.some((20, 20), seed=1, number=50)
    assert one == schedules.some((20, 20), seed=1, number=50)
    assert one != schedules.some((20, 20), seed=2, number=50)
    assert len(set(one)) == 50
    assert [written(schedule) for schedule in one[:2]] == ["A B", "B A"]


def test_a_pattern_stands_for_all_places_of_its_star():
    assert [written(one) for one in schedules.alike("A* B A", (3, 2))] == ["A1 B A", "A2 B A"]
    assert [written(one) for one in schedules.alike("B*! A", (3, 8), stride=3)] == ["B1! A", "B4! A", "B7! A"]


def test_some_of_few_are_all():
    assert schedules.some((3, 2), seed=1, number=50) == list(schedules.every((3, 2)))
