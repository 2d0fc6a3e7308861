"""A course's tallies for the gate, made of its counted facts. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date

from .buckets import Facts, Flag, uncovered
from .data import DETERMINISTIC, GRAVE, Authority, DivergenceClass, PairStatus, State
from .evidence import CohortEvidence

Numbers = list[tuple[Facts, int]]
#: Classes that the gate counts for themselves; they say nothing of how often two graders disagree.
_APART = GRAVE | {DivergenceClass.STUCK}
_NAMED = DETERMINISTIC | {DivergenceClass.STUCK}


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """
    What is not too old to count, in whole days of UTC: of the day that the window begins in, nobody knows the hour.

    Args:
        since: that day. A clean pair counts from the next one on; that something has arrived it shows from this one on.
        taken_back_on: the day on which the course was last stepped back from ``live`` or ``complete``, if it was.
        graded_after: of the pairs of that day, how many were graded after the step, by their facts.
    """

    since: date
    taken_back_on: date | None = None
    graded_after: Mapping[Facts, int] = field(default_factory=dict)

    def is_young(self, facts: Facts) -> bool:
        """Whether the target graded them lately. Of what nobody knows when it graded it is as old as can be."""
        return facts.graded_on is not None and facts.graded_on > self.since

    def is_recent(self, facts: Facts) -> bool:
        """Whether they arrived lately."""
        return facts.arrived_on >= self.since

    def before(self, facts: Facts, number: int) -> int:
        """How many of them the target has graded before the course was taken back."""
        if self.taken_back_on is None:
            return 0
        if facts.graded_on is None or facts.graded_on < self.taken_back_on:
            return number
        return number - self.graded_after.get(facts, 0) if facts.graded_on == self.taken_back_on else 0


def counting(numbers: Numbers, authority: Authority) -> Numbers:
    """
    Those that count in a phase of this authority: whose copy was wanted, or of which something is on record.

    In live and after it the question is whether the target's own grades hold, so the pairs of live answer it; before,
    those of shadow, and what has failed in live and is not explained.
    """
    return [(facts, number) for facts, number in numbers if _counts(facts, authority)]


def _counts(facts: Facts, authority: Authority) -> bool:
    # History counts once it has been echoed: it proves the pipeline. Without that it has nothing to compare.
    if facts.has(Flag.HISTORY) and not facts.has(Flag.ECHO):
        return False
    # Without a copy there is no pair, but a row that legacy has stored after all is a divergence for all that.
    if facts.has(Flag.NO_COPY) and not facts.has(Flag.DIFFERS):
        return False
    if facts.authority == authority:
        return True
    late = facts.result == PairStatus.OVERDUE and not State(facts.target_state or State.MISSING).is_final
    return authority is Authority.LEGACY and (facts.result == PairStatus.DIVERGED or late)


def is_real(facts: Facts, window: Window) -> bool:
    """Whether these are pairs that a real grader has graded through the watcher seam, not too long ago."""
    return _is_graded(facts, window) and not facts.has(Flag.ECHO) and facts.has(Flag.LEASED)


def _is_graded(facts: Facts, window: Window) -> bool:
    # A divergence does not age.
    lately = facts.result == PairStatus.DIVERGED or window.is_young(facts)
    return facts.has(Flag.GRADED_PAIR) and facts.result != PairStatus.KNOWN and lately


def by_class(numbers: Numbers) -> Counter[DivergenceClass]:
    """How many divergences there are of each class that nothing covers, and that nobody has signed for."""
    found: Counter[DivergenceClass] = Counter()
    for facts, number in numbers:
        found.update(dict.fromkeys(uncovered(facts.differences), number))
    return found


def evidence_by_cohort(
    numbers: Numbers, by: str, window: Window, side_effects: frozenset[str], arrived: Iterable[str]
) -> tuple[CohortEvidence, ...]:
    """
    The counts of each problem or queue.

    Args:
        numbers: those that count.
        by: ``item_id`` or ``queue_name``.
        window: what is not too old.
        side_effects: the queues whose graders must not grade twice.
        arrived: the problems or queues to which something has come lately, in whatever phase, with or without a copy:
            what came in live before a course was taken back shows that its graders will be needed. Others are idle.
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
    """Under which of a tally's headings these are counted."""
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
    if open_ones and open_ones <= _APART:
        yield "apart"
    if open_ones & DETERMINISTIC:
        yield "deterministic"
    if _is_graded(facts, window):
        yield "pairs"
        if facts.has(Flag.ECHO):
            yield "echoed"
        elif not facts.has(Flag.LEASED):
            yield "elsewhere"
        # Of the same pairs as the rate against legacy: the gate works on the difference of the two.
        if facts.has(Flag.TWIN_JUDGED):
            yield "twins"
        if facts.has(Flag.TWIN_DIFFERS):
            yield "twins_differ"
    elif facts.has(Flag.GRADED_PAIR) and not explained:
        yield "aged"
