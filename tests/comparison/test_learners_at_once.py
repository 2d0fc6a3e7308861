"""Learners of plainly equal pairs are asked with the comparison; what is noted is what a later look would note."""

import json
from datetime import timedelta

import pytest
from django.db import InterfaceError, OperationalError, connection
from django.utils.timezone import now

from migration_shim.comparison import candidates, equal_pairs, pairs
from migration_shim.comparison.score_styles import ScoreStyles
from migration_shim.conf import load
from migration_shim.delivery import learner_side, said
from migration_shim.lms import state
from migration_shim.models import Bucket, Histogram, LedgerEntry
from sandbox.lms import capa
from tests.builders import changes, rows
from tests.builders import waiting_learners as world
from tests.builders.rows import COURSE, RIGHT, fresh  # noqa: F401
from tests.ledger.counters.oracle import assert_counters_equal_counts

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "xqueue"])
DAY = timedelta(days=1)
NOTED = ("learner_said", "learner_correct", "learner_score", "undeliverable")
NOBODY = ("", None, None, "")


def pair(user, *, age=3 * DAY, ago=2 * DAY, **columns):
    """A pair that both systems have graded so long ago that nothing more can come of it, and whose learner has it."""
    row = rows.legacy_row(user, problem=f"{user:032x}", age=age, **columns)
    rows.backfill()
    changes.both_graded(row, RIGHT, ago=ago)
    LedgerEntry.objects.filter(legacy_id=row.pk).update(origin="router")
    entry = changes.entry_of(row)
    world.save(entry, user)
    has(user)
    return entry


def place(user):
    return rows.usage_key(f"{user:032x}")


def has(user, **answer):
    """The learner's state holds an answer, and waits for none."""
    answer = {"correctness": "correct", "npoints": 1.0} | answer
    world.change_state(user, place(user), correct_map={f"{user:032x}_2_1": capa.entry(**answer)})


def columns(**values):
    return lambda user: LedgerEntry.objects.filter(learner=rows.anonymous_id(user)).update(**values)


def text(written):
    return lambda user: world.write_state(written, user)


def submitted_later(user):
    world.change_state(user, place(user), last_submission_time=now().strftime("%Y-%m-%dT%H:%M:%SZ"))


def newer_attempt(user):
    """The learner's next attempt, after the reply to this one; its own learner is asked too."""
    row = rows.legacy_row(user, problem=f"{user:032x}", age=3 * DAY / 2, answer="x = 2")
    rows.backfill()
    changes.both_graded(row, RIGHT, ago=DAY)
    LedgerEntry.objects.filter(legacy_id=row.pk).update(origin="router")


def in_the_same_moment(user):
    """Two attempts of one time: the one with the higher id is the newer one."""
    newer_attempt(user)
    entries = LedgerEntry.objects.filter(learner=rows.anonymous_id(user))
    entries.update(arrived_at=entries.order_by("pk")[0].arrived_at)


CASES = {
    "comparable": lambda user: None,
    "something else": lambda user: has(user, npoints=0.5),
    "wrong": lambda user: has(user, correctness="incorrect", npoints=0),
    "waits": lambda user: world.save(LedgerEntry.objects.get(learner=rows.anonymous_id(user)), user),
    "waits for another": lambda user: has(user, queuestate={"key": "f" * 32, "time": "20261101000000"}),
    "nothing": text(None),
    "no object": text("[]"),
    "no json": text("{"),
    "no answer": lambda user: world.change_state(user, place(user), correct_map={}),
    "no time": lambda user: world.change_state(user, place(user), last_submission_time=None),
    "submitted later": submitted_later,
    "no learner": lambda user: world.learner(user).delete(),
    "newer attempt": newer_attempt,
    "the same moment": in_the_same_moment,
    "history": columns(history=True, echo=True),
    "asked before": columns(learner_said="no_answer", learner_settled_at=now()),
    "waited before": columns(learner_said="waits", undeliverable="failed"),
    "not asked any more": columns(learner_settled_at=now()),
}


def noted():
    entries = LedgerEntry.objects.order_by("pk")
    bins = Histogram.objects.exclude(number=0).order_by("kind", "bin")
    return (
        [(*one[:-1], one[-1] is not None) for one in entries.values_list(*NOTED, "learner_settled_at")],
        list(bins.values_list("kind", "bin", "number")),
    )


def test_what_is_noted_is_what_a_later_look_would_note(monkeypatch):
    for user, change in enumerate(CASES.values(), 100):
        pair(user)
        change(user)
    before = list(LedgerEntry.objects.order_by("pk").values())
    rows.reconcile()
    at_once = noted()
    assert_counters_equal_counts(exact=True)

    for values in before:
        LedgerEntry.objects.filter(pk=values.pop("id")).update(**values)
    Bucket.objects.all().delete()
    Histogram.objects.all().delete()
    monkeypatch.setattr(said, "of_graded", lambda entries, settings: {})
    rows.reconcile(full=True)
    assert noted() == at_once
    kinds = {one[0] for one in at_once[0]}
    assert kinds == {
        *("", "comparable", "waits", "no_answer", "unreadable", "no_submission_time", "submitted_later"),
        *("no_learner", "newer_attempt"),
    }


def store(*entries):
    context = pairs.ComparisonContext(settings=load(), styles=ScoreStyles({}, {}), register=[])
    assert equal_pairs.store([entry.pk for entry in entries], context, candidates.Rules.of("basis", {})) == []


def note_of(entry):
    return LedgerEntry.objects.values_list(*NOTED).get(pk=entry.pk)


def test_one_look_is_enough(monkeypatch):
    """What was asked with the comparison is asked once: no later look reads the state again."""
    entry = pair(7)
    store(entry)
    assert note_of(entry) == ("comparable", True, 1.0, "")
    monkeypatch.setattr(state, "problems", lambda places: pytest.fail("asked again") if places else {})
    learner_side.ask_learners(COURSE, load(), lambda: None)
    assert note_of(entry) == ("comparable", True, 1.0, "")


def test_a_reply_that_may_still_change_is_not_held_against_its_learner():
    entry = pair(7, age=timedelta(minutes=3), ago=timedelta(minutes=1))
    store(entry)
    assert note_of(entry) == NOBODY


def test_states_are_read_after_the_rows_and_outside_of_a_transaction(monkeypatch):
    """In one, the snapshot could be older than the rows: a grade on its way would be taken for missing."""
    entry, order = pair(7), []
    read, ask = equal_pairs.read_pairs, state.problems

    def rows_first(*args, **options):
        order.append("rows")
        return read(*args, **options)

    def then_states(places):
        order.append(("states", connection.in_atomic_block))
        return ask(places)

    monkeypatch.setattr(equal_pairs, "read_pairs", rows_first)
    monkeypatch.setattr(state, "problems", then_states)
    store(entry)
    assert order == ["rows", ("states", False)]


@pytest.mark.parametrize(
    "meanwhile",
    [
        {"learner": "retired:0"},
        {"learner_said": "waits"},
        {"learner_settled_at": now()},
        {"purged_at": now()},
        {"move": "held"},
    ],
    ids=lambda values: next(iter(values)),
)
def test_nothing_is_noted_of_an_entry_that_was_changed_meanwhile(monkeypatch, meanwhile):
    """The grade in a learner's state is not brought back into an entry whose learner was forgotten."""
    one, other = pair(7), pair(8)
    ask = state.problems

    def changed_behind(places):
        LedgerEntry.objects.filter(pk=one.pk).update(**meanwhile)
        return ask(places)

    monkeypatch.setattr(state, "problems", changed_behind)
    context = pairs.ComparisonContext(settings=load(), styles=ScoreStyles({}, {}), register=[])
    left = equal_pairs.store([one.pk, other.pk], context, candidates.Rules.of("basis", {}))
    assert left == ([one.pk] if "move" in meanwhile else [])
    assert note_of(one)[1:3] == (None, None)
    assert note_of(other) == ("comparable", True, 1.0, "")


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_results_are_stored_where_states_cannot_be_read(monkeypatch, error):
    """As while the database of the learners' states is away: the later look asks, and says so."""
    entry = pair(7)

    def away(model, wanted, *, lock):
        raise error("away")

    with monkeypatch.context() as patched, pytest.raises(error):
        patched.setattr(state, "_problems", away)
        rows.reconcile()
    assert LedgerEntry.objects.get().result == "equal"
    assert note_of(entry) == NOBODY
    rows.reconcile()
    assert note_of(entry) == ("comparable", True, 1.0, "")


def test_states_that_cannot_be_read_are_asked_for_once_a_run(monkeypatch):
    """A database that hangs lets each question wait for its timeout, and a first run has hundreds of batches."""
    entries, asked = [pair(user) for user in (7, 8, 9)], []

    def away(model, wanted, *, lock):
        asked.append(wanted)
        raise OperationalError("away")

    monkeypatch.setattr(state, "_problems", away)
    context = pairs.ComparisonContext(settings=load(), styles=ScoreStyles({}, {}), register=[])
    for entry in entries:
        assert equal_pairs.store([entry.pk], context, candidates.Rules.of("basis", {})) == []
    assert len(asked) == 1
    assert [note_of(entry) for entry in entries] == [NOBODY] * 3
    assert set(LedgerEntry.objects.values_list("result", flat=True)) == {"equal"}


def test_outside_an_lms_nobody_is_asked(monkeypatch):
    entry = pair(7)
    monkeypatch.setattr(state, "_model", lambda: None)
    store(entry)
    assert note_of(entry) == NOBODY


def test_no_header_stands_in_what_is_asked():
    entry = pair(7)
    asked = said.Graded(entry.raw_header, entry.student_info, entry.learner, entry.arrived_at, 1)
    assert json.loads(entry.raw_header)["lms_key"] not in repr(asked)
