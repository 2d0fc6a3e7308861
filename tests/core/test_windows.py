"""Windows, freezes and lengths of time: against a walk that looks at the wall clock of every minute."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migration_shim.core import windows
from migration_shim.core.windows import Calendar, parse_freeze, parse_length, parse_moment, parse_window

NAMES = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
MINUTE = timedelta(minutes=1)
#: Clocks that change at night, by half an hour, at midnight; and one that never does.
ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Asuncion", "Asia/Kolkata"]
#: Just before the clocks change in one of them, and ordinary days.
STARTS = [
    datetime(2026, 3, 29, 0, 30, tzinfo=UTC),
    datetime(2026, 10, 24, 22, 10, tzinfo=UTC),
    datetime(2026, 11, 1, 4, 0, tzinfo=UTC),
    datetime(2026, 4, 4, 14, 0, tzinfo=UTC),
    datetime(2023, 10, 1, 3, 30, tzinfo=UTC),
    datetime(2023, 3, 26, 2, 30, tzinfo=UTC),
    datetime(2026, 12, 7, 11, 0, tzinfo=UTC),
]


def calendar(*texts, freezes=(), **rules):
    parsed = [parse_window(text) for text in texts]
    zone = rules.pop("zone", parsed[0][1] if parsed else "UTC")
    return Calendar(
        zone=zone, windows=tuple(window for window, _ in parsed), freezes=tuple(map(parse_freeze, freezes)), **rules
    )


def by_the_clock(moment, zone, days, start, end, freeze):
    """The second path: what a person reads off a wall clock and a calendar of that zone, digit by digit."""
    name, day, clock = moment.astimezone(ZoneInfo(zone)).strftime("%a %Y-%m-%d %H:%M").split()
    if freeze and freeze[0] <= day <= freeze[1]:
        return False
    if start < end:
        return name in days and start <= clock < end
    before = NAMES[NAMES.index(name) - 1]
    return (name in days and clock >= start) or (before in days and clock < end)


hours = st.integers(0, 24 * 4 - 1).map(lambda quarter: f"{quarter // 4:02}:{quarter % 4 * 15:02}")


@settings(max_examples=80, deadline=None, derandomize=True, database=None)
@given(
    zone=st.sampled_from(ZONES),
    begin=st.sampled_from(STARTS),
    offset=st.integers(-600, 600),
    days=st.sets(st.sampled_from(NAMES), min_size=1),
    start=hours,
    end=hours,
    freeze=st.one_of(st.none(), st.tuples(st.integers(-1, 2), st.integers(0, 2))),
)
def test_a_calendar_says_what_a_walk_by_minutes_finds(zone, begin, offset, days, start, end, freeze):
    if start == end:
        return
    moment = begin + offset * MINUTE
    frozen = None
    if freeze:
        first = moment.astimezone(ZoneInfo(zone)).date() + timedelta(days=freeze[0])
        frozen = (str(first), str(first + timedelta(days=freeze[1])))
    found = calendar(f"{','.join(days)} {start}-{end} {zone}", freezes=[f"{frozen[0]}..{frozen[1]}"] if frozen else [])
    expected = moment
    while not by_the_clock(expected, zone, days, start, end, frozen):
        expected += MINUTE
    assert found.next_open(moment) == expected
    assert (found.closed(moment) == "") == (expected == moment)
    assert found.closed(expected) == ""


def test_a_freeze_includes_its_last_day_in_the_windows_zone():
    found = calendar("Mon-Sun 00:00-24:00 Europe/Berlin", freezes=["2026-12-10..2026-12-20"])
    assert found.closed(datetime(2026, 12, 20, 22, 59, tzinfo=UTC)) == (
        "waits for the end of the freeze 2026-12-10..2026-12-20, Mon 00:00 Europe/Berlin"
    )
    assert found.closed(datetime(2026, 12, 20, 23, 0, tzinfo=UTC)) == ""
    assert found.closed(datetime(2026, 12, 9, 22, 59, tzinfo=UTC)) == ""
    assert found.closed(datetime(2026, 12, 9, 23, 0, tzinfo=UTC)) != ""


def test_a_window_keeps_its_hours_across_a_change_of_the_clocks():
    found = calendar("Mon-Fri 09:00-16:00 Europe/Berlin")
    assert found.next_open(datetime(2026, 3, 27, 15, 0, tzinfo=UTC)) == datetime(2026, 3, 30, 7, 0, tzinfo=UTC)
    assert found.next_open(datetime(2026, 10, 23, 15, 0, tzinfo=UTC)) == datetime(2026, 10, 26, 8, 0, tzinfo=UTC)


def test_a_window_over_midnight_belongs_to_the_day_on_which_it_begins():
    found = calendar("Fri 22:00-02:00 UTC")
    open_at = [datetime(2026, 12, day, hour, tzinfo=UTC) for day, hour in ((4, 22), (5, 1))]
    closed_at = [datetime(2026, 12, day, hour, tzinfo=UTC) for day, hour in ((4, 1), (4, 21), (5, 2), (5, 22))]
    assert [found.closed(moment) for moment in open_at] == ["", ""]
    assert all(found.closed(moment) for moment in closed_at)


def test_the_first_moment_comes_before_the_window():
    first = parse_moment("2026-12-03", "Europe/Berlin")
    assert first == datetime(2026, 12, 2, 23, 0, tzinfo=UTC)
    found = calendar("Mon-Tue 09:00-16:00 Europe/Berlin", not_before=first)
    assert (
        found.closed(datetime(2026, 11, 30, 10, tzinfo=UTC))
        == "waits for its first day, 2026-12-07 09:00 Europe/Berlin"
    )
    assert found.closed(datetime(2026, 12, 5, 10, tzinfo=UTC)) == "waits for the window, Mon 09:00 Europe/Berlin"


def test_a_calendar_without_rules_is_always_open_and_one_that_never_opens_says_so():
    assert Calendar().closed(datetime.now(UTC)) == ""
    never = Calendar(windows=(windows.Window(days=frozenset(), start=0, end=60),))
    assert never.closed(datetime(2026, 12, 1, tzinfo=UTC)) == "waits for the window"


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("Mon", {0}),
        ("Mon-Thu", {0, 1, 2, 3}),
        ("Fri-Mon", {4, 5, 6, 0}),
        ("mon,WED-thu", {0, 2, 3}),
        ("Sun-Sat", set(range(7))),
    ],
)
def test_days(text, days):
    assert parse_window(f"{text} 09:00-16:00 UTC")[0].days == days


@pytest.mark.parametrize(
    "text",
    [
        "Mon-Thu 09:00-16:00",
        "Mon-Thu 9-16 UTC",
        "Mon-Thu 09:00-09:00 UTC",
        "Mon-Thu 24:00-09:00 UTC",
        "Mon-Thu 09:60-10:00 UTC",
        "Mon-Thu 09:00-25:00 UTC",
        "Mon-Tue-Wed 09:00-10:00 UTC",
        "Mo 09:00-10:00 UTC",
        "Mon 09:00-10:00 Europe/Nowhere",
        "Mon 09:00-10:00 ../../etc/passwd",
        "",
    ],
)
def test_what_is_no_window(text):
    with pytest.raises(ValueError, match=r"."):
        parse_window(text)


@pytest.mark.parametrize(
    "text",
    [
        "2026-12-20..2026-12-10",
        "2026-13-01",
        "tomorrow",
        "2026-12-10..",
        "2026-12-10-2026-12-20",
        "2026-12-10..9999-12-31",
        "0001-01-01",
    ],
)
def test_what_is_no_freeze(text):
    with pytest.raises(ValueError, match=r"."):
        parse_freeze(text)


def test_freezes_lengths_and_moments():
    assert parse_freeze("2026-12-10") == (date(2026, 12, 10), date(2026, 12, 10))
    assert [parse_length(text).total_seconds() for text in ("30m", "48h", "2d", "0")] == [1800, 172800, 172800, 0]
    for text in ("48", "2w", "-1h", "1.5h", "", "9999999d"):
        with pytest.raises(ValueError, match="length"):
            parse_length(text)
    for text in ("0001-01-01", "9999-12-31T23:59"):  # no calendar reaches behind them
        with pytest.raises(ValueError, match="a year"):
            parse_moment(text, "Asia/Tokyo")
    with pytest.raises(ValueError, match="a day or a time"):
        parse_moment("soon", "UTC")
    assert parse_moment("2026-12-01T09:00+02:00", "Europe/Berlin") == datetime(2026, 12, 1, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("hours", "moment", "opens"),
    [
        # The hour from 2 to 3 comes twice, and the window with it.
        ("01:00-02:30", datetime(2026, 10, 25, 0, 40), datetime(2026, 10, 25, 1, 0)),
        # It does not come at all: the window opens when the clocks are put forward.
        ("02:30-05:00", datetime(2026, 3, 29, 0, 50), datetime(2026, 3, 29, 1, 0)),
    ],
)
def test_a_window_around_a_change_of_the_clocks(hours, moment, opens):
    moment, opens = moment.replace(tzinfo=UTC), opens.replace(tzinfo=UTC)
    start, _, end = hours.partition("-")
    reading = moment
    while not by_the_clock(reading, "Europe/Berlin", set(NAMES), start, end, None):
        reading += MINUTE
    assert calendar(f"Mon-Sun {hours} Europe/Berlin").next_open(moment) == reading == opens
