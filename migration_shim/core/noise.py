"""How much random graders may excuse, measured on shadows that the target has graded twice. See docs/decisions/0012."""

from __future__ import annotations

from datetime import datetime, timedelta

from .compare import Patience, compare
from .data import Outcome, State
from .evidence import CohortEvidence, Evidence, Thresholds
from .martingale import lower_bound, upper_bound
from .scoring import read_reply

_AT_ONCE = Patience(presence=timedelta(0), grading=timedelta(0))


def sample_end(percent: float) -> str:
    """
    Return the end of the sample that is graded twice: every identity digest that sorts before it is in the sample.

    A digest is a hash of the submission in hexadecimal. So the sample is the same in every process, and a range of an
    index.
    """
    return "g" if percent >= 100 else f"{int(percent / 100 * 2**64):016x}"


def same_outcome(shadow: str, twin: str, moment: datetime) -> bool:
    """
    Tell whether two replies to one submission are one outcome, as a comparison of the two systems would count them.
    """
    one, other = (Outcome(state=State.GRADED, reply=read_reply(text)) for text in (shadow, twin))
    return not compare(one, other, moment, _AT_ONCE).divergences


def rate_and_error(evidence: Evidence, thresholds: Thresholds) -> tuple[float, float]:
    """
    Return the rate that the course's divergences have to be shown to be under, and with which error.

    Without pairs graded twice, these are the threshold and the whole error. With them, the error is shared between the
    two rates, and the threshold grows by the rate at which the target is shown to disagree with itself at least. That
    credit is given only while it is also shown that the target does not disagree with itself more than with legacy.
    Otherwise randomness of the target's own would excuse itself.
    """
    twins = sum(problem.twins for problem in evidence.problems)
    if not twins:
        return thresholds.rate, thresholds.error
    error = thresholds.error / 2
    differ = sum(problem.twins_differ for problem in evidence.problems)
    if differ == 0:
        return thresholds.rate, error
    against_legacy = lower_bound(evidence.pairs, evidence.diverged, error)
    if upper_bound(twins, differ, error) - against_legacy >= thresholds.rate:
        return thresholds.rate, error
    return thresholds.rate + min(thresholds.noise_cap, lower_bound(twins, differ, error)), error


def problem_rate(problem: CohortEvidence, thresholds: Thresholds, error: float) -> float:
    """
    Return the rate above which a problem fails: the threshold, and the noise that its own pairs graded twice show.
    """
    if not problem.twins_differ:
        return thresholds.rate
    return thresholds.rate + min(thresholds.noise_cap, lower_bound(problem.twins, problem.twins_differ, error))
