"""Times and numbers as people read them."""

import pytest

from migration_shim.reports import course_words as words

AT = "2026-11-30T14:02:00+00:00"


@pytest.mark.parametrize(
    ("then", "said"),
    [
        (None, "never"),
        ("2026-11-30T14:01:55+00:00", "just now"),
        ("2026-11-30T14:03:00+00:00", "just now"),  # of a server whose clock is ahead
        ("2026-11-30T15:50:00+02:00", "12 min ago"),
        ("2026-11-30T10:02:00+00:00", "4 h ago"),
        ("2026-11-20T14:02:00+00:00", "10 d ago"),
    ],
)
def test_how_long_ago(then, said):
    assert words.ago(then, AT) == said


def test_times_are_in_utc_and_say_so():
    assert words.clock("2026-12-01T01:05:00+02:00") == "Mon 30 Nov 23:05 UTC"


@pytest.mark.parametrize(
    ("then", "said"),
    [
        ("2026-11-30T23:00:00+00:00", "today"),
        ("2026-12-03T01:00:00+00:00", "Thu 3 Dec"),
        ("2027-01-04T01:00:00+00:00", "Mon 4 Jan 2027"),
    ],
)
def test_a_day_has_its_year_where_it_is_another(then, said):
    assert words.day(then, AT) == said


@pytest.mark.parametrize(
    ("forecast", "said"),
    [
        (None, ""),
        ({"pairs": 1, "at": "2026-12-03T01:00:00+00:00", "why": None}, "1 pair, about Thu 3 Dec"),
        ({"pairs": 212, "at": None, "why": "no_traffic"}, "212 pairs, no traffic"),
        ({"pairs": 212, "at": None, "why": "too_little"}, "212 pairs, not at this traffic"),
        ({"pairs": 212, "at": None, "why": "unknown"}, "212 pairs, no reconcile has counted yet"),
        ({"pairs": None, "at": None, "why": "out_of_reach"}, "no number of pairs would do"),
    ],
)
def test_what_is_missing(forecast, said):
    assert words.missing({"forecast": forecast}, AT) == said


def test_the_head_line_has_alarms_first_and_what_is_left_alone_last():
    counts = {"leak": 1, "unknown": 2, "differs": 1, "needs_pairs": 30, "ready": 3, "not_begun": 8, "moved": 5}
    xqueue = {"courses": 11, "known": 2, "unknown_lms": 0, "looked_at": "2026-11-30T13:57:00+00:00", "under_way": False}
    assert words.head_lines({"counts": counts, "xqueue": xqueue, "at": AT}) == [
        "50 courses: 1 LEAK, 2 unknown, 3 ready, 30 need pairs, 1 differs, 8 not begun, 5 moved",
        "11 courses in XQueue, 2 known to the shim (looked 5 min ago)",
    ]
    assert words.head_lines({"counts": {"needs_pairs": 1}, "xqueue": xqueue, "at": AT})[0] == "1 course: 1 needs pairs"
