"""What the gate is asked with, and what it answers: evidence, thresholds, verdict."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime

from .data import DivergenceClass, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """
    What the gate asks for. Rates and shares between 0 and 1, ages and times in seconds.

    ``latency_factor`` and ``latency_seconds``: the target's 95th percentile may be so many times legacy's, and so much
    more. ``noise_cap`` is the most that pairs graded twice may excuse. ``demand_all`` holds whatever the evidence does
    not tell against the course. ``evidence_days`` is for how long a clean pair counts.
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
    Counts of one problem or one queue, of what is not too old to count (``aged`` are the clean pairs that are).

    ``entries`` have a copy or should have one; ``graded_pairs`` have an outcome on both sides, ``echoed`` of them by an
    echo of legacy's reply, which says nothing of the graders; ``diverged`` differ in a way that nobody has explained,
    ``deterministic`` of them in a way that no random grader can explain either. ``classes`` names these ways, and
    whether a row is ``stuck``. ``known`` differences are none of them. ``payload_compared`` counts entries, None where
    payloads were not looked at. ``twins`` are shadows graded twice on the target, of which ``twins_differ`` disagree
    with themselves. Of queues only: ``elsewhere`` counts the pairs whose grader did not pull through the watcher seam,
    ``before`` those that it graded before the course was last taken back; ``side_effects`` says that its graders must
    not grade twice, ``idle`` that no submission has come for as long as a pair counts.
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
        """The pairs graded by a real grader through the seam, since the course was last taken back if it was."""
        return self.graded_pairs - self.echoed - self.elsewhere - self.before


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """The 95th percentiles, in seconds from arrival to return, of pairs that both systems got in the same moment."""

    timed: int
    legacy: float
    target: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """A signed decision to go on without a PASS. It changes no verdict; it is printed beside it."""

    owner: str
    reason: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """
    All that is known of one course. An age is in seconds, None where there was no such run; of ``fence_leaks``,
    ``double_authority``, ``lost``, ``undelivered``, ``wrong_side``, ``stuck`` and ``latency`` None says that nobody has
    looked;
    ``grave`` counts the other classes that only a signed cure ends. ``overrides`` are those in force. ``taken_back``
    says that the course was stepped back from ``live`` or ``complete``.
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
    #: Learners who wait for a grade that nobody is at work on. None too where nobody can be asked (``learners_asked``
    #: is False then): that is not applicable, and not unknown.
    undelivered: int | None = None
    learners_asked: bool = True
    #: Submissions that reached legacy while the target was authoritative, and that it still has.
    wrong_side: int | None = None
    stuck: int | None = None
    latency: Latency | None = None
    overrides: tuple[Override, ...] = ()
    grave: tuple[tuple[DivergenceClass, int], ...] = ()
    taken_back: bool = False

    @property
    def diverged(self) -> int:
        """The unexplained divergences of the course."""
        return sum(problem.diverged for problem in self.problems)

    @property
    def pairs(self) -> int:
        """The pairs of the course. A copy that is missing diverges without having been graded."""
        return max(self.diverged, sum(problem.graded_pairs for problem in self.problems))


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


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """
    The verdict with every reason, what is still needed, and the figures behind the bound.

    ``cause`` is the worst of the reasons in one word. ``ways_out`` names what is left to a course
    too small for the bound, ``notes`` what holds beside any verdict.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    needed: tuple[str, ...]
    arithmetic: dict[str, float | int]
    cause: Cause
    ways_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def thin_problems(evidence: Evidence, thresholds: Thresholds) -> list[CohortEvidence]:
    """Problems with fewer graded pairs than asked for, and fewer than they have submissions."""
    return [
        problem
        for problem in evidence.problems
        if problem.graded_pairs < min(thresholds.pairs_per_problem, problem.entries)
    ]
