"""The gate's input and output: evidence, thresholds and verdict."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, TypedDict

from .data import DivergenceClass, Phase, Verdict
from .documents.parts import Count, says


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """
    What the gate asks for. Rates and shares are between 0 and 1, ages and times in seconds.

    The target's 95th percentile of grading times may be up to ``latency_factor`` times legacy's plus
    ``latency_seconds``. ``noise_cap`` is the largest rate that twins may excuse. With ``demand_all``, what the evidence
    does not say keeps the course from passing. A clean pair counts for ``evidence_days``.
    """

    rate: float
    error: float
    pairs_per_queue: int
    pairs_per_problem: int
    thin_share: float
    max_age_seconds: float
    latency_factor: float = 2.0
    latency_seconds: float = 60.0
    noise_cap: float = 0.05
    demand_all: bool = False
    evidence_days: float = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class CohortEvidence:
    """
    The counts of one problem or one queue, over what is not too old to count; ``aged`` counts clean pairs that are.

    ``entries`` have a copy or should have one. ``graded_pairs`` have an outcome on both sides; ``echoed`` of them got
    it by an echo of legacy's reply, which says nothing of the graders. ``diverged`` differ in a way that nobody has
    explained, ``deterministic`` of them in a way that no random grader can explain either. ``classes`` names these
    ways, and says whether a row is ``stuck``. ``known`` differences are counted in none of them. ``payload_compared``
    counts entries; None where payloads were not compared. ``twins`` are shadows that were graded twice on the target,
    and ``twins_differ`` of them disagree with themselves.

    Of queues only: ``elsewhere`` counts the pairs whose grader did not pull through the watcher seam, ``before`` those
    that were graded before the course was last taken back. ``side_effects`` says that the queue's graders must not
    grade twice, ``idle`` that no submission has come for as long as a pair counts.
    """

    name: str
    entries: int
    graded_pairs: int
    diverged: int
    deterministic: int
    echoed: int = 0
    known: int = 0
    classes: tuple[str, ...] = ()
    payload_compared: int | None = None
    twins: int = 0
    twins_differ: int = 0
    elsewhere: int = 0
    side_effects: bool = False
    before: int = 0
    aged: int = 0
    idle: bool = False

    @property
    def by_graders(self) -> int:
        """
        The number of pairs graded by a real grader through the seam, since the course was last taken back if it ever
        was.
        """
        return self.graded_pairs - self.echoed - self.elsewhere - self.before


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """
    The 95th percentiles, in seconds from arrival to return, of pairs that both systems received at the same moment.
    """

    timed: int
    legacy: float
    target: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """
    A signed decision by which the course took a step without a PASS. It changes no verdict; it is printed beside it.

    ``owner`` names all who signed. ``causes`` are the codes that it passed; empty where a release before did not ask.
    """

    owner: str
    reason: str
    step_to: Phase
    used_at: datetime
    causes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """
    All that is known of one course.

    Ages are in seconds, None where there was no such run. ``fence_leaks``, ``double_authority``, ``lost``,
    ``undelivered``, ``wrong_side``, ``stuck`` and ``latency`` are None where they were not looked at. ``grave`` counts
    the other classes that only a signed cure ends. ``overrides`` are those that the course's phase rests on.
    ``taken_back`` says that the course was stepped back from ``live`` or ``complete``.
    """

    reconcile_age: float | None
    reconcile_complete: bool
    preflight_age: float | None
    preflight_blockers: tuple[str, ...]
    problems: tuple[CohortEvidence, ...]
    queues: tuple[CohortEvidence, ...]
    missing: int
    overdue: int
    fence_leaks: int | None
    double_authority: int | None
    lost: int | None = None
    #: Learners who wait for a grade that no system is working on. Also None where no learner's state can be read
    #: (``learners_asked`` is False then): that is not applicable, and not unknown.
    undelivered: int | None = None
    learners_asked: bool = True
    #: Submissions that reached legacy while the target was authoritative, and that it still has.
    wrong_side: int | None = None
    stuck: int | None = None
    latency: Latency | None = None
    overrides: tuple[Override, ...] = ()
    grave: tuple[tuple[DivergenceClass, int], ...] = ()
    taken_back: bool = False
    #: Why XQueue's database cannot be read now, its code first; empty where it can, or need not be.
    legacy_away: str = ""

    @property
    def diverged(self) -> int:
        """The number of unexplained divergences of the course."""
        return sum(problem.diverged for problem in self.problems)

    @property
    def pairs(self) -> int:
        """The number of pairs of the course. A missing copy counts as diverged although it was never graded."""
        return max(self.diverged, sum(problem.graded_pairs for problem in self.problems))


#: That no grader polls the queue of reverse shadows. A probe in it shows whether one does.
UNPOLLED = "reverse_queue_not_polled"
#: Blockers of preflight that stand until somebody sets up what a later step needs: a step waits, nothing is at fault.
ROUTINE = frozenset({UNPOLLED, "reverse_queue_unknown"})


class Cause(enum.StrEnum):
    """What stands between a course and its next step, the worst first: courses are ranked by it."""

    LEAK = "leak"
    DOUBLE_AUTHORITY = "double_authority"
    LOST = "lost"
    UNDELIVERED = "undelivered"
    WRONG_SIDE = "wrong_side"
    DIFFERS = "differs"
    OVERDUE = "overdue"
    BLOCKED = "blocked"
    SLOW = "slow"
    STALE = "stale"
    NEEDS_PAIRS = "needs_pairs"
    READY = "ready"
    MOVED = "moved"  # there is no further step


class Arithmetic(TypedDict):
    """The figures behind the bound, as the gate's document has them."""

    pairs: Annotated[Count, says("Graded pairs.")]
    diverged: Annotated[Count, says("Unexplained divergences.")]
    threshold: Annotated[float, says("The rate that must be refuted.")]
    error: Annotated[float, says("The chance to let a course at the threshold through.")]
    evidence: Annotated[float, says("The martingale's value.")]
    evidence_needed: Annotated[float, says("The value at which the threshold is refuted.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """
    The verdict with every reason, what is still needed, and the figures behind the bound.

    ``cause`` is the worst of the reasons in one word, and ``reason_causes`` has the word of each reason, in order.
    ``more_pairs`` is how many clean pairs are still needed: of the whole course, and by queue; None where no number
    would do. ``ways_out`` names what a course can do that is too small for the bound. ``notes`` holds whatever the
    verdict is.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    needed: tuple[str, ...]
    arithmetic: Arithmetic
    cause: Cause
    reason_causes: tuple[Cause, ...] = ()
    ways_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    more_pairs: int | None = 0
    more_by_queue: tuple[tuple[str, int], ...] = ()

    @property
    def causes(self) -> tuple[Cause, ...]:
        """What is open: the causes of all reasons, each once, the worst first."""
        return tuple(cause for cause in Cause if cause in self.reason_causes)


def thin_problems(evidence: Evidence, thresholds: Thresholds) -> list[CohortEvidence]:
    """Return the problems with fewer graded pairs than asked for, and fewer than they have submissions."""
    return [
        problem
        for problem in evidence.problems
        if problem.graded_pairs < min(thresholds.pairs_per_problem, problem.entries)
    ]
