"""A course's evidence for the gate by problem and by queue, made of its counted facts. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date

from .buckets import Facts, Flag, uncovered
from .data import DETERMINISTIC, GRAVE, Authority, DivergenceClass, PairStatus, State
from .evidence import CohortEvidence

Numbers = list[tuple[Facts, int]]
#: Classes that the gate counts separately, because they say nothing about how often two graders disagree.
_APART = GRAVE | {DivergenceClass.STUCK}
_NAMED = DETERMINISTIC | {DivergenceClass.STUCK}


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """
    The span of time whose pairs count, in whole days of UTC.

    Args:
        since: the day on which the span begins; its hour is not known. So a clean pair counts from the next day on, but
            an arrival counts from this day on.
        taken_back_on: the day on which the course was last stepped back from ``live`` or ``complete``, if it was.
        graded_after: of the pairs graded on that day, how many were graded after the step, by their facts.
    """

    since: date
    taken_back_on: date | None = None
    graded_after: Mapping[Facts, int] = field(default_factory=dict)

    def is_young(self, facts: Facts) -> bool:
        """
        Tell whether the target graded these entries inside the window. Entries without a day of grading count as old.
        """
        return facts.graded_on is not None and facts.graded_on > self.since

    def is_recent(self, facts: Facts) -> bool:
        """Tell whether these entries arrived inside the window."""
        return facts.arrived_on >= self.since

    def before(self, facts: Facts, number: int) -> int:
        """Return how many of these ``number`` entries the target graded before the course was taken back."""
        if self.taken_back_on is None:
            return 0
        if facts.graded_on is None or facts.graded_on < self.taken_back_on:
            return number
        return number - self.graded_after.get(facts, 0) if facts.graded_on == self.taken_back_on else 0


def numbers_that_count(numbers: Numbers, authority: Authority) -> Numbers:
    """
    Return the numbers that count in a phase of this authority: entries whose copy was wanted or that have a result.

    In live and later the question is whether the target's own grades hold, so the pairs of live answer it. Before live,
    the pairs of shadow do, and whatever failed in live and is not explained.
    """
    return [(facts, number) for facts, number in numbers if _counts(facts, authority)]


def _counts(facts: Facts, authority: Authority) -> bool:
    # History counts once it has been echoed, because that tests the pipeline. Before, there is nothing to compare.
    if facts.has(Flag.HISTORY) and not facts.has(Flag.ECHO):
        return False
    # Without a copy there is no pair. A row that legacy stored although it had refused it is a divergence all the same.
    if facts.has(Flag.NO_COPY) and not facts.has(Flag.DIFFERS):
        return False
    if facts.authority == authority:
        return True
    late = facts.result == PairStatus.OVERDUE and not State(facts.target_state or State.MISSING).is_final
    return authority is Authority.LEGACY and (facts.result == PairStatus.DIVERGED or late)


def is_real(facts: Facts, window: Window) -> bool:
    """Tell whether a real grader graded these pairs through the watcher seam, inside the window."""
    return _is_graded(facts, window) and not facts.has(Flag.ECHO) and facts.has(Flag.LEASED)


def _is_graded(facts: Facts, window: Window) -> bool:
    # A divergence does not age.
    lately = facts.result == PairStatus.DIVERGED or window.is_young(facts)
    return facts.has(Flag.GRADED_PAIR) and facts.result != PairStatus.KNOWN and lately


def by_class(numbers: Numbers) -> Counter[DivergenceClass]:
    """Return how many divergences there are of each class that are neither registered nor signed for."""
    found: Counter[DivergenceClass] = Counter()
    for facts, number in numbers:
        found.update(dict.fromkeys(uncovered(facts.differences), number))
    return found


def evidence_by_cohort(
    numbers: Numbers, by: str, window: Window, side_effects: frozenset[str], arrived: Iterable[str]
) -> tuple[CohortEvidence, ...]:
    """
    Return the counts of each problem or queue.

    Args:
        numbers: the numbers that count; see ``numbers_that_count``.
        by: ``item_id`` or ``queue_name``.
        window: the span of time that counts.
        side_effects: the queues whose graders must not grade twice.
        arrived: the problems or queues that received a submission lately, in any phase, with or without a copy. What
            came in live before a course was taken back shows that its graders will be needed. All others are idle.
    """
    groups: dict[str, Numbers] = defaultdict(list)
    for facts, number in numbers:
        groups[getattr(facts, by)].append((facts, number))
    idle = groups.keys() - set(arrived)
    return tuple(
        _evidence(name, groups[name], window, side_effects=name in side_effects, idle=name in idle)
        for name in sorted(groups)
    )


def _evidence(name: str, numbers: Numbers, window: Window, *, side_effects: bool, idle: bool) -> CohortEvidence:
    found: Counter[str] = Counter()
    classes: set[DivergenceClass] = set()
    for facts, number in numbers:
        for what in _counted_as(facts, window):
            found[what] += number
        if is_real(facts, window):
            found["before"] += window.before(facts, number)
        classes |= uncovered(facts.differences) & _NAMED
    return CohortEvidence(
        name=name,
        entries=found["entries"],
        graded_pairs=found["pairs"],
        echoed=found["echoed"],
        diverged=found["diverged"] - found["apart"],
        deterministic=found["deterministic"],
        classes=tuple(sorted(classes)),
        known=found["known"],
        payload_compared=found["entries"] - found["no_payload"],
        twins=found["twins"],
        twins_differ=found["twins_differ"],
        elsewhere=found["elsewhere"],
        before=found["before"],
        aged=found["aged"],
        idle=idle,
        side_effects=side_effects,
    )


def _counted_as(facts: Facts, window: Window) -> Iterable[str]:
    """Yield the headings of the evidence under which these entries are counted."""
    explained, diverged = facts.result == PairStatus.KNOWN, facts.result == PairStatus.DIVERGED
    counts = not explained and (diverged or window.is_young(facts) or window.is_recent(facts))
    on_its_way = facts.result == PairStatus.WAITING and (
        facts.target_state == State.MISSING or facts.legacy_state in ("", State.MISSING)
    )
    open_ones = uncovered(facts.differences)
    if counts:
        yield "entries"
        if not (facts.has(Flag.PAYLOAD) or on_its_way or facts.has(Flag.NO_COPY)):
            yield "no_payload"
    if explained:
        yield "known"
    if diverged:
        yield "diverged"
    # An alarm on a pair that is equal, or that still waits, takes nothing from those that diverge.
    if diverged and open_ones and open_ones <= _APART:
        yield "apart"
    if open_ones & DETERMINISTIC:
        yield "deterministic"
    if _is_graded(facts, window):
        yield "pairs"
        if facts.has(Flag.ECHO):
            yield "echoed"
        elif not facts.has(Flag.LEASED):
            yield "elsewhere"
        # Over the same pairs as the rate against legacy, because the gate works on the difference of the two.
        if facts.has(Flag.TWIN_JUDGED):
            yield "twins"
        if facts.has(Flag.TWIN_DIFFERS):
            yield "twins_differ"
    elif facts.has(Flag.GRADED_PAIR) and not explained:
        yield "aged"
