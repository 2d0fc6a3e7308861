"""
The gate: a pure function of (evidence, thresholds). Anything absent, old or errored is never a PASS.

Its statistics are those of ``martingale.py``; what is made of them, and why, is in docs/decisions 0005 and 0012.
"""

from __future__ import annotations

from ..data import DivergenceClass, Verdict
from .evidence import Evidence, GateResult, Tally, Thresholds, thin_problems
from .explain import notes, thin_names, ways_out
from .martingale import evidence_above, evidence_below, pairs_needed
from .noise import problem_rate, rate_and_error

#: Classes that no random grader explains: one of them fails its problem.
DETERMINISTIC = (
    DivergenceClass.PRESENCE,
    DivergenceClass.STATE,
    DivergenceClass.SCALE,
    DivergenceClass.PAYLOAD,
    DivergenceClass.FILES,
    DivergenceClass.IDENTITY,
    DivergenceClass.ORDER,
    DivergenceClass.DUPLICATE,
    DivergenceClass.LOST,
    DivergenceClass.DOUBLE_AUTHORITY,
    DivergenceClass.WRONG_SIDE,
    DivergenceClass.FENCE_LEAK,
)
#: Clocks of two machines may differ by so many seconds; evidence from further ahead is no evidence.
_CLOCK_SKEW = 60.0
#: No more problems than this are named for one reason.
_NAMED = 5


def evaluate(evidence: Evidence, thresholds: Thresholds) -> GateResult:
    """The verdict of one course. FAIL outranks STALE outranks INCONCLUSIVE; PASS is what is left."""
    failures = _failures(evidence, thresholds)
    stale = _stale(evidence, thresholds)
    n, k = evidence.pairs, evidence.diverged
    rate, error = rate_and_error(evidence, thresholds)
    more = pairs_needed(n, k, rate, error)
    open_points, needed = _inconclusive(evidence, thresholds, rate, more)
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
        ways_out=ways_out(evidence, thresholds, more),
        notes=notes(evidence, thresholds),
        arithmetic={
            "pairs": n,
            "diverged": k,
            "threshold": thresholds.rate,
            "error": thresholds.error,
            "evidence": round(evidence_below(n, k, rate), 3),
            "evidence_needed": 1 / error,
        },
    )


def _failures(evidence: Evidence, thresholds: Thresholds) -> tuple[str, ...]:
    reasons = []
    if evidence.fence_leaks:
        reasons.append(f"{evidence.fence_leaks} fence leaks: a copy reached, or could reach, a learner's grade")
    if evidence.double_authority:
        reasons.append(f"{evidence.double_authority} submissions are alive on both systems for real")
    if evidence.wrong_side:
        reasons.append(f"{evidence.wrong_side} submissions reached legacy while the target was authoritative")
    if evidence.lost:
        reasons.append(f"{evidence.lost} submissions or scores are lost: they vanished before their time")
    for blocker in evidence.preflight_blockers:
        reasons.append(f"preflight blocker: {blocker}")
    if (latency := evidence.latency) is not None and latency.timed:
        bound = thresholds.latency_seconds + thresholds.latency_factor * latency.legacy
        if not latency.target <= bound:
            reasons.append(
                f"95 of 100 results take up to {latency.target:.0f} s on target, {latency.legacy:.0f} s on legacy; "
                f"the bound is {bound:.0f} s"
            )
    # The error is shared among the problems, so that a course of two hundred is not failed by chance.
    error = thresholds.error / max(1, len(evidence.problems))
    for problem in evidence.problems:
        pairs = max(problem.graded_pairs, problem.diverged)
        if problem.deterministic:
            classes = ", ".join(_fixed(problem)) or "presence, state or payload"
            reasons.append(f"problem {problem.name}: {problem.deterministic} divergences in {classes}")
        elif problem.diverged:
            rate = problem_rate(problem, thresholds, error)
            if evidence_above(pairs, problem.diverged, rate) >= 1 / error:
                reasons.append(f"problem {problem.name}: {problem.diverged} of {pairs} pairs diverge")
    return tuple(reasons)


def _stale(evidence: Evidence, thresholds: Thresholds) -> tuple[str, ...]:
    ages = (("reconcile", evidence.reconcile_age), ("preflight", evidence.preflight_age))
    return tuple(
        f"the last {name} is {age / 3600:.1f} h old, the limit is {thresholds.max_age_seconds / 3600:.1f} h"
        for name, age in ages
        if age is not None and not -_CLOCK_SKEW <= age <= thresholds.max_age_seconds
    )


def _inconclusive(
    evidence: Evidence, thresholds: Thresholds, rate: float, more: int | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    reasons, needed = [], []
    n, k = evidence.pairs, evidence.diverged
    if evidence.reconcile_age is None:
        reasons.append("there was no reconcile")
        needed.append("a reconcile")
    elif not evidence.reconcile_complete:
        reasons.append("the last reconcile did not finish")
        needed.append("a complete reconcile")
    if evidence.preflight_age is None:
        reasons.append("there was no preflight")
        needed.append("a preflight")
    sides = (
        (evidence.missing, "missing on one side"),
        (evidence.overdue, "overdue on one side"),
        (evidence.stuck, f"stuck on one side{_where_stuck(evidence)}"),
    )
    reasons.extend(f"{count} submissions are {text}" for count, text in sides if count)
    if more is None:
        reasons.append(f"{k} of {n} pairs diverge, which no number of pairs in reach would outweigh")
    elif more:
        reasons.append(f"{n} graded pairs with {k} divergences do not yet show a rate under {rate:.2%}")
        needed.append(f"{more} more graded pairs without a divergence")
    if not evidence.queues:
        reasons.append("no queue of the course is known")
    for queue in evidence.queues:
        lack = thresholds.pairs_per_queue - queue.by_graders
        if lack > 0 and not queue.side_effects:
            reasons.append(f"queue {queue.name}: {queue.by_graders} pairs graded on both sides")
            needed.append(f"{lack} more graded pairs in queue {queue.name}")
    reasons.extend(_problem_points(evidence, thresholds))
    reasons.extend(_untold(evidence, thresholds))
    return tuple(reasons), tuple(needed)


def _fixed(problem: Tally) -> list[str]:
    return [klass for klass in problem.classes if klass in DETERMINISTIC]


def _where_stuck(evidence: Evidence) -> str:
    """The problems that have stuck submissions, the first few of them."""
    names = [problem.name for problem in evidence.problems if DivergenceClass.STUCK in problem.classes]
    more = f" and {len(names) - _NAMED} more problems" if len(names) > _NAMED else ""
    return f": {', '.join(names[:_NAMED])}{more}" if names else ""


def _problem_points(evidence: Evidence, thresholds: Thresholds) -> list[str]:
    points = []
    for problem in evidence.problems:
        if problem.diverged and problem.graded_pairs < thresholds.pairs_per_problem:
            points.append(
                f"problem {problem.name}: {problem.diverged} divergences in only {problem.graded_pairs} graded pairs"
            )
        if problem.payload_compared is not None and problem.payload_compared < problem.entries:
            points.append(
                f"problem {problem.name}: the payloads of {problem.payload_compared} of {problem.entries} are compared"
            )
    thin = thin_problems(evidence, thresholds)
    entries = sum(problem.entries for problem in evidence.problems)
    carried = sum(problem.entries for problem in thin)
    if thin and carried >= thresholds.thin_share * entries:
        points.append(f"thin problems carry {carried} of {entries} submissions: {thin_names(thin)}")
    return points


def _untold(evidence: Evidence, thresholds: Thresholds) -> list[str]:
    """What the evidence does not say at all."""
    if not thresholds.demand_all:
        return []
    points = []
    if evidence.lost is None:
        points.append("nobody has looked for lost submissions")
    if evidence.wrong_side is None:
        points.append("nobody has looked for submissions on the wrong side")
    if evidence.stuck is None:
        points.append("nobody has looked for stuck submissions")
    if any(problem.payload_compared is None for problem in evidence.problems):
        points.append("the payloads were not compared")
    timed = evidence.latency.timed if evidence.latency is not None else 0
    real_graders = [queue for queue in evidence.queues if not queue.side_effects]
    if timed < thresholds.pairs_per_queue and real_graders:
        points.append(f"only {timed} pairs tell how long either system takes")
    return points
