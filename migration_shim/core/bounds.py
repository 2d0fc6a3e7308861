"""
When a course is out of its bounds, and whether that is the target's failure: a pure function of what was observed.

Docs/decisions/0015 says which breach may move a course, and why.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from .data import Authority, DivergenceClass, Phase
from .evidence import CohortEvidence, Thresholds
from .martingale import evidence_above
from .noise import problem_rate
from .wording import counted, verb

#: Ways in which two gradings of one submission differ. What is missing or late is counted apart.
OUTCOME = (
    DivergenceClass.STATE,
    DivergenceClass.CORRECTNESS,
    DivergenceClass.SCORE,
    DivergenceClass.SCALE,
    DivergenceClass.OUT_OF_RANGE,
    DivergenceClass.STORED_POINTS,
    DivergenceClass.PAYLOAD,
    DivergenceClass.FILES,
    DivergenceClass.IDENTITY,
)


class Bound(enum.StrEnum):
    """The bounds that a course can be out of."""

    FENCE_LEAK = "fence_leak"
    DOUBLE_AUTHORITY = "double_authority"
    UNDELIVERED = "undelivered"
    WRONG_SIDE = "wrong_side"
    LOST = "lost"
    OVERDUE = "overdue"
    COPIES_OVERDUE = "copies_overdue"
    DIVERGENCE = "divergence"
    STUCK_QUEUE = "stuck_queue"
    HANDED_OUT_IN_VAIN = "handed_out_in_vain"
    FAILED = "failed"
    UNKNOWN_QUEUE = "unknown_queue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stuck:
    """A queue in which submissions wait, and from which no result has come for as long as the oldest may wait."""

    queue: str
    side: Authority
    #: Whether these are copies, and no learner waits.
    copies: bool
    rows: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """
    What was observed of one course.

    ``overdue``, ``problems`` and ``stuck`` cover submissions that came since the course entered its phase: what has
    moved a course once does not move it again. Without a complete comparison (``compared``) the first two are empty,
    and so is ``lost``. ``overdue`` counts by side what is missing there, or not graded there long after the other side
    was. ``leaks_answered`` is how many leaks the last step back knew of.
    """

    phase: Phase
    compared: bool
    shadow_leaks: int = 0
    reverse_leaks: int = 0
    leaks_answered: int = 0
    double_authority: int = 0
    #: Learners who waited in vain when their states were asked last; so many of them for the target's grade, and for so
    #: many nothing can be done.
    undelivered: int = 0
    undelivered_by_target: int = 0
    undeliverable: int = 0
    wrong_side: int = 0
    lost: int = 0
    overdue_on_target: int = 0
    overdue_on_legacy: int = 0
    #: The evidence of each problem whose pairs are final on both sides: ``graded_pairs``, ``diverged`` and twins.
    problems: tuple[CohortEvidence, ...] = ()
    stuck: tuple[Stuck, ...] = ()
    #: Rows that the target hands out again and again without a result.
    in_vain: int = 0
    #: Learners' own rows that have lately failed for good on the target.
    failed: int = 0
    #: Queues whose reverse shadows XQueue refuses: (the queue, its copies' queue, how many were refused).
    unknown_queues: tuple[tuple[str, str, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a course is held to: the gate's thresholds, and how many overdue rows are the target's failure."""

    thresholds: Thresholds
    overdue: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """One bound that a course is out of. ``target_failed`` says that it is reason enough to step the course back."""

    bound: Bound
    rows: int
    text: str
    target_failed: bool = False


def breaches(seen: Observed, bounds: Bounds) -> tuple[Breach, ...]:
    """Return every bound that a course is out of, the gravest first."""
    return (
        *_never(seen),
        *_undelivered(seen, bounds),
        *_overdue(seen, bounds),
        *_diverging(seen, bounds),
        *_stuck(seen),
        *_ungraded(seen),
        *_unknown(seen),
    )


def _never(seen: Observed) -> list[Breach]:
    found = []
    if seen.shadow_leaks:
        # A step back from shadow ends the copies. In live it would move learners and repair nothing.
        new = seen.phase is Phase.SHADOW and seen.shadow_leaks > seen.leaks_answered
        text = f"{counted(seen.shadow_leaks, 'copy', 'copies')} on the target could reach a learner's grade"
        found.append(Breach(bound=Bound.FENCE_LEAK, rows=seen.shadow_leaks, text=text, target_failed=new))
    if seen.reverse_leaks:
        text = (
            f"{counted(seen.reverse_leaks, 'row')} of reverse-shadow queues "
            f"{verb(seen.reverse_leaks, 'carries', 'carry')} a learner's callback"
        )
        found.append(Breach(bound=Bound.FENCE_LEAK, rows=seen.reverse_leaks, text=text))
    if seen.double_authority:
        text = (
            f"{counted(seen.double_authority, 'submission')} {verb(seen.double_authority, 'is', 'are')} "
            "alive on both systems for real"
        )
        found.append(Breach(bound=Bound.DOUBLE_AUTHORITY, rows=seen.double_authority, text=text))
    if seen.wrong_side:
        text = (
            f"{counted(seen.wrong_side, 'submission')} reached legacy while the target was authoritative; "
            f"{_whose(seen.wrong_side)}"
        )
        found.append(Breach(bound=Bound.WRONG_SIDE, rows=seen.wrong_side, text=text))
    if seen.lost:
        text = f"{counted(seen.lost, 'submission')} vanished from legacy before they had an outcome"
        found.append(Breach(bound=Bound.LOST, rows=seen.lost, text=text))
    return found


def _undelivered(seen: Observed, bounds: Bounds) -> list[Breach]:
    """
    Return the breach of delivery, if any.

    A platform that delivers nothing fails every learner; a single learner with an odd state is no reason to move all.
    """
    if not seen.undelivered:
        return []
    lost = f"; {seen.undeliverable} of them are undeliverable" if seen.undeliverable else ""
    text = (
        f"{counted(seen.undelivered, 'learner')} {verb(seen.undelivered, 'waits', 'wait')} for a grade "
        f"that nobody brings{lost}"
    )
    failed = seen.phase.authority is Authority.TARGET and seen.undelivered_by_target > bounds.overdue
    return [Breach(bound=Bound.UNDELIVERED, rows=seen.undelivered, text=text, target_failed=failed)]


def _overdue(seen: Observed, bounds: Bounds) -> list[Breach]:
    on_target = seen.phase.authority is Authority.TARGET
    late = {Authority.TARGET: seen.overdue_on_target, Authority.LEGACY: seen.overdue_on_legacy}
    found = []
    if rows := late.pop(seen.phase.authority):
        side = seen.phase.authority
        text = f"{counted(rows, 'submission')} {verb(rows, 'is', 'are')} overdue or missing on {side}; {_whose(rows)}"
        failed = on_target and rows > bounds.overdue
        found.append(Breach(bound=Bound.OVERDUE, rows=rows, text=text, target_failed=failed))
    ((side, rows),) = late.items()
    if rows:
        text = (
            f"{counted(rows, 'copy', 'copies')} {verb(rows, 'is', 'are')} overdue or missing on {side}; no "
            "learner waits"
        )
        found.append(Breach(bound=Bound.COPIES_OVERDUE, rows=rows, text=text))
    return found


def _diverging(seen: Observed, bounds: Bounds) -> list[Breach]:
    """Return the breaches of the course and of each problem, which share the error among them, as in the gate."""
    thresholds = bounds.thresholds
    error = thresholds.error / (1 + len(seen.problems))
    found = []
    for tally in (_whole(seen.problems), *seen.problems):
        rate = problem_rate(tally, thresholds, error)
        if tally.diverged and evidence_above(tally.graded_pairs, tally.diverged, rate) >= 1 / error:
            text = f"{tally.diverged} of {tally.graded_pairs} pairs of {tally.name} diverge: more than {rate:.2%}"
            # A single pair that differs is a rate above any threshold, and too little evidence to move learners.
            enough = tally.graded_pairs >= thresholds.pairs_per_problem
            failed = seen.phase.authority is Authority.TARGET and enough
            found.append(Breach(bound=Bound.DIVERGENCE, rows=tally.diverged, text=text, target_failed=failed))
    return found


def _whole(problems: tuple[CohortEvidence, ...]) -> CohortEvidence:
    def total(name: str) -> int:
        return sum(getattr(problem, name) for problem in problems)

    return CohortEvidence(
        name="the course",
        deterministic=0,
        entries=total("entries"),
        graded_pairs=total("graded_pairs"),
        diverged=total("diverged"),
        twins=total("twins"),
        twins_differ=total("twins_differ"),
    )


def _ungraded(seen: Observed) -> list[Breach]:
    """
    Return what the target's graders cannot get through. Each may be one learner's program, so neither moves a course.
    """
    found = []
    if seen.in_vain:
        text = (
            f"{counted(seen.in_vain, 'submission')} {verb(seen.in_vain, 'is', 'are')} handed out on the "
            "target again and again, and no result comes"
        )
        found.append(Breach(bound=Bound.HANDED_OUT_IN_VAIN, rows=seen.in_vain, text=text))
    if seen.failed:
        text = (
            f"{counted(seen.failed, 'submission')} {verb(seen.failed, 'has', 'have')} failed for good on "
            "the target in the last day; their learners were told"
        )
        found.append(Breach(bound=Bound.FAILED, rows=seen.failed, text=text))
    return found


def _whose(rows: int) -> str:
    """Return who waits for so many submissions."""
    return verb(rows, "its learner waits", "their learners wait")


def _stuck(seen: Observed) -> list[Breach]:
    found = []
    for queue in seen.stuck:
        who = "no learner waits" if queue.copies else _whose(queue.rows)
        text = (
            f"queue {queue.queue} on {queue.side}: {counted(queue.rows, 'submission')} "
            f"{verb(queue.rows, 'waits', 'wait')}, the oldest for {queue.oldest_seconds:.0f} s, and no "
            f"result was stored since; {who}"
        )
        failed = queue.side is Authority.TARGET and not queue.copies and seen.phase.authority is Authority.TARGET
        found.append(Breach(bound=Bound.STUCK_QUEUE, rows=queue.rows, text=text, target_failed=failed))
    return found


def _unknown(seen: Observed) -> list[Breach]:
    """
    Return queues that XQueue does not know. A typing error may be the cause, and then no grader polls them anywhere.
    """
    found = []
    for queue, copies, rows in seen.unknown_queues:
        text = (
            f"XQueue does not know {copies}, and has refused {counted(rows, 'copy', 'copies')} of queue {queue}: "
            f"add it to XQUEUES, or mend the queue name in the course if {queue} is a mistake"
        )
        found.append(Breach(bound=Bound.UNKNOWN_QUEUE, rows=rows, text=text))
    return found
