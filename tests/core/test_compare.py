"""One pair: equal, diverged, known, waiting or overdue."""

import dataclasses
import itertools
import timeit
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migration_shim.core.compare import Patience, compare, overtaken, reached_learner, state_of_vanished
from migration_shim.core.data import (
    DivergenceClass,
    Outcome,
    PairStatus,
    Points,
    Remarks,
    Reply,
    ReplyKind,
    ScoreStyle,
    State,
)
from tests.builders.core_rows import NOON

PATIENCE = Patience(presence=timedelta(minutes=2), grading=timedelta(hours=1))
EQUAL, DIVERGED, KNOWN = PairStatus.EQUAL, PairStatus.DIVERGED, PairStatus.KNOWN
WAITING, OVERDUE = PairStatus.WAITING, PairStatus.OVERDUE


def at(minutes):
    return NOON + timedelta(minutes=minutes)


def valid(correct=True, score=1.0):
    return Reply(kind=ReplyKind.VALID, correct=correct, score=score)


def outcome(state, reply=None, arrived=0, returned=None):
    return Outcome(
        state=state,
        reply=reply,
        arrived_at=None if arrived is None else at(arrived),
        returned_at=None if returned is None else at(returned),
    )


def graded(reply):
    return outcome(State.GRADED, reply, returned=1)


INVALID, RAISES = Reply(kind=ReplyKind.INVALID), Reply(kind=ReplyKind.RAISES)
NAN = float("nan")


@pytest.mark.parametrize(
    ("legacy", "target", "found"),
    [
        (valid(), valid(), {}),
        (valid(score=0.1 + 0.2), valid(score=0.3), {}),
        (valid(score=NAN), valid(score=NAN), {}),
        (INVALID, INVALID, {}),
        (RAISES, RAISES, {}),
        (valid(), valid(False), {"correctness": "legacy True, target False"}),
        (valid(score=0.5), valid(score=1), {"score": "legacy 0.5, target 1"}),
        (valid(score=NAN), valid(score=0), {"score": "legacy nan, target 0"}),
        (
            valid(True, 1),
            valid(False, 0),
            {"correctness": "legacy True, target False", "score": "legacy 1, target 0"},
        ),
        (valid(), INVALID, {"correctness": "legacy's reply is valid, target's invalid"}),
        (RAISES, INVALID, {"correctness": "legacy's reply is raises, target's invalid"}),
    ],
)
def test_two_replies(legacy, target, found):
    result = compare(graded(legacy), graded(target), at(0), PATIENCE)
    assert result.divergences == found
    assert result.status is (DIVERGED if found else EQUAL)
    assert result.known == ""


REPLACED = (State.SUPERSEDED, State.COLLIDED)


OPEN = (State.QUEUED, State.PULLED)


@pytest.mark.parametrize(("legacy", "target"), list(itertools.product(State, State)))
def test_every_two_states_long_after(legacy, target):
    """With all patience gone. A pair in one state is equal, one that both still work on is not late."""
    result = compare(outcome(legacy, returned=1), outcome(target, returned=1), at(10_000), PATIENCE)
    found, either = None, (legacy, target)
    also = {DivergenceClass.STUCK} if set(either) == {State.LOST, State.STUCK} else set()
    if State.LOST in either:
        expected, found = DIVERGED, DivergenceClass.LOST
    elif legacy in REPLACED and target is not legacy:
        expected = KNOWN
    elif State.MISSING in either:
        expected, found = DIVERGED, DivergenceClass.PRESENCE
    elif State.STUCK in either:
        expected, found = DIVERGED, DivergenceClass.STUCK
    elif legacy in OPEN and target in OPEN:
        expected = WAITING
    elif legacy in OPEN or target in OPEN:
        expected = OVERDUE
    elif legacy is target:
        expected = EQUAL
    elif State.HANDED_OFF in either:
        expected = KNOWN
    else:
        expected, found = DIVERGED, DivergenceClass.STATE
    assert result.status is expected
    assert set(result.divergences) == ({found} if found else set()) | also
    assert bool(result.known) is (expected is KNOWN)


def test_states_that_differ_are_named():
    result = compare(outcome(State.GIVEN_UP), graded(valid()), at(0), PATIENCE)
    assert result.divergences == {DivergenceClass.STATE: "legacy given_up, target graded"}


def test_a_copy_that_is_owed_is_not_missing_however_late_it_is():
    """The watch says how late it is, and the gate counts it (``gathering``)."""
    target = dataclasses.replace(outcome(State.MISSING, arrived=None), remarks=Remarks(owed=True))
    found = compare(outcome(State.QUEUED, arrived=-600), target, at(9000), PATIENCE)
    assert (found.status, found.known, found.divergences) == (WAITING, "owed", {})


@pytest.mark.parametrize("target", [State.GRADED, State.PULLED, State.FAILED, State.MISSING])
@pytest.mark.parametrize(
    ("state", "known"),
    [(State.SUPERSEDED, "superseded_on_legacy_only"), (State.COLLIDED, "collided_on_legacy_only")],
)
def test_what_legacy_alone_retired_is_known(state, known, target):
    result = compare(outcome(state), outcome(target), at(10_000), PATIENCE)
    assert (result.status, result.known, result.divergences) == (KNOWN, known, {})


@pytest.mark.parametrize("state", [State.GRADED, State.QUEUED])
def test_what_the_target_alone_superseded_is_not_known(state):
    result = compare(outcome(state, valid()), outcome(State.SUPERSEDED, returned=1), at(10_000), PATIENCE)
    assert result.status is (DIVERGED if state.is_final else OVERDUE)


@pytest.mark.parametrize(
    ("legacy", "target", "minutes", "status"),
    [
        # A copy may be missing for two minutes from the arrival of the other side.
        (outcome(State.QUEUED), outcome(State.MISSING, arrived=None), 2, WAITING),
        (outcome(State.QUEUED), outcome(State.MISSING, arrived=None), 2.01, DIVERGED),
        (outcome(State.MISSING, arrived=None), outcome(State.GRADED, arrived=5), 7, WAITING),
        (outcome(State.MISSING, arrived=None), outcome(State.GRADED, arrived=5), 7.01, DIVERGED),
        (outcome(State.MISSING, arrived=3), outcome(State.QUEUED, arrived=0), 2.5, DIVERGED),
        (outcome(State.MISSING, arrived=None), outcome(State.MISSING, arrived=None), 99, WAITING),
        # One side may go on grading for an hour after the other's end, or after its own later arrival.
        (outcome(State.GRADED, returned=5), outcome(State.QUEUED), 65, WAITING),
        (outcome(State.GRADED, returned=5), outcome(State.QUEUED), 65.01, OVERDUE),
        (outcome(State.GRADED, returned=5), outcome(State.PULLED, arrived=30), 90, WAITING),
        (outcome(State.GRADED, returned=5), outcome(State.PULLED, arrived=30), 90.01, OVERDUE),
        (outcome(State.PULLED), outcome(State.FAILED, returned=5), 65, WAITING),
        (outcome(State.PULLED), outcome(State.FAILED, returned=5), 65.01, OVERDUE),
        (outcome(State.GRADED, returned=None), outcome(State.QUEUED), 60, WAITING),
        (outcome(State.GRADED, returned=None), outcome(State.QUEUED), 60.01, OVERDUE),
        (outcome(State.GRADED, returned=None), outcome(State.QUEUED, arrived=None), 60.01, WAITING),
        # Both at work: nobody is late.
        (outcome(State.QUEUED), outcome(State.PULLED), 9999, WAITING),
    ],
)
def test_patience(legacy, target, minutes, status):
    result = compare(legacy, target, at(minutes), PATIENCE)
    assert result.status is status


@pytest.mark.parametrize(
    ("legacy", "target", "side"),
    [
        (State.GRADED, State.MISSING, "target"),
        (State.MISSING, State.GRADED, "legacy"),
    ],
)
def test_the_missing_side_is_named(legacy, target, side):
    result = compare(outcome(legacy), outcome(target), at(99), PATIENCE)
    assert result.divergences == {DivergenceClass.PRESENCE: f"missing on {side}"}


# --- states with a meaning of their own -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("legacy", "target", "text"),
    [
        (State.STUCK, State.GRADED, "stuck on legacy"),
        (State.GRADED, State.STUCK, "stuck on target"),
        (State.STUCK, State.STUCK, "stuck on both sides"),
    ],
)
def test_the_stuck_side_is_named_and_patience_does_not_help(legacy, target, text):
    result = compare(outcome(legacy), outcome(target), at(0), PATIENCE)
    assert (result.status, result.divergences) == (DIVERGED, {DivergenceClass.STUCK: text})


def test_an_unfinished_row_that_vanished_is_an_alarm_whatever_the_other_side_says():
    for target in State:
        result = compare(outcome(State.LOST), outcome(target), at(0), PATIENCE)
        found = {DivergenceClass.LOST, DivergenceClass.STUCK} if target is State.STUCK else {DivergenceClass.LOST}
        assert (result.status, set(result.divergences)) == (DIVERGED, found)


@pytest.mark.parametrize(("reply", "found"), [(valid(), {}), (valid(False), {DivergenceClass.CORRECTNESS})])
def test_a_row_that_is_gone_counts_with_what_it_had_said(reply, found):
    gone = dataclasses.replace(graded(valid()), state=State.GONE, remarks=Remarks(was=State.GRADED))
    result = compare(gone, graded(reply), at(10_000), PATIENCE)
    assert set(result.divergences) == set(found)
    assert result.status is (DIVERGED if found else EQUAL)


@pytest.mark.parametrize(("state", "known"), [(State.SUPERSEDED, "superseded_on_legacy_only"), (State.GRADED, "")])
def test_a_row_that_is_gone_keeps_its_state(state, known):
    gone = dataclasses.replace(outcome(State.GONE), remarks=Remarks(was=state))
    assert compare(gone, graded(valid()), at(0), PATIENCE).known == known


@pytest.mark.parametrize(
    ("last_read", "found"),
    [
        (None, State.MISSING),
        (State.MISSING, State.MISSING),
        (State.QUEUED, State.LOST),
        (State.PULLED, State.LOST),
        (State.STUCK, State.LOST),
        (State.LOST, State.LOST),
        (State.GRADED, State.GONE),
        (State.SUPERSEDED, State.GONE),
        (State.COLLIDED, State.GONE),
        (State.GIVEN_UP, State.GONE),
        (State.HANDED_OFF, State.GONE),
        (State.FAILED, State.GONE),
        (State.GONE, State.GONE),
    ],
)
def test_what_a_row_that_is_not_there_is_called(last_read, found):
    assert state_of_vanished(last_read) is found


@pytest.mark.parametrize(
    ("newer", "status", "known"), [(True, KNOWN, "superseded_on_target_only"), (False, DIVERGED, "")]
)
def test_what_the_target_alone_superseded_is_known_only_with_a_newer_attempt(newer, status, known):
    target = dataclasses.replace(outcome(State.SUPERSEDED, returned=1), remarks=Remarks(newer_attempt=newer))
    result = compare(graded(valid()), target, at(10_000), PATIENCE)
    assert (result.status, result.known) == (status, known)
    assert set(result.divergences) == (set() if newer else {DivergenceClass.STATE})


@pytest.mark.parametrize(
    ("legacy", "target", "known"),
    [
        (State.HANDED_OFF, State.GRADED, "moved_from_legacy"),
        (State.HANDED_OFF, State.FAILED, "moved_from_legacy"),
        (State.GRADED, State.HANDED_OFF, "moved_from_target"),
    ],
)
def test_a_moved_submission_has_one_outcome_and_no_pair(legacy, target, known):
    result = compare(outcome(legacy, returned=1), outcome(target, returned=1), at(10_000), PATIENCE)
    assert (result.status, result.known) == (KNOWN, known)


def test_a_moved_submission_that_never_arrived_is_missing():
    result = compare(outcome(State.HANDED_OFF), outcome(State.MISSING), at(99), PATIENCE)
    assert result.divergences == {DivergenceClass.PRESENCE: "missing on target"}


# --- what sets a side apart -------------------------------------------------------------------------------------------


def remarked(side, **remarks):
    return dataclasses.replace(side, remarks=Remarks(**remarks))


def test_a_row_that_legacy_stored_after_a_refusal_is_no_missing_copy():
    legacy = remarked(outcome(State.GRADED, valid(), returned=1), refused=True)
    result = compare(legacy, outcome(State.MISSING), at(99), PATIENCE)
    assert (result.status, set(result.divergences)) == (DIVERGED, {DivergenceClass.STORED_AFTER_REFUSAL})
    assert compare(legacy, outcome(State.MISSING), at(1), PATIENCE).status is WAITING
    copied = compare(legacy, graded(valid()), at(99), PATIENCE)
    assert (copied.status, copied.known) == (EQUAL, "stored_after_refusal")
    assert compare(legacy, graded(valid(False)), at(99), PATIENCE).status is DIVERGED


@pytest.mark.parametrize(
    ("legacy", "target", "klass", "text"),
    [
        ({"duplicates": 1}, {}, "duplicate", "2 rows on legacy, 1 on target"),
        ({}, {"duplicates": 2}, "duplicate", "1 rows on legacy, 3 on target"),
        ({}, {"overtaken": True}, "order", "target handed out a later attempt first"),
        ({"identity": "a"}, {"identity": "b"}, "identity", "the two sides name another learner or problem"),
    ],
)
@pytest.mark.parametrize("state", [State.GRADED, State.QUEUED])
def test_what_is_wrong_beside_the_outcome(state, legacy, target, klass, text):
    pair = remarked(outcome(state, valid()), **legacy), remarked(outcome(state, valid()), **target)
    result = compare(*pair, at(0), PATIENCE)
    assert (result.status, result.divergences) == (DIVERGED, {klass: text})


def test_divergences_of_both_kinds_are_all_named():
    result = compare(graded(valid()), remarked(graded(valid(False)), overtaken=True), at(0), PATIENCE)
    assert set(result.divergences) == {"order", "correctness"}


@pytest.mark.parametrize(
    ("legacy", "target"),
    [({}, {}), ({"identity": "a"}, {"identity": "a"}), ({"identity": "a"}, {}), ({"overtaken": True}, {})],
)
def test_remarks_that_say_nothing_against_a_pair(legacy, target):
    assert compare(remarked(graded(valid()), **legacy), remarked(graded(valid()), **target), at(0), PATIENCE) == (
        compare(graded(valid()), graded(valid()), at(0), PATIENCE)
    )


def test_a_reply_that_reached_its_learner_on_one_side_only():
    legacy, target = (dataclasses.replace(graded(valid()), reached=said) for said in (True, False))
    result = compare(legacy, target, at(0), PATIENCE)
    assert result.divergences == {DivergenceClass.STATE: "only legacy's reply reached the learner"}
    unknown = dataclasses.replace(target, reached=None)
    assert compare(legacy, unknown, at(0), PATIENCE).status is EQUAL


@pytest.mark.parametrize(
    ("state", "acked", "returned", "did"),
    [
        (State.GRADED, True, True, True),
        (State.GRADED, True, False, False),  # the acknowledgement of an operator's "could not be graded"
        (State.GRADED, False, True, False),
        (State.SUPERSEDED, True, True, False),
        (State.GIVEN_UP, False, True, False),
        (State.COLLIDED, False, False, False),
    ],
)
def test_what_reached_the_learner(state, acked, returned, did):
    assert reached_learner(state, acked=acked, returned=returned) is did


# --- time -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("observed", "minutes"),
    [(None, 60), (timedelta(minutes=1), 60), (timedelta(minutes=30), 60), (timedelta(hours=2), 240)],
)
def test_a_cohort_that_takes_long_has_longer(observed, minutes):
    patience = dataclasses.replace(PATIENCE, observed=observed)
    done, working = outcome(State.GRADED, returned=0), outcome(State.QUEUED)
    assert compare(done, working, at(minutes), patience).status is WAITING
    assert compare(done, working, at(minutes + 0.01), patience).status is OVERDUE


def test_a_moved_row_has_its_time_from_the_move():
    """It carries the time of its arrival on the other side, hours before its new graders saw it."""
    patience = dataclasses.replace(PATIENCE, moved_at=at(100))
    gone, working = outcome(State.HANDED_OFF, returned=None), outcome(State.QUEUED)
    assert compare(gone, working, at(160), patience).status is WAITING
    assert compare(gone, working, at(160.01), patience).status is OVERDUE


@pytest.mark.parametrize(("minutes", "late"), [(6, False), (6.01, True)])
def test_the_target_may_take_so_much_longer(minutes, late):
    patience = dataclasses.replace(PATIENCE, latency=timedelta(minutes=5))
    legacy = outcome(State.GRADED, valid(), arrived=0, returned=1)
    target = outcome(State.GRADED, valid(), arrived=2, returned=2 + minutes)
    result = compare(legacy, target, at(99), patience)
    assert result.divergences == ({DivergenceClass.LATENCY: "target took 301 s longer"} if late else {})
    assert compare(legacy, target, at(99), PATIENCE).status is EQUAL
    assert compare(legacy, outcome(State.GRADED, valid()), at(99), patience).status is EQUAL


# --- order ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attempts", "late"),
    [
        ([], ""),
        ([("a", 0, 1)], ""),
        ([("a", 0, 5), ("b", 1, 6)], ""),
        ([("a", 0, 7), ("b", 1, 6)], "a"),
        ([("b", 1, 6), ("a", 0, 7)], "a"),
        ([("a", 0, None), ("b", 1, 6)], ""),
        ([("a", 0, 9), ("b", 0, 6)], ""),  # arrived in the same moment
        ([("a", 0, 6), ("b", 1, 6)], ""),  # handed out in the same moment
        ([("a", 0, 9), ("b", 1, 8), ("c", 2, 7)], "ab"),
        ([("a", 0, 9), ("b", 0, 3), ("c", 2, 7)], "a"),
        ([("a", 0, 4), ("b", 1, None), ("c", 2, 3)], "a"),
    ],
)
def test_an_attempt_that_was_overtaken(attempts, late):
    found = overtaken((key, at(arrived), None if pulled is None else at(pulled)) for key, arrived, pulled in attempts)
    assert found == set(late)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.none() | st.integers(0, 9)), max_size=7))
def test_overtaken_is_what_any_two_attempts_say(times):
    attempts = [(i, at(arrived), None if pulled is None else at(pulled)) for i, (arrived, pulled) in enumerate(times)]
    expected = {
        i
        for i, one, out in attempts
        for _, other, earlier in attempts
        if out is not None and earlier is not None and other > one and earlier < out
    }
    assert overtaken(attempts) == expected


# --- points -----------------------------------------------------------------------------------------------------------


def scored(score, stored, possible, predicted=...):
    points = Points(stored=stored, possible=possible, predicted=stored if predicted is ... else predicted)
    return dataclasses.replace(graded(valid(score=score)), points=points)


@pytest.mark.parametrize(
    ("legacy", "target", "status", "found", "known"),
    [
        (valid(score=1), scored(1, 10, 10), EQUAL, set(), ""),
        (valid(score=0.25), scored(0.25, 2, 10), EQUAL, set(), "rounding"),
        (valid(score=0.25), scored(0.25, 3, 10, predicted=2), DIVERGED, {"stored_points"}, ""),
        (valid(score=0.7), scored(7, 70, 10), DIVERGED, {"scale"}, ""),
        (valid(score=7), scored(0.7, 7, 10), DIVERGED, {"scale"}, ""),
        (valid(score=0.7), scored(0.7, None, 10), DIVERGED, {"lost"}, ""),
        (valid(score=0.5), scored(0.25, 2, 10), DIVERGED, {"score"}, "rounding"),
        (valid(score=5), scored(5, 20, 4), DIVERGED, {"out_of_range"}, ""),
        (valid(score=1), scored(0, 0, 1), DIVERGED, {"score"}, ""),
    ],
)
def test_stored_points(legacy, target, status, found, known):
    result = compare(graded(legacy), target, at(0), PATIENCE)
    assert (result.status, set(result.divergences), result.known) == (status, found, known)


def test_the_style_of_the_queue_decides_what_full_marks_are():
    pair = graded(valid(score=1)), scored(1, 10, 10)
    assert compare(*pair, at(0), PATIENCE, ScoreStyle.RATIO).status is EQUAL
    result = compare(*pair, at(0), PATIENCE, ScoreStyle.ABSOLUTE)
    assert result.divergences == {DivergenceClass.SCALE: "score 1 is 1 of 10, stored 10"}


def test_attempts_are_not_compared():
    other = dataclasses.replace(graded(valid()), attempts=3)
    assert compare(graded(valid()), other, at(0), PATIENCE).status is EQUAL


def test_equal_pairs_cost_next_to_nothing():
    """A million pairs go this way. Measured at 0.6 microseconds; ten times that is still not the bottleneck."""
    pair = graded(valid()), scored(1, 1, 1)
    best = min(timeit.repeat(lambda: compare(*pair, NOON, PATIENCE), number=2000, repeat=5)) / 2000
    assert best < 6e-6
