"""What a look writes down: of the entry that it has read, with its place among what learners have and no other."""

from datetime import timedelta

import pytest
from django.db import connections
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from migration_shim import conf
from migration_shim.delivery import learner_side
from migration_shim.ledger import attempts
from migration_shim.lms import state
from migration_shim.models import Bucket, LedgerEntry
from sandbox.lms import receivers
from tests.builders import live_courses as watched
from tests.builders import rows
from tests.builders import waiting_learners as world
from tests.builders.rows import COURSE, WRONG, fresh  # noqa: F401
from tests.builders.waiting_learners import AGO, grade, on_record, reconciled, waiting
from tests.ledger.counters.oracle import assert_counters_equal_counts

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "xqueue"])
SAID = ("learner_said", "learner_correct", "learner_score", "learner_settled_at", "undeliverable")


@pytest.fixture(autouse=True)
def live():
    watched.stand("live")


def look():
    learner_side.ask_learners(COURSE, conf.load(), lambda: None)


def said(entry):
    return LedgerEntry.objects.values_list(*SAID).get(pk=entry.pk)


def compared(*users):
    """Pairs that were compared, and so are counted, and whose learners nobody has asked yet."""
    entries = []
    for user in users:
        entries.append(waiting(user, problem=f"{user:032x}"))
        watched.reverse(entries[-1], **rows.graded(ago=AGO))
        grade(entries[-1], ago=timedelta(seconds=10))
    reconciled()
    assert set(LedgerEntry.objects.values_list("learner_said", flat=True)) == {""}
    assert not LedgerEntry.objects.filter(bucket_id=None).exists()
    for entry in entries:
        world.ended(entry)
    return entries


CHANGES = {
    "authority": "legacy",
    "move": "held",
    "target_submission_id": F("target_submission_id") + 1000,
    "legacy_id": 4711,
    "learner": "retired:0",
    "purged_at": now(),
}


@pytest.mark.by_hand
@pytest.mark.parametrize(("name", "value"), CHANGES.items(), ids=CHANGES)
def test_nothing_is_written_of_an_entry_that_was_changed_meanwhile(monkeypatch, name, value):
    """The grade in a learner's state is not brought back into an entry whose learner was forgotten."""
    one, other = compared(1, 2)
    ask = state.problems

    def changed_behind(places):
        LedgerEntry.objects.filter(pk=one.pk).update(**{name: value})
        return ask(places)

    monkeypatch.setattr(state, "problems", changed_behind)
    look()
    assert said(one) == ("", None, None, None, "")
    assert said(other)[:3] == ("comparable", True, 1.0)


def test_counters_follow_what_a_learner_has_and_what_is_counted_by_the_rest_stays():
    comparable, waits, left = compared(1, 2, 3)
    world.save(waits, 2)
    world.write_state(None, 3)
    buckets = dict(LedgerEntry.objects.values_list("pk", "bucket_id"))
    look()
    assert [said(one)[0] for one in (comparable, waits, left)] == ["comparable", "waits", "no_answer"]
    assert len(on_record()) == 1
    assert_counters_equal_counts(exact=True)
    after = dict(LedgerEntry.objects.values_list("pk", "bucket_id"))
    assert [pk for pk in buckets if buckets[pk] != after[pk]] == [waits.pk]
    world.write_state(None, 2)
    look()
    assert said(waits)[0] == "no_answer"
    assert_counters_equal_counts(exact=True)
    assert sum(Bucket.objects.values_list("number", flat=True)) == 3


def test_what_nobody_has_compared_stays_loose():
    entry = waiting()
    with receivers.swallowing():
        grade(entry)
    quiet = waiting(8)
    grade(quiet, WRONG)
    look()
    assert (said(entry)[0], said(quiet)[:3]) == ("waits", ("comparable", False, 0.0))
    assert not LedgerEntry.objects.exclude(bucket_id=None).exists()
    assert_counters_equal_counts()


def test_a_grade_that_was_noted_before_is_counted_once():
    """Asked again after a delivery or a move: the place that it had is given up."""
    [entry] = compared(1)
    look()
    LedgerEntry.objects.update(learner_settled_at=None)
    world.change_state(1, entry.item_id, last_submission_time=None)
    look()
    assert said(entry)[:3] == ("no_submission_time", True, 1.0)
    assert_counters_equal_counts(exact=True)


def statements():
    with (
        CaptureQueriesContext(connections["default"]) as default,
        CaptureQueriesContext(connections["xqueue"]) as legacy,
    ):
        look()
    return len(default), len(legacy)


@pytest.mark.by_hand
def test_an_ordinary_page_takes_a_constant_number_of_statements():
    """Pairs whose learners have their grades, second attempts among them."""
    counts = []
    for users in (range(10, 12), range(20, 32)):
        LedgerEntry.objects.all().delete()
        entries = compared(*users)
        LedgerEntry.objects.filter(pk__in=[one.pk for one in entries[:2]]).update(input_key=entries[0].input_key)
        counts.append(statements())
        assert LedgerEntry.objects.filter(learner_said="comparable").count() == len(users) - 1
    assert counts[0] == counts[1]


def test_attempts_at_other_inputs_are_not_read():
    compared(1, 2)
    with CaptureQueriesContext(connections["default"]) as captured:
        look()
    assert not [one["sql"] for one in captured if "arrived_at" in one["sql"].partition("ORDER BY")[2]]


def test_states_are_read_in_pieces(monkeypatch):
    """Each may be large, and a page has many."""
    entries = compared(1, 2, 3, 4, 5)
    places = [attempts.submitted(one.raw_header, one.student_info, one.learner).place for one in entries]
    whole = state.problems(places)
    monkeypatch.setattr(state, "AT_ONCE", 2)
    with CaptureQueriesContext(connections["default"]) as captured:
        assert state.problems(places) == whole
    assert len(whole) == 5
    assert len([one for one in captured if "courseware_studentmodule" in one["sql"]]) == 3


def test_pages_are_gone_through_to_the_end(monkeypatch):
    monkeypatch.setattr(learner_side, "PAGE", 2)
    entries = compared(1, 2, 3, 4, 5)
    look()
    assert {said(one)[0] for one in entries} == {"comparable"}


def test_no_key_stands_in_the_variables_of_a_traceback():
    waiting()
    [entry] = learner_side._entries(COURSE, 0, conf.load(), now())
    assert repr(entry) == f"<entry {entry.pk}>"
