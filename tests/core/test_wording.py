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
        {"course": "a", "said": "lost: down"},
        {"course": "b", "said": "other"},
        {"course": "c", "said": "lost: down"},
        {"course": "a", "said": "lost: down"},
    ]
    assert wording.said_once(problems) == [("a, c", "lost: down"), ("b", "other")]


def test_the_class_of_an_error_alone_is_no_common_cause():
    problems = [{"course": "a", "said": "KeyError"}, {"course": "b", "said": "KeyError"}]
    assert wording.said_once(problems) == [("a", "KeyError"), ("b", "KeyError")]


def test_forty_places_are_not_all_named():
    problems = [{"course": f"c{number}", "said": "lost: down"} for number in range(40)]
    assert wording.said_once(problems) == [("c0, c1, c2, c3, c4 and 35 more", "lost: down")]
