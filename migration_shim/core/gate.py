"""
The gate of a cutover: a pure function of evidence and thresholds. Absent, old or failed evidence never gives a PASS.

The statistics are in ``martingale.py``; docs/decisions 0005 and 0012 tell what is made of them, and why.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .data import DETERMINISTIC, DivergenceClass, Verdict
from .evidence import ROUTINE, Cause, CohortEvidence, Evidence, GateResult, Thresholds, thin_problems
from .gate_explanation import notes, thin_names, ways_out
from .martingale import evidence_above, evidence_below, pairs_needed
from .noise import problem_rate, rate_and_error
from .wording import counted, verb

#: The clocks of two machines may differ by this many seconds. Evidence from further in the future does not count.
_CLOCK_SKEW = 60.0
#: No more problems than this are named for one reason.
_NAMED = 5


def evaluate(evidence: Evidence, thresholds: Thresholds) -> GateResult:
    """Return the verdict on one course. FAIL outranks STALE, STALE outranks INCONCLUSIVE, and PASS is what is left."""
    failures = tuple(_failures(evidence, thresholds))
    stale = tuple(_stale(evidence, thresholds))
    n, k = evidence.pairs, evidence.diverged
    rate, error = rate_and_error(evidence, thresholds)
    more = pairs_needed(n, k, rate, error)
    open_points = tuple(_open_points(evidence, thresholds, rate, more))
    verdict = Verdict.PASS
    if open_points:
        verdict = Verdict.INCONCLUSIVE
    if stale:
        verdict = Verdict.STALE
    if failures:
        verdict = Verdict.FAIL
    reasons = (*failures, *stale, *open_points)
    return GateResult(
        verdict=verdict,
        reasons=tuple(text for _, text in reasons),
        needed=_needed(evidence, thresholds, more),
        cause=_worst(reasons),
        reason_causes=tuple(cause for cause, _ in reasons),
        more_pairs=more,
        more_by_queue=tuple((queue.name, lack) for queue, lack in _lacking(evidence, thresholds)),
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


Reason = tuple[Cause, str]


def _failures(evidence: Evidence, thresholds: Thresholds) -> Iterator[Reason]:
    if evidence.fence_leaks:
        yield (
            Cause.LEAK,
            f"{counted(evidence.fence_leaks, 'fence leak')}: a copy reached, or could reach, a learner's grade",
        )
    if evidence.double_authority:
        yield (
            Cause.DOUBLE_AUTHORITY,
            f"{counted(evidence.double_authority, 'submission')} "
            f"{verb(evidence.double_authority, 'is', 'are')} alive on both systems for real",
        )
    if evidence.undelivered:
        yield (
            Cause.UNDELIVERED,
            f"{counted(evidence.undelivered, 'learner')} {verb(evidence.undelivered, 'waits', 'wait')}, or "
            "waited, for a grade that nobody brings",
        )
    if evidence.wrong_side:
        yield (
            Cause.WRONG_SIDE,
            f"{counted(evidence.wrong_side, 'submission')} reached legacy while the target was authoritative",
        )
    if evidence.lost:
        yield (
            Cause.LOST,
            f"{counted(evidence.lost, 'submission or score', 'submissions or scores')} "
            f"{verb(evidence.lost, 'is', 'are')} lost: they vanished before their time",
        )
    for klass, number in evidence.grave:
        if number:
            yield (
                Cause(klass.value),
                f"{counted(number, 'submission')} {verb(number, 'is', 'are')} {klass.value.replace('_', ' ')}",
            )
    for blocker in evidence.preflight_blockers:
        if not _is_routine(blocker):
            yield Cause.BLOCKED, f"preflight blocker: {blocker}"
    if (latency := evidence.latency) is not None and latency.timed:
        bound = thresholds.latency_seconds + thresholds.latency_factor * latency.legacy
        if not latency.target <= bound:
            yield (
                Cause.SLOW,
                f"95 of 100 results take up to {latency.target:.0f} s on target, {latency.legacy:.0f} s on legacy; "
                f"the bound is {bound:.0f} s",
            )
    # The error is shared among the problems, so that a course with two hundred problems does not fail by chance.
    error = thresholds.error / max(1, len(evidence.problems))
    for problem in evidence.problems:
        pairs = max(problem.graded_pairs, problem.diverged)
        if problem.deterministic:
            classes = ", ".join(_fixed(problem)) or "presence, state or payload"
            yield Cause.DIFFERS, f"problem {problem.name}: {counted(problem.deterministic, 'divergence')} in {classes}"
        elif problem.diverged:
            rate = problem_rate(problem, thresholds, error)
            if evidence_above(pairs, problem.diverged, rate) >= 1 / error:
                yield Cause.DIFFERS, f"problem {problem.name}: {problem.diverged} of {pairs} pairs diverge"


def _stale(evidence: Evidence, thresholds: Thresholds) -> Iterator[Reason]:
    for name, age in (("reconcile", evidence.reconcile_age), ("preflight", evidence.preflight_age)):
        if age is not None and not -_CLOCK_SKEW <= age <= thresholds.max_age_seconds:
            limit = thresholds.max_age_seconds / 3600
            yield Cause.STALE, f"the last {name} is {age / 3600:.1f} h old, the limit is {limit:.1f} h"


def _runs(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """Yield (what is missing of runs, what is needed instead)."""
    if evidence.reconcile_age is None:
        yield "there was no reconcile", "a reconcile"
    elif not evidence.reconcile_complete:
        yield "the last reconcile did not finish", "a complete reconcile"
    if evidence.preflight_age is None:
        yield "there was no preflight", "a preflight"


def _open_points(evidence: Evidence, thresholds: Thresholds, rate: float, more: int | None) -> Iterator[Reason]:
    """Yield the reasons that keep a verdict from being a PASS although nothing speaks against the course."""
    n, k = evidence.pairs, evidence.diverged
    if evidence.legacy_away:
        yield Cause.BLOCKED, evidence.legacy_away
    for text, _ in _runs(evidence):
        yield Cause.STALE, text
    for blocker in evidence.preflight_blockers:
        if _is_routine(blocker):
            yield Cause.BLOCKED, f"preflight blocker: {blocker}"
    sides = (
        (evidence.missing, "missing on one side"),
        (evidence.overdue, "overdue on one side"),
        (evidence.stuck, f"stuck on one side{_where_stuck(evidence)}"),
    )
    for count, text in sides:
        if count:
            yield Cause.OVERDUE, f"{counted(count, 'submission')} {verb(count, 'is', 'are')} {text}"
    if more is None:
        yield Cause.DIFFERS, f"{k} of {n} pairs diverge, which no number of pairs in reach would outweigh"
    elif more:
        yield (
            Cause.NEEDS_PAIRS,
            f"{counted(n, 'graded pair')} with {counted(k, 'divergence')} {verb(n, 'does', 'do')} not yet "
            f"show a rate under {rate:.2%}",
        )
    if not evidence.queues:
        yield Cause.NEEDS_PAIRS, "no queue of the course is known"
    elif all(queue.idle for queue in evidence.queues):
        days = f"{thresholds.evidence_days:g}"
        yield Cause.NEEDS_PAIRS, f"no queue of the course had a submission in the last {days} days"
    since = " since it was taken back" if evidence.taken_back else ""
    for queue, _ in _lacking(evidence, thresholds):
        yield Cause.NEEDS_PAIRS, f"queue {queue.name}: {counted(queue.by_graders, 'pair')} graded on both sides{since}"
    for text in (*_problem_points(evidence, thresholds), *_untold(evidence, thresholds)):
        yield Cause.NEEDS_PAIRS, text


def _lacking(evidence: Evidence, thresholds: Thresholds) -> Iterator[tuple[CohortEvidence, int]]:
    """Yield the queues of which a real grader has graded too few pairs, each with how many more are needed."""
    for queue in evidence.queues:
        lack = thresholds.pairs_per_queue - queue.by_graders
        if lack > 0 and not (queue.side_effects or queue.idle):
            yield queue, lack


def _is_routine(blocker: str) -> bool:
    """Tell whether a blocker, which begins with its code, stands for what nobody has set up yet, and no fault."""
    return blocker.partition(" ")[0] in ROUTINE


def _needed(evidence: Evidence, thresholds: Thresholds, more: int | None) -> tuple[str, ...]:
    needed = ["an answer of XQueue's database"] if evidence.legacy_away else []
    needed += [text for _, text in _runs(evidence)]
    if more:
        needed.append(f"{counted(more, 'more graded pair')} without a divergence")
    lacking = _lacking(evidence, thresholds)
    return (*needed, *(f"{counted(lack, 'more graded pair')} in queue {queue.name}" for queue, lack in lacking))


def _worst(reasons: Iterable[Reason]) -> Cause:
    """Return the worst of the causes, by the order in which ``Cause`` names them."""
    order = list(Cause)
    return min((cause for cause, _ in reasons), key=order.index, default=Cause.READY)


def _fixed(problem: CohortEvidence) -> list[str]:
    return [klass for klass in problem.classes if klass in DETERMINISTIC]


def _where_stuck(evidence: Evidence) -> str:
    """Return the names of the first few problems that have stuck submissions."""
    names = [problem.name for problem in evidence.problems if DivergenceClass.STUCK in problem.classes]
    more = f" and {len(names) - _NAMED} more problems" if len(names) > _NAMED else ""
    return f": {', '.join(names[:_NAMED])}{more}" if names else ""


def _problem_points(evidence: Evidence, thresholds: Thresholds) -> list[str]:
    points = []
    for problem in evidence.problems:
        if problem.diverged and problem.graded_pairs < thresholds.pairs_per_problem:
            points.append(
                f"problem {problem.name}: {counted(problem.diverged, 'divergence')} in only "
                f"{counted(problem.graded_pairs, 'graded pair')}"
            )
        if problem.payload_compared is not None and problem.payload_compared < problem.entries:
            points.append(
                f"problem {problem.name}: the payloads of {problem.payload_compared} of {problem.entries} are compared"
            )
    thin = thin_problems(evidence, thresholds)
    entries = sum(problem.entries for problem in evidence.problems)
    carried = sum(problem.entries for problem in thin)
    if thin and carried >= thresholds.thin_share * entries:
        points.append(f"thin problems carry {carried} of {counted(entries, 'submission')}: {thin_names(thin)}")
    return points


def _untold(evidence: Evidence, thresholds: Thresholds) -> list[str]:
    """Return what the evidence does not say at all."""
    points = []
    if evidence.fence_leaks is None:
        points.append("nobody has looked for fence leaks")
    if evidence.double_authority is None:
        points.append("nobody has looked for submissions that both systems have for real")
    if not thresholds.demand_all:
        return points
    if evidence.lost is None:
        points.append("nobody has looked for lost submissions")
    if evidence.undelivered is None and evidence.learners_asked:
        points.append("nobody has asked what learners wait for")
    if evidence.wrong_side is None:
        points.append("nobody has looked for submissions on the wrong side")
    if evidence.stuck is None:
        points.append("nobody has looked for stuck submissions")
    if any(problem.payload_compared is None for problem in evidence.problems):
        points.append("the payloads were not compared")
    timed = evidence.latency.timed if evidence.latency is not None else 0
    real_graders = [queue for queue in evidence.queues if not queue.side_effects]
    if timed < thresholds.pairs_per_queue and real_graders:
        points.append(f"only {counted(timed, 'pair')} {verb(timed, 'tells', 'tell')} how long either system takes")
    return points
