"""The gate: its statistics against independent arithmetic, and that nothing but whole evidence ever passes."""

import dataclasses
import functools
import math
import random
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from migration_shim.core.gate import (
    Evidence,
    Tally,
    Thresholds,
    evaluate,
    evidence_above,
    evidence_below,
    pairs_needed,
)
from migration_shim.data import Verdict

DEFAULTS = Thresholds(
    rate=0.01, error=0.05, pairs_per_queue=5, pairs_per_problem=20, thin_share=0.05, max_age_seconds=86400
)
SMALL = dataclasses.replace(DEFAULTS, rate=0.05)


# --- statistics -------------------------------------------------------------------------------------------------------


def integrated(n, k, rate, low, high):
    """The martingale from its definition, by Simpson's rule: the mean likelihood ratio over rates from low to high."""

    def ratio(p):
        if (k and p == 0) or (n > k and p == 1):
            return 0.0
        successes = k * (math.log(p) - math.log(rate)) if k else 0.0
        failures = (n - k) * (math.log1p(-p) - math.log1p(-rate)) if n > k else 0.0
        # Past every threshold there is nothing to compare, and both functions stop at e^700.
        return math.exp(min(successes + failures, 650.0))

    panels = 20_000
    step = (high - low) / panels
    inner = math.fsum((4 if i % 2 else 2) * ratio(low + i * step) for i in range(1, panels))
    return (ratio(low) + inner + ratio(high)) / 3 / panels


PAIRS = [(0, 0), (1, 0), (1, 1), (20, 0), (20, 3), (20, 20), (449, 0), (449, 4), (600, 30), (2000, 5)]


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.5])
@pytest.mark.parametrize(("n", "k"), PAIRS)
def test_evidence_is_the_integral_that_defines_it(n, k, rate):
    for found, low, high in ((evidence_below(n, k, rate), 0.0, rate), (evidence_above(n, k, rate), rate, 1.0)):
        expected = integrated(n, k, rate, low, high)
        assert found == pytest.approx(expected, rel=1e-6) or (found > 1e250 and expected > 1e250)


def test_no_pairs_say_nothing():
    assert evidence_below(0, 0, 0.01) == pytest.approx(1)
    assert evidence_above(0, 0, 0.01) == pytest.approx(1)


def test_evidence_of_very_many_pairs_is_a_number():
    assert evidence_below(1_000_000, 0, 0.01) > 1e300
    # So close to the threshold the likelihood is an exponential in p, whose integral is elementary.
    slope = 20_000 / 0.01 - 980_000 / 0.99
    assert evidence_below(1_000_000, 20_000, 0.01) == pytest.approx(1 / (0.01 * slope), rel=0.02)
    assert evidence_above(1_000_000, 20_000, 0.01) > 1e300


@pytest.mark.parametrize(("rate", "enough"), [("0.01", 449), ("0.05", 88)])
def test_exactly_so_many_clean_pairs_are_enough(rate, enough):
    exact = Fraction(rate)
    thresholds = dataclasses.replace(DEFAULTS, rate=float(rate))
    for n, refuted in ((enough - 1, False), (enough, True)):
        # With no divergence the integral is elementary: (1 - (1-r)^(n+1)) / ((n+1) r (1-r)^n).
        ratio = (1 - (1 - exact) ** (n + 1)) / ((n + 1) * exact * (1 - exact) ** n)
        assert (ratio >= 20) is refuted
        assert (evidence_below(n, 0, float(rate)) >= 20) is refuted
        assert pairs_needed(n, 0, thresholds) == enough - n
    assert pairs_needed(0, 0, thresholds) == enough


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 900), st.integers(0, 12), st.sampled_from([DEFAULTS, SMALL]))
def test_pairs_needed_are_enough_and_one_less_is_not(n, k, thresholds):
    assume(k <= n)
    more = pairs_needed(n, k, thresholds)
    assert evidence_below(n + more, k, thresholds.rate) >= 20
    assert more == 0 or evidence_below(n + more - 1, k, thresholds.rate) < 20


def test_pairs_needed_out_of_reach():
    assert pairs_needed(0, 0, DEFAULTS, limit=100) is None
    assert pairs_needed(300, 300, DEFAULTS, limit=2000) is None


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 800), st.integers(0, 30), st.sampled_from([0.01, 0.05]))
def test_more_divergences_never_speak_for_a_low_rate(n, k, rate):
    assume(k < n)
    assert evidence_below(n, k + 1, rate) < evidence_below(n, k, rate)
    assert evidence_above(n, k + 1, rate) > evidence_above(n, k, rate)


@functools.cache
def shown(evidence, n, k):
    return evidence(n, k, SMALL.rate) >= 1 / SMALL.error


@pytest.mark.parametrize("evidence", [evidence_below, evidence_above])
def test_looking_as_often_as_one_likes_adds_up_no_errors(evidence):
    """Courses whose rate is the threshold, looked at after every ten pairs: one in twenty at most is ever misjudged."""
    dice = random.Random(4)
    courses, wrong = 400, 0
    for _ in range(courses):
        k = 0
        for n in range(10, 1001, 10):
            k += sum(dice.random() < SMALL.rate for _ in range(10))
            if shown(evidence, n, k):
                wrong += 1
                break
    # Ville's inequality allows 20 of 400; three standard deviations of that count on top.
    assert 0 < wrong <= 20 + 3 * math.sqrt(20 * 0.95)


# --- the verdict ------------------------------------------------------------------------------------------------------


def tally(name, graded, *, entries=None, diverged=0, deterministic=0):
    return Tally(
        name=name,
        entries=graded if entries is None else entries,
        graded_pairs=graded,
        diverged=diverged,
        deterministic=deterministic,
    )


def evidence(**changes):
    """Evidence that just passes, with changes."""
    whole = {
        "reconcile_age": 60.0,
        "reconcile_complete": True,
        "preflight_age": 3600.0,
        "preflight_blockers": (),
        "problems": (tally("p1", 229), tally("p2", 220)),
        "queues": (tally("q1", 444), tally("q2", 5)),
        "missing": 0,
        "overdue": 0,
        "fence_leaks": 0,
        "double_authority": 0,
    }
    return Evidence(**whole | changes)


def test_whole_evidence_passes():
    found = evaluate(evidence(), DEFAULTS)
    assert found.verdict is Verdict.PASS
    assert found.reasons == found.needed == ()
    assert found.arithmetic == {
        "pairs": 449,
        "diverged": 0,
        "threshold": 0.01,
        "error": 0.05,
        "evidence": pytest.approx(20, abs=0.2),
        "evidence_needed": 20,
    }


DAY = 86400.0
P1, P2 = tally("p1", 1500), tally("p2", 1500)
BAD = {
    "no reconcile": ({"reconcile_age": None}, "INCONCLUSIVE", "no reconcile"),
    "reconcile unfinished": ({"reconcile_complete": False}, "INCONCLUSIVE", "did not finish"),
    "reconcile old": ({"reconcile_age": DAY + 1}, "STALE", "last reconcile is 24.0 h old"),
    "no preflight": ({"preflight_age": None}, "INCONCLUSIVE", "no preflight"),
    "preflight old": ({"preflight_age": DAY * 2}, "STALE", "last preflight is 48.0 h old"),
    "blocker": ({"preflight_blockers": ("random_seed (3 rows)",)}, "FAIL", "random_seed (3 rows)"),
    "missing": ({"missing": 1}, "INCONCLUSIVE", "1 submissions are missing"),
    "overdue": ({"overdue": 2}, "INCONCLUSIVE", "2 submissions are overdue"),
    "fence leak": ({"fence_leaks": 1}, "FAIL", "1 fence leaks"),
    "double authority": ({"double_authority": 1}, "FAIL", "1 submissions are alive on both"),
    "nothing at all": ({"problems": (), "queues": ()}, "INCONCLUSIVE", "0 graded pairs"),
    "no queue": ({"queues": ()}, "INCONCLUSIVE", "no queue"),
    "one pair too few": ({"problems": (tally("p1", 229), tally("p2", 219))}, "INCONCLUSIVE", "448 graded pairs"),
    "entries are no pairs": ({"problems": (tally("p1", 448, entries=460),)}, "INCONCLUSIVE", "448 graded pairs"),
    "queue one short": ({"queues": (tally("q1", 445), tally("q2", 4))}, "INCONCLUSIVE", "queue q2: 4 pairs"),
    "queue without a pair": ({"queues": (tally("q1", 449), tally("q2", 0))}, "INCONCLUSIVE", "queue q2: 0 pairs"),
    "one deterministic divergence": (
        {"problems": (P1, tally("p2", 1500, diverged=1, deterministic=1))},
        "FAIL",
        "problem p2: 1 divergences in presence, state or payload",
    ),
    "deterministic, though nothing was graded": (
        {"problems": (P1, tally("p2", 0, entries=1, diverged=1, deterministic=1))},
        "FAIL",
        "problem p2",
    ),
    "a problem that diverges throughout": (
        {"problems": (P1, P2, tally("p3", 20, diverged=10))},
        "FAIL",
        "problem p3: 10 of 20",
    ),
    "diverged without having been graded": (
        {"problems": (P1, tally("p2", 0, entries=30, diverged=30))},
        "FAIL",
        "problem p2: 30 of 30",
    ),
    "any divergence in a small problem": (
        {"problems": (P1, P2, tally("p3", 19, diverged=1))},
        "INCONCLUSIVE",
        "problem p3: 1 divergences in only 19",
    ),
    "out of reach": ({"problems": (tally("p1", 30_000, diverged=12_000),)}, "FAIL", "no number of pairs"),
    "thin problem with too much of the traffic": (
        {"problems": (tally("p1", 950), tally("p2", 19, entries=50))},
        "INCONCLUSIVE",
        "p2 (19 of 50)",
    ),
}


@pytest.mark.parametrize(("changes", "verdict", "reason"), BAD.values(), ids=BAD)
def test_nothing_less_than_whole_evidence_passes(changes, verdict, reason):
    found = evaluate(evidence(**changes), DEFAULTS)
    assert found.verdict == verdict
    assert any(reason in text for text in found.reasons)


GOOD = {
    "as old as allowed": {"reconcile_age": DAY, "preflight_age": DAY},
    "just now": {"reconcile_age": 0.0, "preflight_age": 0.0},
    "a few divergences in many pairs": {"problems": (tally("p1", 1500, diverged=3), P2)},
    "a divergence in a problem of twenty": {"problems": (P1, P2, tally("p3", 20, diverged=1))},
    "small problem, all of it graded": {"problems": (tally("p1", 449), tally("p2", 3))},
    "thin problem with little of the traffic": {"problems": (tally("p1", 951), tally("p2", 19, entries=50))},
    "problem without a pair, with little of the traffic": {"problems": (tally("p1", 449), tally("p2", 0, entries=9))},
}


@pytest.mark.parametrize("changes", GOOD.values(), ids=GOOD)
def test_what_still_passes(changes):
    assert evaluate(evidence(**changes), DEFAULTS).reasons == ()


def test_worst_verdict_wins_and_every_reason_is_named():
    stale = {"reconcile_age": DAY * 2, "missing": 1}
    assert evaluate(evidence(**stale), DEFAULTS).verdict is Verdict.STALE
    found = evaluate(evidence(**stale, fence_leaks=1), DEFAULTS)
    assert found.verdict is Verdict.FAIL
    assert len(found.reasons) == 3


def test_what_is_needed_is_named():
    lacking = evidence(
        reconcile_age=None,
        preflight_age=None,
        problems=(tally("p1", 237),),
        queues=(tally("q1", 234), tally("q2", 3)),
    )
    assert evaluate(lacking, DEFAULTS).needed == (
        "a reconcile",
        "a preflight",
        "212 more graded pairs without a divergence",
        "2 more graded pairs in queue q2",
    )


def test_a_larger_threshold_needs_fewer_pairs():
    small = evidence(problems=(tally("p1", 88),), queues=(tally("q1", 88),))
    assert evaluate(small, DEFAULTS).verdict is Verdict.INCONCLUSIVE
    assert evaluate(small, SMALL).verdict is Verdict.PASS


def test_one_of_many_problems_is_not_failed_by_chance():
    """7 of 100 refute 1 % for a course of one problem, but not where 200 problems had the chance to."""
    bad = tally("bad", 100, diverged=7)
    assert 20 < exact_above(100, 7, Fraction(1, 100)) < 201 * 20
    alone = evaluate(evidence(problems=(bad,)), DEFAULTS)
    assert alone.verdict is Verdict.FAIL
    among = evaluate(evidence(problems=(bad, *(tally(f"p{i}", 50) for i in range(200)))), DEFAULTS)
    assert among.verdict is Verdict.PASS


# --- any evidence -----------------------------------------------------------------------------------------------------


def exact_above(n, k, rate):
    """evidence_above in whole numbers: the incomplete beta function as a binomial tail."""
    tail = sum(math.comb(n + 1, j) * rate**j * (1 - rate) ** (n + 1 - j) for j in range(k + 1))
    beta = Fraction(1, (n + 1) * math.comb(n, k))
    return tail * beta / (1 - rate) / (rate**k * (1 - rate) ** (n - k))


def exact_below(n, k, rate):
    whole = Fraction(1, (n + 1) * math.comb(n, k))
    above = exact_above(n, k, rate) * (1 - rate)
    return (whole / (rate**k * (1 - rate) ** (n - k)) - above) / rate


def holds(found, thresholds):
    """Every condition of a PASS, from the rules and with exact arithmetic."""
    rate, wanted = Fraction(str(thresholds.rate)), 1 / Fraction(str(thresholds.error))
    fresh = [
        age is not None and age <= thresholds.max_age_seconds for age in (found.reconcile_age, found.preflight_age)
    ]
    clean = not (found.missing or found.overdue or found.fence_leaks or found.double_authority)
    if not (all(fresh) and found.reconcile_complete and not found.preflight_blockers and clean):
        return False
    if not found.queues or any(queue.graded_pairs < 5 for queue in found.queues):
        return False
    pairs, diverged = (sum(getattr(one, name) for one in found.problems) for name in ("graded_pairs", "diverged"))
    if exact_below(pairs, diverged, rate) < wanted:
        return False
    for one in found.problems:
        if one.deterministic or (one.diverged and one.graded_pairs < 20):
            return False
        if one.diverged and exact_above(one.graded_pairs, one.diverged, rate) >= wanted * len(found.problems):
            return False
    thin = sum(one.entries for one in found.problems if one.graded_pairs < min(20, one.entries))
    return not thin or thin * 20 < sum(one.entries for one in found.problems)


@st.composite
def tallies(draw, name, sizes):
    graded = draw(sizes)
    diverged = min(graded, draw(st.sampled_from([0, 0, 0, 0, 1, 2, 6])))
    return Tally(
        name=name,
        entries=graded + draw(st.sampled_from([0, 0, 1, 15])),
        graded_pairs=graded,
        diverged=diverged,
        deterministic=min(diverged, draw(st.sampled_from([0] * 7 + [1]))),
    )


SIZES = st.sampled_from([0, 1, 4, 5, 19, 20, 21, 100])
LARGE = st.sampled_from([60, 88, 400, 428, 429, 430, 444, 448, 449, 450, 700, 900])
AGES = st.sampled_from([0.0, 60.0, 60.0, 60.0, DAY, DAY, DAY + 1, None])
RARELY = st.sampled_from([0] * 9 + [1])
EVIDENCE = st.builds(
    Evidence,
    reconcile_age=AGES,
    reconcile_complete=st.sampled_from([True] * 9 + [False]),
    preflight_age=AGES,
    preflight_blockers=st.sampled_from([()] * 9 + [("x",)]),
    problems=st.tuples(tallies("p0", LARGE))
    | st.tuples(tallies("p0", LARGE), tallies("p1", SIZES), tallies("p2", SIZES)),
    queues=st.lists(tallies("q", st.sampled_from([4, 5, 5, 6, 400, 400])), max_size=3).map(tuple),
    missing=RARELY,
    overdue=RARELY,
    fence_leaks=RARELY,
    double_authority=RARELY,
)
THRESHOLDS = st.sampled_from([DEFAULTS, SMALL])


@settings(max_examples=150, deadline=None)
@given(EVIDENCE, THRESHOLDS)
def test_any_evidence_passes_exactly_when_all_conditions_hold(found, thresholds):
    result = evaluate(found, thresholds)
    assert (result.verdict is Verdict.PASS) is holds(found, thresholds)
    assert bool(result.reasons) is (result.verdict is not Verdict.PASS)


@settings(max_examples=150, deadline=None)
@given(EVIDENCE, THRESHOLDS, st.data())
def test_less_or_worse_evidence_never_passes_where_the_better_did_not(found, thresholds, data):
    """A pair that is lost, or one more divergence: what did not pass before does not pass now."""
    field = data.draw(st.sampled_from(["problems", "queues"]))
    all_tallies = getattr(found, field)
    assume(all_tallies)
    index = data.draw(st.integers(0, len(all_tallies) - 1))
    old = all_tallies[index]
    if data.draw(st.booleans()):
        assume(old.graded_pairs > old.diverged)
        new = dataclasses.replace(old, graded_pairs=old.graded_pairs - 1)
    else:
        assume(old.diverged < old.graded_pairs)
        new = dataclasses.replace(old, diverged=old.diverged + 1)
    worse = dataclasses.replace(found, **{field: (*all_tallies[:index], new, *all_tallies[index + 1 :])})
    if evaluate(worse, thresholds).verdict is Verdict.PASS:
        assert evaluate(found, thresholds).verdict is Verdict.PASS
