"""
What random graders may excuse, measured on shadows that the target has graded twice. See docs/decisions/0012.
"""

from __future__ import annotations

from .evidence import Evidence, Tally, Thresholds
from .martingale import lower_bound, upper_bound


def rate_and_error(evidence: Evidence, thresholds: Thresholds) -> tuple[float, float]:
    """
    What the course's rate of divergences has to be shown to be under, and with which error.

    Without pairs graded twice: the threshold, with the whole error. With them the error is shared between the two
    rates, and the threshold grows by what the target is shown to disagree with itself at least. That credit is given
    only while it is shown, too, that the target does not disagree with itself more than with legacy: randomness of the
    target's own would excuse itself.
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


def problem_rate(problem: Tally, thresholds: Thresholds, error: float) -> float:
    """The rate above which a problem fails: the threshold, and the noise that its own pairs graded twice show."""
    if not problem.twins_differ:
        return thresholds.rate
    return thresholds.rate + min(thresholds.noise_cap, lower_bound(problem.twins, problem.twins_differ, error))
