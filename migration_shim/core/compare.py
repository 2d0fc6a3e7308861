"""Compare the outcomes of one submission on both systems: one result for each pair, with typed divergences."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from .data import Comparison, DivergenceClass, Outcome, PairStatus, Remarks, ReplyKind, ScoreStyle, State
from .scoring import judge_points, same_score, scaled
from .supersession import Name

#: Legacy states that leave nothing to compare: the learner's result does not come from this row on either side.
_REPLACED = {State.SUPERSEDED: "superseded_on_legacy_only", State.COLLIDED: "collided_on_legacy_only"}
_NO_REMARKS = Remarks()
# Nearly every pair is one of these; a million pairs share them.
_EQUAL = Comparison(status=PairStatus.EQUAL, divergences={})
_WAITING = Comparison(status=PairStatus.WAITING, divergences={})
_OVERDUE = Comparison(status=PairStatus.OVERDUE, divergences={})
#: The copy waits in the outbox. It may be late, which the watch reports and the gate counts, but it is not missing.
OWED = "owed"
_OWED = Comparison(status=PairStatus.WAITING, divergences={}, known=OWED)
_REPLACED_ON_TARGET = "superseded_on_target_only"


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """
    How long one side may lack what the other side has before the pair counts as late.

    ``observed`` is a high quantile of the cohort's grading times, from arrival to return: a grader that always takes
    long is not late. It only lengthens the deadline. ``latency`` is how much longer than legacy the target may take;
    None for a pair whose sides did not begin at the same moment. ``moved_at`` is when a handoff or a return gave the
    submission to the side that works on it now; its row there carries the arrival time of the other side.
    """

    presence: timedelta
    grading: timedelta
    observed: timedelta | None = None
    latency: timedelta | None = None
    moved_at: datetime | None = None

    @property
    def deadline(self) -> timedelta:
        """How long the slower side may take: the setting, or twice the cohort's usual time if that is longer."""
        return self.grading if self.observed is None else max(self.grading, 2 * self.observed)


def compare(
    legacy: Outcome,
    target: Outcome,
    now: datetime,
    patience: Patience,
    style: ScoreStyle = ScoreStyle.UNKNOWN,
) -> Comparison:
    """
    Compare the two sides of one submission.

    Unfinished work is no mismatch: while one side is inside its deadline the pair is ``waiting``, later it is
    ``overdue``. A row that only legacy superseded or collided, or only the target superseded for a newer attempt, is a
    known difference, because no learner's result depends on it. A row that is gone counts as it was when it was last
    read.

    Args:
        legacy: legacy's side.
        target: the target's side.
        now: the moment of the comparison.
        patience: the deadlines and bounds of this pair.
        style: what the graders of the queue call a score; only the target's stored points are judged by it.
    """
    one, other = legacy.remarks, target.remarks
    if one is None and other is None:
        return _by_state(legacy, target, now, patience, style)
    one, other = one or _NO_REMARKS, other or _NO_REMARKS
    if one.was is not None:
        legacy = _as_last_read(legacy, one.was)
    result = _by_state(legacy, target, now, patience, style)
    if found := _remarkable(one, other):
        return Comparison(status=PairStatus.DIVERGED, divergences=found | dict(result.divergences), known=result.known)
    if one.refused and result.status is PairStatus.EQUAL:
        # A copy that was not owed exists all the same, and the two sides agree.
        return dataclasses.replace(result, known=DivergenceClass.STORED_AFTER_REFUSAL.value)
    return result


def _by_state(legacy: Outcome, target: Outcome, now: datetime, patience: Patience, style: ScoreStyle) -> Comparison:
    one, other = legacy.state, target.state
    if one is other is State.GRADED:
        return _graded(legacy, target, patience, style)
    if State.LOST in (one, other):
        found = {DivergenceClass.LOST: f"vanished from {_sides(one, other, State.LOST)} before it had an outcome"}
        if State.STUCK in (one, other):  # the row that is left needs an operator all the same
            found |= _stuck(one, other)
        return Comparison(status=PairStatus.DIVERGED, divergences=found)
    if one in _REPLACED and other is not one:
        return Comparison(status=PairStatus.KNOWN, divergences={}, known=_REPLACED[one])
    if State.MISSING in (one, other):
        return _missing(legacy, target, now, patience)
    if State.STUCK in (one, other):
        return Comparison(status=PairStatus.DIVERGED, divergences=_stuck(one, other))
    if not (one.is_final and other.is_final):
        return _unfinished(legacy, target, now, patience)
    if one is other:
        return _EQUAL
    if State.HANDED_OFF in (one, other):
        # Moved on purpose: one side gave it up to the other, and only one outcome was ever wanted.
        return Comparison(
            status=PairStatus.KNOWN, divergences={}, known=f"moved_from_{_sides(one, other, State.HANDED_OFF)}"
        )
    remarks = target.remarks
    if other is State.SUPERSEDED and remarks is not None and (remarks.newer_attempt or remarks.overlapping):
        return Comparison(status=PairStatus.KNOWN, divergences={}, known=_REPLACED_ON_TARGET)
    return _diverged(DivergenceClass.STATE, f"legacy {one}, target {other}")


def _missing(legacy: Outcome, target: Outcome, now: datetime, patience: Patience) -> Comparison:
    remarks = target.remarks or _NO_REMARKS
    if remarks.owed:
        return _OWED
    if target.state is State.MISSING and remarks.overlapping and remarks.superseded:
        return Comparison(status=PairStatus.KNOWN, divergences={}, known=_REPLACED_ON_TARGET)
    arrived = min(at for at in (legacy.arrived_at, target.arrived_at, now) if at is not None)
    if now - arrived <= patience.presence:
        return _WAITING
    if target.state is State.MISSING and legacy.remarks is not None and legacy.remarks.refused:
        return _diverged(DivergenceClass.STORED_AFTER_REFUSAL, "the sender was told that it failed; legacy has it")
    side = "legacy" if legacy.state is State.MISSING else "target"
    return _diverged(DivergenceClass.PRESENCE, f"missing on {side}")


def _unfinished(legacy: Outcome, target: Outcome, now: datetime, patience: Patience) -> Comparison:
    if not legacy.state.is_final and not target.state.is_final:
        return _WAITING
    finished, other = (legacy, target) if legacy.state.is_final else (target, legacy)
    # The slower side's time runs from when it could begin: its own arrival, a move, or the other side's end.
    begun = (finished.returned_at, other.arrived_at or now, patience.moved_at)
    since = max(at for at in begun if at is not None)
    return _WAITING if now - since <= patience.deadline else _OVERDUE


def _graded(legacy: Outcome, target: Outcome, patience: Patience, style: ScoreStyle) -> Comparison:
    found: dict[DivergenceClass, str] = {}
    known = ""
    one, other, points = legacy.reply, target.reply, target.points
    if one is not None and other is not None:
        if one.kind is not other.kind:
            found[DivergenceClass.CORRECTNESS] = f"legacy's reply is {one.kind}, target's {other.kind}"
        elif one.kind is ReplyKind.VALID:
            if one.correct is not other.correct:
                found[DivergenceClass.CORRECTNESS] = f"legacy {one.correct}, target {other.correct}"
            if one.score != other.score and not same_score(one.score, other.score):
                same = points is not None and scaled(one.score or 0.0, other.score or 0.0, points.possible)
                klass = DivergenceClass.SCALE if same else DivergenceClass.SCORE
                found[klass] = f"legacy {one.score:g}, target {other.score:g}"
    if other is not None and points is not None:
        klass_of_points, text = judge_points(other, points, style)
        if klass_of_points is None:
            known = text
        else:
            found.setdefault(klass_of_points, text)
    if legacy.reached is not None and target.reached is not None and legacy.reached is not target.reached:
        side = "legacy" if legacy.reached else "target"
        found[DivergenceClass.STATE] = f"only {side}'s reply reached the learner"
    if patience.latency is not None and (late := _lateness(legacy, target)) is not None and late > patience.latency:
        found[DivergenceClass.LATENCY] = f"target took {late.total_seconds():.0f} s longer"
    if found:
        return Comparison(status=PairStatus.DIVERGED, divergences=found, known=known)
    return Comparison(status=PairStatus.EQUAL, divergences=found, known=known) if known else _EQUAL


def _lateness(legacy: Outcome, target: Outcome) -> timedelta | None:
    if legacy.arrived_at is None or legacy.returned_at is None:
        return None
    if target.arrived_at is None or target.returned_at is None:
        return None
    return (target.returned_at - target.arrived_at) - (legacy.returned_at - legacy.arrived_at)


def _remarkable(legacy: Remarks, target: Remarks) -> dict[DivergenceClass, str]:
    found: dict[DivergenceClass, str] = {}
    if (legacy.duplicates or target.duplicates) and not target.overlapping:
        found[DivergenceClass.DUPLICATE] = f"{1 + legacy.duplicates} rows on legacy, {1 + target.duplicates} on target"
    if target.overtaken and not target.overlapping:
        found[DivergenceClass.ORDER] = "target handed out a later attempt first"
    if legacy.identity and target.identity and legacy.identity != target.identity:
        found[DivergenceClass.IDENTITY] = "the two sides name another learner or problem"
    return found


def _diverged(klass: DivergenceClass, text: str) -> Comparison:
    return Comparison(status=PairStatus.DIVERGED, divergences={klass: text})


def _stuck(legacy: State, target: State) -> dict[DivergenceClass, str]:
    return {DivergenceClass.STUCK: f"stuck on {_sides(legacy, target, State.STUCK)}"}


def _sides(legacy: State, target: State, state: State) -> str:
    if legacy is target:
        return "both sides"
    return "legacy" if legacy is state else "target"


def _as_last_read(outcome: Outcome, was: State) -> Outcome:
    return dataclasses.replace(outcome, state=was) if outcome.state is State.GONE else outcome


def state_of_vanished(last_read: State | None) -> State:
    """
    Return the state of a row that no longer exists: MISSING, GONE or LOST, by its state when it was last read.

    ``last_read`` is None where it was never read.
    """
    if last_read is None or last_read is State.MISSING:
        return State.MISSING
    return State.GONE if last_read.is_final and last_read is not State.LOST else State.LOST


def reached_learner(state: State, *, acked: bool, returned: bool) -> bool:
    """
    Tell whether the reply of a legacy row reached its learner.

    The LMS ignores a reply to an attempt that was superseded since. An acknowledgement without a return belongs to the
    "could not be graded" message of an operator's retire command. A row that another problem's submission had retired
    (collided) is ``graded`` once its reply was acknowledged, because that reply did reach the learner.
    """
    return state is State.GRADED and acked and returned


def overtaken(attempts: Iterable[tuple[Name, datetime, datetime | None]]) -> set[Name]:
    """
    Return the names of the attempts that were handed out after a later one. All are one learner's at one input.

    Args:
        attempts: (name, arrival, first hand-out or None) of one side's rows that are not superseded. The hand-out is
            None where there was none, or where only a later one is known: a grader that died is no disorder.
    """
    late: set[Name] = set()
    # From the newest arrival back: ``first`` is the earliest hand-out among all that arrived strictly later.
    first: datetime | None = None
    arrived_then: datetime | None = None
    pending: datetime | None = None
    for key, arrived_at, handed_out_at in sorted(attempts, key=lambda attempt: attempt[1], reverse=True):
        if arrived_at != arrived_then:
            first = min((at for at in (first, pending) if at is not None), default=None)
            arrived_then, pending = arrived_at, None
        if handed_out_at is not None:
            if first is not None and handed_out_at > first:
                late.add(key)
            pending = handed_out_at if pending is None else min(pending, handed_out_at)
    return late
