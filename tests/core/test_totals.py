"""The documents of a reconcile, made of counts: every sum over the courses adds up."""

import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migration_shim.core.data import PairStatus
from migration_shim.core.reconcile_document import binned, course_content, whole_content
from tests.builders.core_rows import NOON

ADDED = ("looked_at", "echoed", "fence_leaks", "double_authority", "payloads_compared")


def content(course="c", complete=True, statuses=(), **counts):
    empty = {"stopped_by": "", "waited": {}, "classes": {}, "known_differences": {}, "cohorts": [], "latency": {}}
    empty |= dict.fromkeys(ADDED, 0)
    return course_content(course, Counter(statuses), complete=complete, at=NOON, **(empty | counts))


def test_course():
    document = content(statuses={"equal": 4, "known": 3, "diverged": 2, "waiting": 1, "overdue": 5, "none": 6})
    assert document["of"] == 21
    assert document["compared"] == 15
    counts = [document[key] for key in ("equal", "diverged", "waiting", "overdue")]
    assert counts == [4, 2, 1, 5]
    assert (document["course"], document["complete"]) == ("c", True)
    assert document["finished_at"] == "2026-11-22T12:00:00+00:00"


def test_whole_run():
    one = content("a", statuses={"equal": 3}, classes={"score": 1, "state": 0}, cohorts=[{"course": "a"}], looked_at=2)
    two = content("b", statuses={"diverged": 1}, classes={"score": 2}, known_differences={"rounding": 4}, looked_at=5)
    document = whole_content(["a", "b"], [one, two], [], NOON)
    assert document["schema"] == "migration_shim.xqueue_reconcile/1"
    assert (document["of"], document["equal"], document["diverged"], document["looked_at"]) == (4, 3, 1, 7)
    assert document["classes"] == {"score": 3, "state": 0}
    assert document["known_differences"] == {"rounding": 4}
    assert document["cohorts"] == [{"course": "a"}]
    assert set(document["latency"]) == {"a", "b"}
    assert document["courses"] == [one, two]
    json.dumps(document, allow_nan=False)


@pytest.mark.parametrize(
    ("courses", "complete", "expected"),
    [(["a"], [True], True), (["a"], [False], False), (["a", "b"], [True], False), ([], [], True)],
)
def test_a_run_is_complete_when_every_course_is(courses, complete, expected):
    documents = [content(course, flag) for course, flag in zip(courses, complete, strict=False)]
    assert whole_content(courses, documents, [], NOON)["complete"] is expected


NUMBERS = st.dictionaries(st.sampled_from(list(PairStatus)), st.integers(min_value=1, max_value=9))
COUNTS = st.fixed_dictionaries({key: st.integers(min_value=0, max_value=9) for key in ADDED})


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from("abc"), st.tuples(NUMBERS, COUNTS)))
def test_all_sums_add_up(courses):
    documents = [content(name, statuses=found, **counts) for name, (found, counts) in courses.items()]
    whole = whole_content(list(courses), documents, [], NOON)
    for document in (whole, *documents):
        assert document["of"] >= document["compared"]
        rest = document["compared"] - sum(document[key] for key in ("equal", "diverged", "waiting", "overdue"))
        assert rest >= 0  # what is known
    for key in ("of", "compared", *ADDED):
        assert whole[key] == sum(document[key] for document in documents)
    assert whole["of"] == sum(number for found, _ in courses.values() for number in found.values())
    assert whole["echoed"] == sum(counts["echoed"] for _, counts in courses.values())


BINS = {
    "full marks": (True, 10.0, "correct 1"),
    "a tenth": (False, 1.0, "wrong 0.1"),
    "nothing": (False, 0.0, "wrong 0"),
    "above 1": (True, 11.0, "correct above 1"),
    "no number": (True, None, "correct, not a number"),
    "invalid": (None, None, "invalid reply"),
    "raises": (None, 0.0, "invalid reply"),
}


@pytest.mark.parametrize(("correct", "tenths", "expected"), BINS.values(), ids=BINS)
def test_an_outcome_in_a_few_words(correct, tenths, expected):
    assert binned(correct, tenths) == expected
