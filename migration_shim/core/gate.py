"""
The gate: a pure function of (evidence, thresholds). Anything absent, old or errored is never a PASS.

The statistics are anytime-valid: they may be looked at after every pair, daily, for ever, without adding up errors. The
rate p of unexplained divergences is tested by a mixture martingale (Robbins 1970; Ville's inequality): the likelihood
of what was seen, averaged over a uniform mixture of rates, against its likelihood at the threshold. Once that ratio
reaches 1/error, the threshold is refuted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..data import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What the gate asks for. Rates and shares between 0 and 1, ages in seconds."""

    rate: float
    error: float
    pairs_per_queue: int
    pairs_per_problem: int
    thin_share: float
    max_age_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """
    Counts of one problem or one queue.

    ``entries`` have a copy or should have one; ``graded_pairs`` have an outcome on both sides, ``echoed`` of them by an
    echo of legacy's reply, which says nothing of the graders; ``diverged`` differ in a
    way that nobody has explained, ``deterministic`` of them in a way that no random grader can explain either.
    """

    name: str
    entries: int
    graded_pairs: int
    diverged: int
    deterministic: int
    echoed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that is known of one course. An age is in seconds, None where there was no such run."""

    reconcile_age: float | None
    reconcile_complete: bool
    preflight_age: float | None
    preflight_blockers: tuple[str, ...]
    problems: tuple[Tally, ...]
    queues: tuple[Tally, ...]
    missing: int
    overdue: int
    fence_leaks: int
    double_authority: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """The verdict with every reason, what is still needed, and the figures behind the bound."""

    verdict: Verdict
    reasons: tuple[str, ...]
    needed: tuple[str, ...]
    arithmetic: dict[str, float | int]


def _log_beta_tail(n: int, k: int, x: float, *, upper: bool) -> float:
    """
    Log of the integral of p^k (1-p)^(n-k) over [0, x], or over [x, 1].

    With whole numbers the incomplete beta function is a binomial tail: for X ~ Bin(n+1, x), P(X > k) is the share of
    [0, x] and P(X <= k) that of [x, 1]. The terms are summed in logarithms; each tail is summed by itself, so that
    neither is lost as a difference from 1.
    """
    trials = n + 1
    terms: list[float] = []
    top = -math.inf
    for j in range(k + 1) if upper else range(k + 1, trials + 1):
        term = math.lgamma(trials + 1) - math.lgamma(j + 1) - math.lgamma(trials - j + 1)
        term += j * math.log(x) + (trials - j) * math.log1p(-x)
        terms.append(term)
        # Past the mode the terms only fall; what is e^-45 of the largest cannot be seen in a float.
        top = max(top, term)
        if j > trials * x and term < top - 45:
            break
    log_share = top + math.log(math.fsum(math.exp(term - top) for term in terms))
    log_whole = math.lgamma(k + 1) + math.lgamma(n - k + 1) - math.lgamma(n + 2)
    return log_share + log_whole


def evidence_below(n: int, k: int, rate: float) -> float:
    """
    The martingale against "the rate is at least ``rate``", after k divergences in n pairs. 1 means nothing is known.

    The mixture is uniform on [0, rate].
    """
    at_threshold = k * math.log(rate) + (n - k) * math.log1p(-rate)
    return math.exp(min(700.0, _log_beta_tail(n, k, rate, upper=False) - math.log(rate) - at_threshold))


def evidence_above(n: int, k: int, rate: float) -> float:
    """The martingale against "the rate is at most ``rate``". The mixture is uniform on [rate, 1]."""
    at_threshold = k * math.log(rate) + (n - k) * math.log1p(-rate)
    return math.exp(min(700.0, _log_beta_tail(n, k, rate, upper=True) - math.log1p(-rate) - at_threshold))


def pairs_needed(n: int, k: int, thresholds: Thresholds, *, limit: int = 1_000_000) -> int | None:
    """How many more clean pairs would refute the threshold; None when ``limit`` pairs would not."""
    wanted = 1 / thresholds.error

    def enough(more: int) -> bool:
        return evidence_below(n + more, k, thresholds.rate) >= wanted

    if enough(0):
        return 0
    high = 1
    while not enough(high):
        high *= 2
        if high > limit:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def evaluate(evidence: Evidence, thresholds: Thresholds) -> GateResult:
    """The verdict of one course. FAIL outranks STALE outranks INCONCLUSIVE; PASS is what is left."""
    failures = _failures(evidence, thresholds)
    stale = _stale(evidence, thresholds)
    k = sum(problem.diverged for problem in evidence.problems)
    # A copy that is missing diverges without having been graded.
    n = max(k, sum(problem.graded_pairs for problem in evidence.problems))
    more = pairs_needed(n, k, thresholds)
    open_points, needed = _inconclusive(evidence, thresholds, n, k, more)
    verdict = Verdict.PASS
    if open_points:
        verdict = Verdict.INCONCLUSIVE
    if stale:
        verdict = Verdict.STALE
    if failures:
        verdict = Verdict.FAIL
    return GateResult(
        verdict=verdict,
        reasons=(*failures, *stale, *open_points),
        needed=needed,
        arithmetic={
            "pairs": n,
            "diverged": k,
            "threshold": thresholds.rate,
            "error": thresholds.error,
            "evidence": round(evidence_below(n, k, thresholds.rate), 3),
            "evidence_needed": 1 / thresholds.error,
        },
    )


def _failures(evidence: Evidence, thresholds: Thresholds) -> tuple[str, ...]:
    reasons = []
    if evidence.fence_leaks:
        reasons.append(f"{evidence.fence_leaks} fence leaks: a copy reached, or could reach, a learner's grade")
    if evidence.double_authority:
        reasons.append(f"{evidence.double_authority} submissions are alive on both systems for real")
    for blocker in evidence.preflight_blockers:
        reasons.append(f"preflight blocker: {blocker}")
    # The error is shared among the problems, so that a course of two hundred is not failed by chance.
    wanted = max(1, len(evidence.problems)) / thresholds.error
    for problem in evidence.problems:
        pairs = max(problem.graded_pairs, problem.diverged)
        if problem.deterministic:
            reasons.append(f"problem {problem.name}: {problem.deterministic} divergences in presence, state or payload")
        elif problem.diverged and evidence_above(pairs, problem.diverged, thresholds.rate) >= wanted:
            reasons.append(f"problem {problem.name}: {problem.diverged} of {pairs} pairs diverge")
    return tuple(reasons)


def _stale(evidence: Evidence, thresholds: Thresholds) -> tuple[str, ...]:
    ages = (("reconcile", evidence.reconcile_age), ("preflight", evidence.preflight_age))
    return tuple(
        f"the last {name} is {age / 3600:.1f} h old, the limit is {thresholds.max_age_seconds / 3600:.1f} h"
        for name, age in ages
        if age is not None and age > thresholds.max_age_seconds
    )


def _inconclusive(
    evidence: Evidence, thresholds: Thresholds, n: int, k: int, more: int | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    reasons, needed = [], []
    if evidence.reconcile_age is None:
        reasons.append("there was no reconcile")
        needed.append("a reconcile")
    elif not evidence.reconcile_complete:
        reasons.append("the last reconcile did not finish")
        needed.append("a complete reconcile")
    if evidence.preflight_age is None:
        reasons.append("there was no preflight")
        needed.append("a preflight")
    for count, text in ((evidence.missing, "missing on one side"), (evidence.overdue, "overdue on one side")):
        if count:
            reasons.append(f"{count} submissions are {text}")
    if more is None:
        reasons.append(f"{k} of {n} pairs diverge, which no number of pairs in reach would outweigh")
    elif more:
        reasons.append(f"{n} graded pairs with {k} divergences do not yet show a rate under {thresholds.rate:.2%}")
        needed.append(f"{more} more graded pairs without a divergence")
    if not evidence.queues:
        reasons.append("no queue of the course is known")
    for queue in evidence.queues:
        by_graders = queue.graded_pairs - queue.echoed
        lack = thresholds.pairs_per_queue - by_graders
        if lack > 0:
            reasons.append(f"queue {queue.name}: {by_graders} pairs graded on both sides")
            needed.append(f"{lack} more graded pairs in queue {queue.name}")
    reasons.extend(_problem_points(evidence, thresholds))
    return tuple(reasons), tuple(needed)


def _problem_points(evidence: Evidence, thresholds: Thresholds) -> list[str]:
    points = []
    entries = sum(problem.entries for problem in evidence.problems)
    thin = []
    for problem in evidence.problems:
        if problem.diverged and problem.graded_pairs < thresholds.pairs_per_problem:
            points.append(
                f"problem {problem.name}: {problem.diverged} divergences in only {problem.graded_pairs} graded pairs"
            )
        if problem.graded_pairs < min(thresholds.pairs_per_problem, problem.entries):
            thin.append(problem)
    carried = sum(problem.entries for problem in thin)
    if thin and carried >= thresholds.thin_share * entries:
        names = ", ".join(f"{problem.name} ({problem.graded_pairs} of {problem.entries})" for problem in thin)
        points.append(f"thin problems carry {carried} of {entries} submissions: {names}")
    return points
