"""When the missing pairs will be there: at the course's own traffic, and no date where none can be told."""

from datetime import UTC, datetime, timedelta

import pytest

from migration_shim.core.forecast import Why, forecast

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
FOREVER = 10_000


def days(*numbers, until=NOON):
    """So many submissions on each of the days up to ``until``'s."""
    first = until.date() - timedelta(days=len(numbers) - 1)
    return [{"day": (first + timedelta(days=n)).isoformat(), "compared": number} for n, number in enumerate(numbers)]


def told(more, *numbers, have=0, lasts=FOREVER):
    return forecast(more, have, days(*numbers), NOON, counts_for_days=lasts)


def test_a_steady_course():
    found = told(212, *[80] * 7, 40)  # seven whole days, and the half of the eighth
    assert found.per_day == 80
    assert found.at == NOON + timedelta(days=212 / 80)
    assert found.why is None


def test_a_course_that_has_only_begun_is_not_thinned_by_days_before_it():
    assert told(100, 40, 20).per_day == 40
    assert told(100, 3).per_day == 3  # the first day counts as one


def test_weeks_ago_does_not_count():
    assert told(100, 500, *[0] * 9).why is Why.NO_TRAFFIC
    assert told(100, 500, *[0] * 9).per_day == 0


@pytest.mark.parametrize("have", [0, None, 50])
def test_pairs_that_grow_too_old_before_there_are_enough(have):
    enough = ((have or 0) + 100) / (16 / 7.5)  # sixteen in seven days and a half
    assert told(100, *[2] * 8, have=have, lasts=enough + 0.1).why is None
    assert told(100, *[2] * 8, have=have, lasts=enough - 0.1).why is Why.TOO_LITTLE


def test_more_than_a_year_is_no_date():
    assert told(100_000, *[1] * 8).why is Why.TOO_LITTLE


def test_nothing_is_needed_or_nothing_would_do():
    assert told(0, 5).why is Why.NOT_NEEDED
    assert told(None, 5).why is Why.OUT_OF_REACH


def test_without_a_reconcile_nothing_is_told():
    assert forecast(5, None, None, NOON, counts_for_days=30).why is Why.UNKNOWN
    assert forecast(5, None, [], NOON, counts_for_days=30).why is Why.NO_TRAFFIC


def test_a_day_in_the_future_does_not_count():
    later = days(500, until=NOON + timedelta(days=2))
    assert forecast(5, 0, later, NOON, counts_for_days=30).why is Why.NO_TRAFFIC
