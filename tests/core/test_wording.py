"""Numbers with their nouns, and causes said once."""

import pytest

from migration_shim.core import wording


@pytest.mark.parametrize(
    ("number", "words", "said"),
    [
        (0, ("course",), "0 courses"),
        (1, ("course",), "1 course"),
        (2, ("course",), "2 courses"),
        (1, ("copy", "copies"), "1 copy"),
        (21, ("copy", "copies"), "21 copies"),
    ],
)
def test_a_number_has_the_noun_that_it_asks_for(number, words, said):
    assert wording.counted(number, *words) == said


@pytest.mark.parametrize(("number", "said"), [(0, "are"), (1, "is"), (11, "are")])
def test_a_number_has_the_verb_that_it_asks_for(number, said):
    assert wording.verb(number, "is", "are") == said


def test_a_cause_is_said_once_with_all_places_where_it_came_up():
    problems = [
        {"course": "a", "said": "down"},
        {"course": "b", "said": "other"},
        {"course": "c", "said": "down"},
        {"course": "a", "said": "down"},
    ]
    assert wording.said_once(problems) == [("a, c", "down"), ("b", "other")]


def test_forty_places_are_not_all_named():
    problems = [{"course": f"c{number}", "said": "down"} for number in range(40)]
    assert wording.said_once(problems) == [("c0, c1, c2, c3, c4 and 35 more", "down")]
