"""One pair: equal, diverged, known, waiting or overdue."""

import itertools
from datetime import timedelta

import pytest

from migration_shim.core.compare import Patience, compare
from migration_shim.data import DivergenceClass, Outcome, PairStatus, Reply, ReplyKind, State
from tests.core.rows import NOON

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


@pytest.mark.parametrize(("legacy", "target"), list(itertools.product(State, State)))
def test_every_two_states_long_after(legacy, target):
    """With all patience gone. A pair in one state is equal, one that both still work on is not late."""
    result = compare(outcome(legacy, returned=1), outcome(target, returned=1), at(10_000), PATIENCE)
    if legacy in REPLACED and target is not legacy:
        expected = KNOWN
    elif State.MISSING in (legacy, target):
        expected = DIVERGED
    elif {legacy, target} <= {State.QUEUED, State.PULLED}:
        expected = WAITING
    elif {legacy, target} & {State.QUEUED, State.PULLED}:
        expected = OVERDUE
    else:
        expected = EQUAL if legacy is target else DIVERGED
    assert result.status is expected
    assert set(result.divergences) <= {DivergenceClass.PRESENCE, DivergenceClass.STATE}
    assert bool(result.divergences) is (expected is DIVERGED)


def test_states_that_differ_are_named():
    result = compare(outcome(State.GIVEN_UP), graded(valid()), at(0), PATIENCE)
    assert result.divergences == {DivergenceClass.STATE: "legacy given_up, target graded"}


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
