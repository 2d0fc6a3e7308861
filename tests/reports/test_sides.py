"""Both sides of a divergence, and what the learner has: what is in the cells, and that what differs is marked."""

import pytest

from migration_shim.core.data import DivergenceClass
from migration_shim.core.delivered import Learner
from migration_shim.reports import sides
from tests.reports import examples


def item(**changes):
    """A pair on which both systems and the learner agree, with changes."""
    same = {f"{side}_{key}": value for side in ("legacy", "target") for key, value in SAME.items()}
    learner = {"learner_said": "comparable", "learner_correct": True, "learner_score": 1.0}
    return (
        {"class": "latency", "authority": "legacy", "points_possible": 10, "target_points": 10}
        | same
        | learner
        | changes
    )


SAME = {"state": "graded", "correct": True, "score": 1.0, "seconds": 10.0}


def row(found, field):
    [one] = [one for one in found if one["field"] == field]
    return one


def marked(**changes):
    return {one["field"] for one in sides.table(item(**changes)) if one["differs"]}


def test_what_is_equal_is_not_marked():
    assert marked(**{"class": "score"}) == set()


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"target_state": "failed", "target_correct": None, "target_score": None}, {"State", "Correct", "Score"}),
        ({"target_correct": False}, {"Correct"}),
        ({"target_score": 0.5}, {"Score"}),
        ({"learner_correct": False}, {"Correct"}),
        ({"learner_score": 0.25}, {"Score"}),
        ({"class": "stored_points", "target_points": 9}, {"Points stored"}),
        ({"class": "latency"}, {"Graded after"}),
    ],
)
def test_what_differs_is_marked_and_nothing_else(changes, fields):
    assert marked(**{"class": "score"} | changes) == fields


@pytest.mark.parametrize("said", [one for one in Learner if one is not Learner.COMPARABLE])
def test_a_learner_who_cannot_be_compared_has_no_grade_in_the_table(said):
    found = sides.table(item(learner_said=said.value, learner_score=0.1))
    assert row(found, "Score")["learner"] == sides.NOTHING
    assert row(found, "State")["learner"] not in ("", sides.NOT_KNOWN, said.value)


def test_unknown_is_never_zero():
    found = sides.table(item(learner_said=None, target_points=None, target_score=None))
    assert row(found, "Points stored")["target"] == "not read, of 10"
    assert row(found, "Score")["target"] == sides.NOTHING
    assert row(found, "State")["learner"] == sides.NOT_KNOWN
    assert row(sides.table(item(target_score=0.0)), "Score")["target"] == "0"


def test_an_older_report_says_nothing_of_either_side():
    assert sides.table({"class": "score", "what": "legacy 1, target 0.5"}) == []


def test_why_is_our_words_and_bounded():
    assert sides.why(item()) == ""
    failed = item(target_leg="failed", target_reason="x" * 500)
    assert sides.why(failed) == f"the copy could not be written to the target: {'x' * 64}"
    gave_up = sides.why(item(target_state="failed", target_failures=5, leases=5))
    assert "after 5 failures" in gave_up and "handed it out 5 times" in gave_up
    assert "no grader had it" in sides.why(item(target_state="failed", leases=0))
    assert "handed" not in sides.why(item(target_state="failed", leases=None))


def test_every_class_has_a_table():
    for klass in DivergenceClass:
        assert sides.table(examples.sides() | {"class": klass.value})
