"""What the gate says beside its verdict: notes, ways out and its arithmetic."""

from __future__ import annotations

from collections.abc import Iterable

from .evidence import CohortEvidence, Evidence, Thresholds, thin_problems
from .martingale import evidence_above, evidence_below, lower_bound, pairs_needed, upper_bound
from .noise import problem_rate, rate_and_error

#: The larger threshold that is offered to a small course.
SMALL_COURSE_RATE = 0.05


def thin_names(problems: Iterable[CohortEvidence]) -> str:
    """Return the names of thin problems, each with its graded pairs."""
    return ", ".join(f"{problem.name} ({problem.graded_pairs} of {problem.entries})" for problem in problems)


def ways_out(evidence: Evidence, thresholds: Thresholds, more: int | None) -> tuple[str, ...]:
    """
    Return what a course can do that has fewer submissions than the gate needs pairs.

    ``more`` is how many more pairs it needs, None where no number would do. The result is empty for a large enough
    course.
    """
    entries = sum(problem.entries for problem in evidence.problems)
    if more == 0 or (more is not None and evidence.pairs + more <= entries):
        return ()
    ways: list[str] = []
    if thresholds.rate < SMALL_COURSE_RATE:
        k = evidence.diverged
        clean = pairs_needed(k, k, SMALL_COURSE_RATE, thresholds.error)
        if clean is not None:
            ways.append(f"a larger threshold for small courses ({SMALL_COURSE_RATE:.0%}: {k + clean} pairs)")
    return (*ways, "a signed override")


def notes(evidence: Evidence, thresholds: Thresholds) -> tuple[str, ...]:
    """Return what holds whatever the verdict is, and what anybody who acts on it has to know."""
    found = [
        f"queue {queue.name} is declared to have side effects: {queue.by_graders} of its {queue.graded_pairs} pairs "
        "come from a real grader"
        for queue in evidence.queues
        if queue.side_effects
    ]
    graded = sum(problem.graded_pairs for problem in evidence.problems)
    if echoed := sum(problem.echoed for problem in evidence.problems):
        found.append(f"{echoed} of {graded} graded pairs are echoes of legacy's replies")
    if known := sum(problem.known for problem in evidence.problems):
        found.append(f"{known} known differences are counted, and not held against the course")
    if thin := thin_problems(evidence, thresholds):
        found.append(f"thin problems: {thin_names(thin)}")
    if credit := rate_and_error(evidence, thresholds)[0] - thresholds.rate:
        found.append(f"the target disagrees with itself: {credit:.2%} is allowed for random graders")
    days = f"{thresholds.evidence_days:g} days"
    if aged := sum(problem.aged for problem in evidence.problems):
        found.append(f"{aged} graded pairs are older than {days} and do not count any more")
    if idle := [queue.name for queue in evidence.queues if queue.idle]:
        found.append(f"idle, no submission in {days}: {', '.join(idle)}; nothing is asked of them")
    if evidence.taken_back:
        found.append("the course was taken back; pairs of before do not show that its graders work")
    found += [
        f"override by {one.owner}, used on {one.used_at:%Y-%m-%d %H:%M} for the step to {one.step_to}"
        f"{' past ' + ', '.join(one.causes) if one.causes else ''}: {one.reason}"
        for one in evidence.overrides
    ]
    return tuple(found)


def explain(evidence: Evidence, thresholds: Thresholds) -> list[str]:
    """Return the gate's arithmetic, line by line: what it counted, what it asked for, and the result."""
    n, k = evidence.pairs, evidence.diverged
    rate, error = rate_and_error(evidence, thresholds)
    more = pairs_needed(n, k, rate, error)
    lines = [
        f"course: {k} unexplained divergences in {n} pairs; the rate is under {upper_bound(n, k, error):.3%} "
        f"with an error of {error:.1%}",
        f"  to be under {rate:.3%}: evidence {evidence_below(n, k, rate):.3f} of {1 / error:.0f}, "
        + ("no number of clean pairs would do" if more is None else f"{more} more clean pairs"),
    ]
    if twins := sum(problem.twins for problem in evidence.problems):
        differ = sum(problem.twins_differ for problem in evidence.problems)
        lines += [
            f"noise: {differ} of {twins} shadows graded twice disagree; the rate is over "
            f"{lower_bound(twins, differ, error):.3%} and under {upper_bound(twins, differ, error):.3%}",
            f"  against legacy it is over {lower_bound(n, k, error):.3%}; allowed for noise: "
            f"{rate - thresholds.rate:.3%}, at most {thresholds.noise_cap:.1%}",
        ]
    shared = thresholds.error / max(1, len(evidence.problems))
    lines += [_problem(problem, thresholds, shared) for problem in evidence.problems]
    lines += [
        f"queue {queue.name}: {queue.by_graders} of {queue.graded_pairs} pairs by a real grader through the seam, "
        + _asked(queue, thresholds)
        for queue in evidence.queues
    ]
    if (latency := evidence.latency) is not None:
        bound = thresholds.latency_seconds + thresholds.latency_factor * latency.legacy
        lines.append(
            f"latency: 95th percentile of {latency.timed} pairs {latency.legacy:.1f} s on legacy, "
            f"{latency.target:.1f} s on target, bound {bound:.1f} s"
        )
    return lines + [f"note: {note}" for note in notes(evidence, thresholds)]


def _asked(queue: CohortEvidence, thresholds: Thresholds) -> str:
    if queue.side_effects or queue.idle:
        return f"none asked for: {'side effects' if queue.side_effects else 'idle'}"
    return f"{thresholds.pairs_per_queue} asked for"


def _problem(problem: CohortEvidence, thresholds: Thresholds, error: float) -> str:
    payloads = "not looked at" if problem.payload_compared is None else f"{problem.payload_compared} compared"
    text = (
        f"problem {problem.name}: {problem.graded_pairs} graded pairs of {problem.entries} submissions "
        f"({problem.echoed} echoed), {problem.diverged} diverged, {problem.deterministic} deterministic, "
        f"{problem.known} known, payloads {payloads}"
    )
    if not problem.diverged:
        return text
    rate = problem_rate(problem, thresholds, error)
    found = evidence_above(max(problem.graded_pairs, problem.diverged), problem.diverged, rate)
    return f"{text}; evidence of a rate over {rate:.2%}: {found:.3g} of {1 / error:.0f}"
