"""Outcome against outcome: one result for each pair, with typed divergences."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from ..data import Comparison, DivergenceClass, Outcome, PairStatus, ReplyKind, State
from .scoring import same_score

#: Legacy states that leave nothing to compare: the learner's result does not come from this row on either side.
_REPLACED = {State.SUPERSEDED: "superseded_on_legacy_only", State.COLLIDED: "collided_on_legacy_only"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long one side may lack what the other has, before that is held against it."""

    presence: timedelta
    grading: timedelta


def compare(legacy: Outcome, target: Outcome, now: datetime, patience: Patience) -> Comparison:
    """
    Compare the two sides of one submission.

    Unfinished work is no mismatch: as long as one side is inside its deadline the pair is ``waiting``, after that it is
    ``overdue``. A row that legacy alone superseded or collided is a known difference: no learner's result hangs on it,
    and this version does not supersede on the target.
    """
    if legacy.state in _REPLACED and target.state is not legacy.state:
        return Comparison(status=PairStatus.KNOWN, divergences={}, known=_REPLACED[legacy.state])
    if State.MISSING in (legacy.state, target.state):
        return _missing(legacy, target, now, patience)
    if not (legacy.state.is_final and target.state.is_final):
        return _unfinished(legacy, target, now, patience)
    divergences = _final_divergences(legacy, target)
    return Comparison(status=PairStatus.DIVERGED if divergences else PairStatus.EQUAL, divergences=divergences)


def _missing(legacy: Outcome, target: Outcome, now: datetime, patience: Patience) -> Comparison:
    arrived = min(at for at in (legacy.arrived_at, target.arrived_at, now) if at is not None)
    if now - arrived <= patience.presence:
        return Comparison(status=PairStatus.WAITING, divergences={})
    side = "legacy" if legacy.state is State.MISSING else "target"
    return Comparison(status=PairStatus.DIVERGED, divergences={DivergenceClass.PRESENCE: f"missing on {side}"})


def _unfinished(legacy: Outcome, target: Outcome, now: datetime, patience: Patience) -> Comparison:
    if not legacy.state.is_final and not target.state.is_final:
        return Comparison(status=PairStatus.WAITING, divergences={})
    finished, other = (legacy, target) if legacy.state.is_final else (target, legacy)
    # The slower side has its time from the moment at which it could begin: its own arrival, or the other's end.
    since = max(at for at in (finished.returned_at, other.arrived_at, other.arrived_at or now) if at is not None)
    status = PairStatus.WAITING if now - since <= patience.grading else PairStatus.OVERDUE
    return Comparison(status=status, divergences={})


def _final_divergences(legacy: Outcome, target: Outcome) -> dict[DivergenceClass, str]:
    if legacy.state is not target.state:
        return {DivergenceClass.STATE: f"legacy {legacy.state}, target {target.state}"}
    if legacy.reply is None or target.reply is None:
        return {}
    if legacy.reply.kind is not target.reply.kind:
        text = f"legacy's reply is {legacy.reply.kind}, target's {target.reply.kind}"
        return {DivergenceClass.CORRECTNESS: text}
    if legacy.reply.kind is not ReplyKind.VALID:
        return {}
    found = {}
    if legacy.reply.correct is not target.reply.correct:
        found[DivergenceClass.CORRECTNESS] = f"legacy {legacy.reply.correct}, target {target.reply.correct}"
    if not same_score(legacy.reply.score, target.reply.score):
        found[DivergenceClass.SCORE] = f"legacy {legacy.reply.score:g}, target {target.reply.score:g}"
    return found
