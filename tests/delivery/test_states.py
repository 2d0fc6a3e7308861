"""Learners' states as CAPA, a crash and a hostile hand leave them: read to a bound, named, and stopping nobody."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from migration_shim import conf
from migration_shim.core import json_text
from migration_shim.core.delivered import Learner, comparable
from migration_shim.delivery import learner_side
from migration_shim.ledger import attempts
from migration_shim.lms import state
from migration_shim.models import LedgerEntry
from migration_shim.retention import user_retirement
from sandbox.lms import capa, receivers
from tests.builders import live_courses as watched
from tests.builders import rows
from tests.builders import waiting_learners as world
from tests.builders.rows import COURSE, RIGHT, WRONG, fresh  # noqa: F401
from tests.builders.waiting_learners import AGO, grade, on_record, reconciled, waiting

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "xqueue"])

DEEP = '{"correct_map": ' + '{"a":' * 60 + "1" + "}" * 61
UNREADABLE = {
    "truncated": ('{"correct_map": {"a_2_1": {"queuest', "no_json"),
    "no JSON": ("état", "no_json"),
    "a number of 5,000 digits": ('{"correct_map": {}, "seed": ' + "9" * 5000 + "}", "no_json"),
    "deep": (DEEP, "too_deep"),
    "deeper than any stack": ("[" * 100_000, "too_deep"),
    "a list": ("[]", "no_object"),
    "text": ('"correct_map"', "no_object"),
    "a map that is none": ('{"correct_map": 7}', "no_correct_map"),
    "an entry that is none": ('{"correct_map": {"a_2_1": "x"}}', "no_correct_map"),
    "long": ('{"correct_map": {}, "x": "' + "x" * json_text.SIZE_LIMIT + '"}', "too_long"),
}
PLACE = state.Place(user_id="7", course_id=COURSE, item_id=world.usage_key(world.PROBLEM))


@pytest.fixture(autouse=True)
def live():
    watched.stand("live")


def read(text):
    waiting()
    world.write_state(text)
    return state.problems([PLACE])[PLACE]


@pytest.mark.parametrize(("text", "reason"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_is_named(text, reason):
    assert read(text) == state.Problem(unreadable=reason)
    assert attempts.queued(LedgerEntry.objects.all()) == {}


ODD = {
    "nothing": None,
    "empty": "",
    "no map": "{}",
    "a null map": '{"correct_map": null}',
}


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_who_has_no_answers_waits_for_nothing(text):
    assert read(text) == state.Problem()
    [found] = attempts.queued(LedgerEntry.objects.all()).values()
    assert found.key is None


def held(**entry):
    return read(json.dumps({"correct_map": {"a_2_1": entry}})).inputs["a_2_1"]


@pytest.mark.parametrize("odd", [None, 7, [], {}, {"key": None}, {"key": 7}, "text"])
def test_a_queue_state_that_holds_no_key(odd):
    assert held(queuestate=odd).key is None


@pytest.mark.parametrize("odd", [None, "1", [], {}, float("nan"), float("inf"), 10**400])
def test_points_that_no_database_holds(odd):
    assert held(npoints=odd).score is None


@pytest.mark.parametrize("odd", [None, 7, [], {}, "partially-correct", "x"])
def test_a_correctness_that_no_grader_gives(odd):
    assert held(correctness=odd).correct is None


def test_a_null_entry_is_an_empty_one():
    assert read('{"correct_map": {"a_2_1": null}}').inputs == {"a_2_1": state.InputState()}


@pytest.mark.parametrize("time", ["2026-11-22T12:00:00Z", "2026-11-22T13:00:00+01:00", "2026-11-22T12:00:00"])
def test_the_time_of_a_submission(time):
    found = read(json.dumps({"last_submission_time": time}))
    assert found.submitted_at == datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize("time", [None, 7, "yesterday", "9" * 5000, {}])
def test_no_time_of_a_submission(time):
    assert read(json.dumps({"last_submission_time": time})).submitted_at is None


def test_one_bad_state_stops_nobody():
    bad, good = waiting(1), waiting(2)
    with receivers.swallowing(2):
        grade(bad)
        grade(good)
    world.write_state("{", 1)
    found = reconciled()
    assert (found["waiting"], found["third_side"]["not_comparable"]) == (1, {"unreadable": 1, "waits": 1})


def test_a_state_that_cannot_be_read_any_more_makes_its_learner_undeliverable():
    with receivers.swallowing():
        grade(waiting())
    assert reconciled()["waiting"] == 1
    world.write_state("{")
    found = reconciled()
    assert (found["waiting"], found["undeliverable"]) == (1, 1)
    assert LedgerEntry.objects.get().undeliverable == "unreadable"


# The number of statements


def statements(learners):
    with receivers.swallowing(learners):
        for user in range(100, 100 + learners):
            grade(waiting(user, problem=f"{user:032x}"))
    with (
        CaptureQueriesContext(connections["default"]) as default,
        CaptureQueriesContext(connections["xqueue"]) as legacy,
    ):
        learner_side.ask_learners(COURSE, conf.load(), lambda: None)
    assert len(on_record()) == learners
    return len(default), len(legacy)


def test_a_page_takes_a_constant_number_of_statements():
    few = statements(2)
    LedgerEntry.objects.all().delete()
    assert statements(20) == few


def test_outside_an_lms_nobody_is_asked(monkeypatch):
    with receivers.swallowing():
        grade(waiting())
    monkeypatch.setattr(state, "_model", lambda: None)
    found = reconciled()
    assert (found["applies"], found["waiting"]) == (False, 0)
    gate = world.gate()
    assert (gate["evidence"]["undelivered"], gate["evidence"]["learners_asked"]) == (None, False)
    assert not any("learners" in reason for reason in gate["reasons"])


def test_unknown_is_not_none(clean):
    """In live, a comparison of a release before this one has asked nobody."""
    evidence = world.gate()["evidence"]
    assert (evidence["undelivered"], evidence["learners_asked"]) == (None, True)


@pytest.fixture
def clean():
    rows.entries(3)
    rows.reconciled(document={"learners": {}})


# The third side


def sides(**options):
    found = reconciled(**options)["third_side"]
    return {name: number for name, number in found.items() if number}


def pair(user=7, legacy=RIGHT, target=RIGHT):
    entry = waiting(user)
    watched.reverse(entry, **rows.graded(legacy, ago=AGO))
    grade(entry, target)
    return entry


@pytest.mark.parametrize(
    ("legacy", "target", "expected"),
    [(RIGHT, RIGHT, "as_both"), (WRONG, RIGHT, "as_target")],
)
def test_what_the_learner_has_beside_both(legacy, target, expected):
    pair(legacy=legacy, target=target)
    assert sides() == {"compared": 1, expected: 1}


@pytest.mark.parametrize(("points", "expected"), [(0, "as_legacy"), (0.5, "as_neither")])
def test_a_learner_who_has_something_else(points, expected):
    """A staff rescore, or another's grade: told in the report, and no reason for a gate."""
    pair(legacy=WRONG)
    answer = {f"{world.PROBLEM}_2_1": capa.entry(correctness="incorrect", npoints=points)}
    world.change_state(correct_map=answer)
    assert sides() == {"compared": 1, expected: 1}
    assert not on_record()


def test_only_the_newest_attempt():
    grade(waiting(7))
    LedgerEntry.objects.update(arrived_at=now() - 3 * AGO)
    grade(waiting(7, age=AGO), ago=AGO / 2)
    assert sides() == {"compared": 1, "as_target": 1, "not_comparable": {"newer_attempt": 1}}


def test_not_where_the_learner_has_submitted_since_past_the_shim():
    entry = pair()
    later = entry.arrived_at + timedelta(minutes=10)
    world.change_state(last_submission_time=later.strftime("%Y-%m-%dT%H:%M:%SZ"))
    assert sides() == {"not_comparable": {"submitted_later": 1}}


def test_the_platform_notes_the_time_after_the_call():
    """A call takes seconds, and is no later submission."""
    entry = pair()
    later = entry.arrived_at + timedelta(seconds=20)
    world.change_state(last_submission_time=later.strftime("%Y-%m-%dT%H:%M:%SZ"))
    assert sides() == {"compared": 1, "as_both": 1}


@pytest.mark.parametrize("said", ["no_submission_time", "no_answer"])
def test_where_it_cannot_be_told(said):
    pair()
    world.change_state(**({"last_submission_time": None} if said == "no_submission_time" else {"correct_map": {}}))
    assert sides() == {"not_comparable": {said: 1}}


def test_in_shadow_it_is_never_a_reason():
    watched.stand("shadow")
    assert world.gate()["evidence"]["undelivered"] == 0


MOMENT = datetime(2026, 11, 22, 12, tzinfo=UTC)
FACTS = {
    "graded": True,
    "newest": True,
    "submitted_at": MOMENT,
    "called_at": MOMENT,
    "call_takes": timedelta(seconds=30),
    "answered": True,
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Learner.COMPARABLE),
        ({"submitted_at": MOMENT + timedelta(seconds=30)}, Learner.COMPARABLE),
        ({"submitted_at": MOMENT + timedelta(seconds=31)}, Learner.SUBMITTED_LATER),
        ({"submitted_at": None}, Learner.NO_SUBMISSION_TIME),
        ({"answered": False}, Learner.NO_ANSWER),
        ({"newest": False}, Learner.NEWER_ATTEMPT),
        ({"graded": False}, Learner.NOT_GRADED),
    ],
)
def test_when_the_two_can_be_compared(changes, expected):
    assert comparable(**FACTS | changes) is expected


def test_forgetting_a_learner_takes_the_grade_along():
    entry = pair()
    reconciled()
    assert LedgerEntry.objects.get().learner_score == 1
    LedgerEntry.objects.update(settled_at=now())
    user_retirement.retire_learner([entry.learner])
    found = LedgerEntry.objects.get()
    assert (found.learner_correct, found.learner_score, found.learner[:8]) == (None, None, "retired:")
