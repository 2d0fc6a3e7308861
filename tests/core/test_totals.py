"""Counting pairs: every sum of the document adds up."""

import json
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migration_shim.core.totals import Totals, course_content, whole_content
from migration_shim.data import Comparison, DivergenceClass, Outcome, PairStatus, State
from tests.core.rows import NOON

STATUS_KEYS = ("equal", "diverged", "waiting", "overdue")


def result(status, *classes, known=""):
    return Comparison(status=status, divergences=dict.fromkeys(classes, "text"), known=known)


def side(state=State.GRADED, seconds=None):
    returned = None if seconds is None else NOON + timedelta(seconds=seconds)
    return Outcome(state=state, arrived_at=NOON, returned_at=returned)


def totals(*results, of=None):
    """Totals of pairs given as (queue, problem, result)."""
    found = Totals(of=len(results) if of is None else of)
    for queue, problem, one in results:
        found.add(queue, problem, side(), side(), one, timed=False)
    return found


def content(found, course="c", complete=True):
    return course_content(course, found, complete=complete, at=NOON)


EQUAL = result(PairStatus.EQUAL)
BOTH = result(PairStatus.DIVERGED, DivergenceClass.CORRECTNESS, DivergenceClass.SCORE)
KNOWN = result(PairStatus.KNOWN, known="superseded_on_legacy_only")


def test_course():
    found = totals(
        ("q", "p", EQUAL),
        ("q", "p", BOTH),
        ("q", "a", KNOWN),
        ("b", "p", result(PairStatus.WAITING)),
        ("b", "p", result(PairStatus.OVERDUE)),
        of=9,
    )
    found.echoed, found.fence_leaks, found.double_authority = 4, 2, 3
    document = content(found, complete=False)
    assert document == {
        "course": "c",
        "complete": False,
        "finished_at": "2026-11-22T12:00:00+00:00",
        "of": 9,
        "compared": 5,
        "equal": 1,
        "diverged": 1,
        "waiting": 1,
        "overdue": 1,
        "classes": {"presence": 0, "state": 0, "payload": 0, "correctness": 1, "score": 1},
        "known_differences": {"superseded_on_legacy_only": 1},
        "echoed": 4,
        "fence_leaks": 2,
        "double_authority": 3,
        "cohorts": [
            {"course": "c", "queue": "b", "problem": "p", "pairs": 2, "overdue": 1, "waiting": 1},
            {"course": "c", "queue": "q", "problem": "a", "pairs": 1, "known": 1},
            {"course": "c", "queue": "q", "problem": "p", "pairs": 2, "diverged": 1, "equal": 1},
        ],
        "latency": {name: {"graded": 0, "median": None, "p95": None} for name in ("legacy", "target")},
    }


def test_empty_course():
    document = content(Totals())
    assert (document["compared"], document["cohorts"], document["known_differences"]) == (0, [], {})


def timed(*pairs, flag=True):
    found = Totals()
    for legacy, target in pairs:
        found.add("q", "p", legacy, target, EQUAL, timed=flag)
    return content(found)["latency"]


def test_latency_is_from_arrival_to_return():
    latency = timed(*((side(seconds=number), side(seconds=number * 2)) for number in range(101)))
    assert latency["legacy"] == {"graded": 101, "median": 50.0, "p95": 95.0}
    assert latency["target"] == {"graded": 101, "median": 100.0, "p95": 190.0}


def test_latency_of_one_pair_is_not_told():
    assert timed((side(seconds=1), side(seconds=1)))["legacy"] == {"graded": 1, "median": None, "p95": None}


@pytest.mark.parametrize(
    ("pair", "flag"),
    [
        ((side(seconds=1), side(seconds=1)), False),
        ((side(seconds=1), side(State.PULLED, seconds=1)), True),
        ((side(State.SUPERSEDED, seconds=1), side(seconds=1)), True),
        ((side(), side()), True),
    ],
    ids=["not timed", "target not graded", "legacy not graded", "no return"],
)
def test_latency_is_of_graded_pairs_that_began_together(pair, flag):
    assert timed(pair, pair, flag=flag)["legacy"]["graded"] == 0


def test_whole_run():
    one = content(totals(("q", "p", EQUAL), ("q", "p", KNOWN), of=5), "a")
    two = content(totals(("q", "p", BOTH), ("r", "p", KNOWN), of=2), "b")
    document = whole_content(["a", "b"], [one, two], NOON)
    assert document["schema"] == "migration_shim.xqueue_reconcile/1"
    assert document["complete"] is True
    assert (document["of"], document["compared"], document["equal"], document["diverged"]) == (7, 4, 1, 1)
    assert document["classes"] == {"presence": 0, "state": 0, "payload": 0, "correctness": 1, "score": 1}
    assert document["known_differences"] == {"superseded_on_legacy_only": 2}
    assert [cohort["course"] for cohort in document["cohorts"]] == ["a", "b", "b"]
    assert set(document["latency"]) == {"a", "b"}
    assert document["courses"] == [one, two]
    json.dumps(document, allow_nan=False)


@pytest.mark.parametrize(
    ("courses", "complete", "expected"),
    [(["a"], [True], True), (["a"], [False], False), (["a", "b"], [True], False), ([], [], True)],
)
def test_a_run_is_complete_when_every_course_is(courses, complete, expected):
    documents = [content(Totals(), course, flag) for course, flag in zip(courses, complete, strict=False)]
    assert whole_content(courses, documents, NOON)["complete"] is expected


PAIRS = st.lists(
    st.tuples(
        st.sampled_from("qr"),
        st.sampled_from("ps"),
        st.sampled_from(
            [EQUAL, BOTH, KNOWN, result(PairStatus.WAITING), result(PairStatus.OVERDUE)]
            + [result(PairStatus.DIVERGED, klass) for klass in DivergenceClass]
        ),
    ),
    max_size=30,
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), PAIRS))
def test_all_sums_add_up(courses):
    documents = [content(totals(*pairs), course) for course, pairs in courses.items()]
    whole = whole_content(list(courses), documents, NOON)
    for document in (whole, *documents):
        assert document["compared"] == sum(document[key] for key in STATUS_KEYS) + document["known_differences"].get(
            "superseded_on_legacy_only", 0
        )
        assert document["compared"] == sum(cohort["pairs"] for cohort in document["cohorts"]) == document["of"]
        for key in STATUS_KEYS:
            assert document[key] == sum(cohort.get(key, 0) for cohort in document["cohorts"])
        assert sum(document["classes"].values()) >= document["diverged"]
    pairs = [one for found in courses.values() for *_, one in found]
    assert whole["compared"] == len(pairs)
    assert sum(whole["classes"].values()) == sum(len(one.divergences) for one in pairs)
