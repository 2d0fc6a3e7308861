"""The bounds themselves, without a database: what was seen in, breaches out."""

from dataclasses import replace

import pytest

from migration_shim.conf import ShimSettings
from migration_shim.core.bounds import Bound, Bounds, Observed, Stuck, breaches
from migration_shim.core.data import Authority, Phase
from migration_shim.core.evidence import CohortEvidence

BOUNDS = Bounds(thresholds=ShimSettings().thresholds(), overdue=5)


def found(seen, bounds=BOUNDS):
    """Bound, rows and whether the target has failed, of every breach."""
    return [(breach.bound, breach.rows, breach.target_failed) for breach in breaches(seen, bounds)]


def tally(pairs, diverged, **more):
    return CohortEvidence(name="p", entries=pairs, graded_pairs=pairs, diverged=diverged, deterministic=0, **more)


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("compared", [False, True])
def test_nothing_seen_is_no_breach(phase, compared):
    assert found(Observed(phase=phase, compared=compared)) == []
    assert found(Observed(phase=phase, compared=compared, problems=(tally(1000, 0), tally(0, 0)))) == []


@pytest.mark.parametrize("phase", list(Phase))
def test_a_leak_moves_a_course_in_shadow_only_and_a_new_one_only(phase):
    seen = Observed(phase=phase, compared=True, shadow_leaks=2, leaks_answered=1)
    assert found(seen) == [(Bound.FENCE_LEAK, 2, phase is Phase.SHADOW)]
    assert found(replace(seen, leaks_answered=2)) == [(Bound.FENCE_LEAK, 2, False)]


@pytest.mark.parametrize("phase", list(Phase))
def test_what_no_step_mends_moves_no_course(phase):
    seen = Observed(phase=phase, compared=True, reverse_leaks=1, double_authority=2, lost=3)
    assert found(seen) == [(Bound.FENCE_LEAK, 1, False), (Bound.DOUBLE_AUTHORITY, 2, False), (Bound.LOST, 3, False)]


@pytest.mark.parametrize("rows", [1, 5, 6, 1000])
@pytest.mark.parametrize("phase", list(Phase))
def test_a_platform_that_delivers_nothing_moves_a_course_and_one_learner_does_not(phase, rows):
    seen = Observed(phase=phase, compared=False, undelivered=rows, undelivered_by_target=rows)
    target = phase.authority is Authority.TARGET
    assert found(seen) == [(Bound.UNDELIVERED, rows, target and rows > 5)]
    assert found(replace(seen, undelivered_by_target=5)) == [(Bound.UNDELIVERED, rows, False)]


@pytest.mark.parametrize("rows", [1, 5, 6, 1000])
def test_overdue_on_the_side_that_learners_wait_for(rows):
    live = Observed(phase=Phase.LIVE, compared=True, overdue_on_target=rows)
    assert found(live) == [(Bound.OVERDUE, rows, rows > 5)]
    assert found(replace(live, phase=Phase.SHADOW)) == [(Bound.COPIES_OVERDUE, rows, False)]
    legacy = Observed(phase=Phase.LIVE, compared=True, overdue_on_legacy=rows)
    assert found(legacy) == [(Bound.COPIES_OVERDUE, rows, False)]
    assert found(replace(legacy, phase=Phase.SHADOW)) == [(Bound.OVERDUE, rows, False)]


# What the martingale refutes a rate of 1 % with, at an error of 5 % shared by the course and one problem: worked out
# by numerical integration of the mixture, apart from the code (tests/core/test_gate.py has the same for the gate).
DIVERGING = {
    (20, 0): False,
    (20, 1): False,
    (20, 2): False,
    (20, 3): True,
    (100, 5): False,
    (100, 7): True,
    (1000, 10): False,
    (1000, 30): True,
}


def above(pairs, diverged, rate, steps=20_000):
    """The mixture's evidence by the midpoint rule."""
    width = (1 - rate) / steps
    total = 0.0
    for step in range(steps):
        p = rate + (step + 0.5) * width
        total += (p / rate) ** diverged * ((1 - p) / (1 - rate)) ** (pairs - diverged)
    return total / steps


@pytest.mark.parametrize(("pairs", "diverged"), DIVERGING)
def test_divergence_above_the_threshold(pairs, diverged):
    breached = DIVERGING[pairs, diverged]
    assert (above(pairs, diverged, 0.01) >= 40) == breached
    live = Observed(phase=Phase.LIVE, compared=True, problems=(tally(pairs, diverged),))
    assert found(live) == [(Bound.DIVERGENCE, diverged, True)] * 2 * breached  # the course, and its problem
    assert found(replace(live, phase=Phase.SHADOW)) == [(Bound.DIVERGENCE, diverged, False)] * 2 * breached


def test_a_problem_among_many_and_too_few_pairs():
    problems = (tally(19, 19), *[tally(200, 0) for _ in range(19)])
    seen = Observed(phase=Phase.LIVE, compared=True, problems=problems)
    # Nineteen pairs are no proof for the problem, and too few; that the course has as many is none of its own doing.
    assert (Bound.DIVERGENCE, 19, False) in found(seen)
    few = Observed(phase=Phase.LIVE, compared=True, problems=(tally(1, 1),))
    assert found(few) == [(Bound.DIVERGENCE, 1, False)] * 2


def test_what_the_target_disagrees_with_itself_about_excuses():
    seen = Observed(phase=Phase.LIVE, compared=True, problems=(tally(400, 14),))
    assert found(seen) == [(Bound.DIVERGENCE, 14, True)] * 2
    noisy = tally(400, 14, twins=400, twins_differ=40)
    assert found(replace(seen, problems=(noisy,))) == []


def test_a_stuck_queue_moves_a_course_when_its_learners_wait_there():
    queue = Stuck(queue="q", side=Authority.TARGET, copies=False, rows=3, oldest_seconds=1000)
    for phase in Phase:
        seen = Observed(phase=phase, compared=False, stuck=(queue,))
        assert found(seen) == [(Bound.STUCK_QUEUE, 3, phase.authority is Authority.TARGET)]
        assert found(replace(seen, stuck=(replace(queue, copies=True),))) == [(Bound.STUCK_QUEUE, 3, False)]
        assert found(replace(seen, stuck=(replace(queue, side=Authority.LEGACY),))) == [(Bound.STUCK_QUEUE, 3, False)]


@pytest.mark.parametrize(("rows", "who"), [(1, "its learner waits"), (2, "their learners wait")])
def test_who_waits_for_one_submission_is_one_learner(rows, who):
    late = Observed(phase=Phase.LIVE, compared=True, overdue_on_target=rows, wrong_side=rows)
    said = {breach.bound: breach.text for breach in breaches(late, BOUNDS)}
    assert said[Bound.OVERDUE].endswith(f" on target; {who}")
    assert said[Bound.WRONG_SIDE].endswith(f" authoritative; {who}")
