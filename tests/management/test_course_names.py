"""What may be typed for a course: whole ids, parts of one, and patterns."""

import pytest

from migration_shim.management import course_names

CS1 = "course-v1:ExU+CS1+2026"
CS106 = "course-v1:ExU+CS106+2026"
CS107 = "course-v1:ExU+CS107+2026"
OTHER = "course-v1:Other+CS107+2025"
OLD = "Old/CS50/2012"
ALL = [CS1, CS106, CS107, OTHER, OLD]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("CS106", [CS106]),
        ("CS1", [CS1]),  # a whole part, although others begin with it
        ("ExU+CS106", [CS106]),
        ("CS106+2026", [CS106]),
        ("ExU+CS106+2026", [CS106]),
        ("CS107", [CS107, OTHER]),
        ("Other+CS107", [OTHER]),
        ("ExU", [CS1, CS106, CS107]),
        ("2025", [OTHER]),
        ("CS50", [OLD]),
        ("Old/CS50", [OLD]),
        ("ExU+CS10", [CS106, CS107]),  # the beginning of a part, where no part is it
        ("Oth", [OTHER]),
        ("S106", []),  # never a text from within a part
        ("cs106", []),  # ids differ in case
        ("ExU+2026", []),
        ("+CS106", []),
        ("CS106+", [CS106]),
        ("course-v1", []),
    ],
)
def test_a_text_is_short_for_courses_that_have_it_as_parts(text, found):
    assert course_names.shortened(text, ALL) == found


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("ExU+CS1*", [CS1, CS106, CS107]),
        ("*CS10?+*", [CS106, CS107, OTHER]),
        ("course-v1:Other*", [OTHER]),
        ("exu+*", []),
        ("CS106*", []),  # from its beginning on
        ("Old/*", [OLD]),
        ("[!c]*", ALL),  # matched without its prefix, too
        ("*", ALL),
    ],
)
def test_a_pattern_matches_whole_ids_with_or_without_their_prefix(pattern, found):
    assert course_names.is_pattern(pattern)
    assert course_names.matching(pattern, ALL) == found


def test_no_id_is_a_pattern():
    assert not any(map(course_names.is_pattern, ALL))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("CS160", CS106),
        ("cs106", CS106),
        ("course-v1:ExU+CS16+2026", CS106),
        ("ExU+CS106+2062", CS106),
        ("Old/CS50/2021", OLD),
    ],
)
def test_what_may_have_been_meant_is_among_the_first_two(text, found):
    assert found in course_names.alike(text, ALL)[:2]


def test_nothing_is_made_up():
    assert course_names.alike("biology", ALL) == []
    assert course_names.alike("CS106", []) == []


def test_many_candidates_are_counted():
    assert course_names.listed([f"c{number:02}" for number in range(14)]).endswith("c09 and 4 more")
