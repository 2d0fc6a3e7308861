"""The gate: its statistics against independent arithmetic, and that nothing but whole evidence ever passes."""

import dataclasses
import functools
import math
import random
from datetime import UTC, datetime
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from migration_shim.core import martingale
from migration_shim.core.data import DETERMINISTIC, DivergenceClass, Phase, Verdict
from migration_shim.core.evidence import CohortEvidence, Evidence, Latency, Override, Thresholds
from migration_shim.core.gate import evaluate
from migration_shim.core.gate_explanation import explain
from migration_shim.core.martingale import evidence_above, evidence_below, lower_bound, upper_bound

DEFAULTS = Thresholds(
    rate=0.01, error=0.05, pairs_per_queue=5, pairs_per_problem=20, thin_share=0.05, max_age_seconds=86400
)
SMALL = dataclasses.replace(DEFAULTS, rate=0.05)


def pairs_needed(n, k, thresholds, **options):
    return martingale.pairs_needed(n, k, thresholds.rate, thresholds.error, **options)


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
    return CohortEvidence(
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
    "routine blocker": (
        {"preflight_blockers": ("reverse_queue_not_polled q1.reverse",)},
        "INCONCLUSIVE",
        "preflight blocker: reverse_queue_not_polled q1.reverse",
    ),
    "routine blocker and another": (
        {"preflight_blockers": ("reverse_queue_not_polled q1.reverse", "random_seed (3 rows)")},
        "FAIL",
        "preflight blocker: random_seed (3 rows)",
    ),
    "missing": ({"missing": 1}, "INCONCLUSIVE", "1 submission is missing"),
    "overdue": ({"overdue": 2}, "INCONCLUSIVE", "2 submissions are overdue"),
    "fence leak": ({"fence_leaks": 1}, "FAIL", "1 fence leak:"),
    "double authority": ({"double_authority": 1}, "FAIL", "1 submission is alive on both"),
    "undelivered": ({"undelivered": 1}, "FAIL", "1 learner waits, or waited, for a grade that nobody brings"),
    "wrong side": ({"wrong_side": 1}, "FAIL", "1 submission reached legacy while the target was authoritative"),
    "nothing at all": ({"problems": (), "queues": ()}, "INCONCLUSIVE", "0 graded pairs"),
    "no queue": ({"queues": ()}, "INCONCLUSIVE", "no queue"),
    "one pair too few": ({"problems": (tally("p1", 229), tally("p2", 219))}, "INCONCLUSIVE", "448 graded pairs"),
    "entries are no pairs": ({"problems": (tally("p1", 448, entries=460),)}, "INCONCLUSIVE", "448 graded pairs"),
    "queue one short": ({"queues": (tally("q1", 445), tally("q2", 4))}, "INCONCLUSIVE", "queue q2: 4 pairs"),
    "queue without a pair": ({"queues": (tally("q1", 449), tally("q2", 0))}, "INCONCLUSIVE", "queue q2: 0 pairs"),
    "one deterministic divergence": (
        {"problems": (P1, tally("p2", 1500, diverged=1, deterministic=1))},
        "FAIL",
        "problem p2: 1 divergence in presence, state or payload",
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
        "problem p3: 1 divergence in only 19",
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
    return CohortEvidence(
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


# --- whole evidence, with nothing left untold -------------------------------------------------------------------------

WHOLE = dataclasses.replace(DEFAULTS, demand_all=True)
TIMES = Latency(timed=40, legacy=30.0, target=45.0)


def told(name, graded, **changes):
    return CohortEvidence(
        **{"name": name, "entries": graded, "graded_pairs": graded, "diverged": 0, "deterministic": 0}
        | {"payload_compared": graded}
        | changes
    )


def whole(**changes):
    """Evidence that tells everything that is asked for, and passes, with changes."""
    content = {
        "reconcile_age": 60.0,
        "reconcile_complete": True,
        "preflight_age": 3600.0,
        "preflight_blockers": (),
        "problems": (told("p1", 300), told("p2", 300)),
        "queues": (told("q1", 590), told("q2", 10)),
        "missing": 0,
        "overdue": 0,
        "fence_leaks": 0,
        "double_authority": 0,
        "undelivered": 0,
        "wrong_side": 0,
        "lost": 0,
        "stuck": 0,
        "latency": TIMES,
    }
    return Evidence(**content | changes)


def test_evidence_that_tells_everything_passes():
    found = evaluate(whole(), WHOLE)
    assert (found.verdict, found.reasons, found.needed, found.ways_out, found.notes) == (Verdict.PASS, (), (), (), ())


def test_where_nobody_can_ask_learners_that_is_not_unknown():
    assert evaluate(whole(undelivered=None, learners_asked=False), WHOLE).verdict is Verdict.PASS
    found = evaluate(whole(undelivered=None), WHOLE)
    assert (found.verdict, found.reasons) == (Verdict.INCONCLUSIVE, ("nobody has asked what learners wait for",))


NAN = float("nan")
# For every field of the evidence, every way to have less of it. The test below refuses a field that is not named here.
LESS = {
    "reconcile_age": [None, DAY + 1, NAN, math.inf, -3600.0],
    "reconcile_complete": [False],
    "preflight_age": [None, DAY + 1, NAN, math.inf, -3600.0],
    "preflight_blockers": [("x",)],
    "problems": [(), (told("p1", 300),), (told("p1", 300, entries=400, graded_pairs=0), told("p2", 300))],
    "queues": [(), (told("q1", 590), told("q2", 4)), (told("q1", 600, idle=True),)],
    "missing": [1],
    "overdue": [1],
    "fence_leaks": [None, 1],
    "double_authority": [None, 1],
    "undelivered": [None, 1],
    "learners_asked": [],
    "wrong_side": [None, 1],
    "lost": [None, 1],
    "stuck": [None, 1],
    "latency": [None, Latency(timed=0, legacy=0.0, target=0.0), Latency(timed=4, legacy=30.0, target=30.0)]
    + [Latency(timed=40, legacy=30.0, target=target) for target in (120.1, math.inf, NAN)],
    "overrides": [],
    "grave": [((DivergenceClass.LOST, 1),)],
    "taken_back": [],
    "legacy_away": ["xqueue_database_refused: XQueue's database is down."],
}
# The same for every count of a problem.
LESS_OF_A_PROBLEM = {
    "name": [],
    "entries": [317],
    "graded_pairs": [0],
    "diverged": [30, 300],
    "deterministic": [1],
    "echoed": [],
    "known": [],
    "classes": [],
    "payload_compared": [None, 0, 299],
    "twins": [],
    "twins_differ": [],
    "elsewhere": [],
    "side_effects": [],
    "before": [],
    "aged": [],
    "idle": [],
}
LESS_OF_A_QUEUE = {"graded_pairs": 9, "echoed": 6, "elsewhere": 6, "before": 6}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in LESS.items() for value in values])
def test_no_ingredient_can_be_left_out(field, value):
    assert {item.name for item in dataclasses.fields(Evidence)} == LESS.keys()
    found = evaluate(whole(**{field: value}), WHOLE)
    assert found.verdict is not Verdict.PASS
    assert found.reasons


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in LESS_OF_A_PROBLEM.items() for value in values]
)
def test_no_count_of_a_problem_can_be_left_out(field, value):
    assert {item.name for item in dataclasses.fields(CohortEvidence)} == LESS_OF_A_PROBLEM.keys()
    worse = told("p1", 300, **{field: value})
    assert evaluate(whole(problems=(worse, told("p2", 300))), WHOLE).verdict is not Verdict.PASS


@pytest.mark.parametrize("field", LESS_OF_A_QUEUE)
def test_a_queue_needs_pairs_by_a_real_grader_through_the_seam(field):
    """Five of ten: with echoes, or with pairs that went past the seam, one less is too few."""
    enough, short = (
        told("q2", 10, **{field: 5 if field == "graded_pairs" else LESS_OF_A_QUEUE[field] - 1}),
        told("q2", 10, **{field: 4 if field == "graded_pairs" else LESS_OF_A_QUEUE[field]}),
    )
    assert evaluate(whole(queues=(told("q1", 590), enough)), WHOLE).verdict is Verdict.PASS
    found = evaluate(whole(queues=(told("q1", 590), short)), WHOLE)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.reasons == ("queue q2: 4 pairs graded on both sides",)
    assert found.needed == ("1 more graded pair in queue q2",)


def test_a_queue_with_side_effects_is_exempt_and_named():
    queue = told("q2", 10, echoed=10, side_effects=True)
    found = evaluate(whole(queues=(told("q1", 590), queue)), WHOLE)
    assert found.verdict is Verdict.PASS
    assert found.notes == ("queue q2 is declared to have side effects: 0 of its 10 pairs come from a real grader",)


def test_where_no_real_grader_may_grade_there_are_no_times_to_compare():
    queues = (told("q1", 600, echoed=600, side_effects=True),)
    assert evaluate(whole(queues=queues, latency=None), WHOLE).verdict is Verdict.PASS
    assert evaluate(whole(latency=None), WHOLE).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(("target", "verdict"), [(120.0, Verdict.PASS), (120.5, Verdict.FAIL)])
def test_the_bound_of_latency(target, verdict):
    """Twice legacy's 30 s, and a minute."""
    assert evaluate(whole(latency=Latency(timed=40, legacy=30.0, target=target)), WHOLE).verdict is verdict


def test_payloads_of_every_submission_are_compared_or_the_problem_is_named():
    short = told("p1", 300, payload_compared=299)
    found = evaluate(whole(problems=(short, told("p2", 300))), WHOLE)
    assert found.reasons == ("problem p1: the payloads of 299 of 300 are compared",)


@pytest.mark.parametrize("klass", sorted(DETERMINISTIC))
def test_one_deterministic_divergence_fails_and_names_problem_and_class(klass):
    many = tuple(told(f"p{i}", 50) for i in range(200))
    bad = told("bad", 50, diverged=1, deterministic=1, classes=(klass.value,))
    found = evaluate(whole(problems=(*many, bad)), WHOLE)
    assert found.verdict is Verdict.FAIL
    assert found.reasons == (f"problem bad: 1 divergence in {klass.value}",)


def test_which_classes_are_deterministic():
    """All that neither a random grader nor a slow one nor legacy's own refusal explains."""
    other = {"stored_after_refusal", "correctness", "score", "out_of_range", "stored_points", "stuck", "latency"}
    assert set(DETERMINISTIC) == set(DivergenceClass) - other


def test_known_differences_are_counted_and_pass():
    found = evaluate(whole(problems=(told("p1", 300, known=30), told("p2", 300))), WHOLE)
    assert found.verdict is Verdict.PASS
    assert found.notes == ("30 known differences are counted, and not held against the course",)


def test_thin_problems_are_named_though_they_pass():
    found = evaluate(whole(problems=(told("p1", 600), told("p2", 20, graded_pairs=19))), WHOLE)
    assert (found.verdict, found.notes) == (Verdict.PASS, ("thin problems: p2 (19 of 20)",))


def test_echoes_are_marked():
    found = evaluate(whole(problems=(told("p1", 600, echoed=200),)), WHOLE)
    assert (found.verdict, found.notes) == (Verdict.PASS, ("200 of 600 graded pairs are echoes of legacy's replies",))


def test_a_small_course_is_told_its_ways_out():
    small = whole(problems=(told("p1", 60),), queues=(told("q1", 60),))
    found = evaluate(small, WHOLE)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.ways_out == ("a larger threshold for small courses (5%: 88 pairs)", "a signed override")
    assert evaluate(small, dataclasses.replace(WHOLE, rate=0.05)).ways_out == ("a signed override",)
    waiting = whole(problems=(told("p1", 60, entries=449),), queues=(told("q1", 60),))
    assert evaluate(waiting, WHOLE).ways_out == ()


def test_an_override_changes_no_verdict_and_is_printed():
    override = Override(
        owner="ada and grace",
        reason="small course",
        step_to=Phase.LIVE,
        used_at=datetime(2026, 12, 1, 9, tzinfo=UTC),
        causes=("needs_pairs", "stale"),
    )
    found = evaluate(whole(missing=1, overrides=(override,)), WHOLE)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.notes == (
        "override by ada and grace, used on 2026-12-01 09:00 for the step to live past needs_pairs, stale: "
        "small course",
    )


# --- random graders ---------------------------------------------------------------------------------------------------

NOISY = dataclasses.replace(WHOLE, rate=0.05, noise_cap=0.2)


@pytest.mark.parametrize(("n", "k"), [(5, 0), (100, 0), (100, 100), (600, 30), (2000, 200)])
@pytest.mark.parametrize("error", [0.05, 0.025])
def test_bounds_are_where_the_martingales_reach_their_level(n, k, error):
    low, high = lower_bound(n, k, error), upper_bound(n, k, error)
    assert 0 <= low <= k / n <= high <= 1
    if k:
        level = exact_above(n, k, Fraction(low)) if n <= 600 else evidence_above(n, k, low)
        assert float(level) == pytest.approx(1 / error, rel=1e-4)
    if k < n:
        assert evidence_below(n, k, high) == pytest.approx(1 / error, rel=1e-4)


def test_without_pairs_the_bounds_say_nothing():
    assert (lower_bound(0, 0, 0.05), upper_bound(0, 0, 0.05)) == (0.0, 1.0)
    assert (lower_bound(9, 0, 0.05), upper_bound(9, 9, 0.05)) == (0.0, 1.0)


def noisy(pairs, diverged, twins, differ):
    """A course of twenty problems, all alike."""
    counts = {"diverged": diverged // 20, "twins": twins // 20, "twins_differ": differ // 20}
    return whole(problems=tuple(told(f"p{i}", pairs // 20, **counts) for i in range(20)), queues=(told("q1", pairs),))


def test_a_random_grader_is_excused_once_its_noise_is_measured():
    """One in ten differs, between the systems and on the target itself."""
    assert evaluate(noisy(4000, 400, 0, 0), NOISY).verdict is not Verdict.PASS
    found = evaluate(noisy(4000, 400, 4000, 400), NOISY)
    assert found.verdict is Verdict.PASS
    (note,) = found.notes
    assert note.startswith("the target disagrees with itself: 8.") and note.endswith("% is allowed for random graders")


def test_few_pairs_graded_twice_excuse_nothing():
    assert evaluate(noisy(4000, 400, 200, 20), NOISY).verdict is not Verdict.PASS


def test_noise_excuses_no_more_than_its_cap():
    capped = dataclasses.replace(NOISY, noise_cap=0.03)
    assert evaluate(noisy(4000, 400, 4000, 400), capped).verdict is not Verdict.PASS


def test_randomness_of_the_targets_own_does_not_excuse_itself():
    """Legacy always answers alike; the target is wrong one time in eight, and so differs from itself nearly twice as
    often. The difference of the two rates is below zero, and nothing is excused."""
    flips = noisy(8000, 1000, 8000, 1740)
    assert NOISY.rate > 1000 / 8000 - 1740 / 8000
    found = evaluate(flips, NOISY)
    assert found.verdict is not Verdict.PASS
    assert not found.notes


def test_pairs_graded_twice_share_the_error():
    """With them the x-part has half of it: 535 clean pairs instead of 449."""
    sizes = ((449, 0, True), (448, 0, False), (535, 100, True), (534, 100, False))
    for pairs, twins, passes in sizes:
        found = evaluate(whole(problems=(told("p1", pairs, twins=twins),), queues=(told("q1", pairs),)), WHOLE)
        assert (found.verdict is Verdict.PASS) is passes, (pairs, twins)


def test_noise_of_one_problem_excuses_no_other():
    """One problem disagrees with itself half of the time; another disagrees with legacy half of the time."""
    fine = tuple(told(f"p{i}", 400, twins=100) for i in range(18))
    random_one = told("random", 400, diverged=200, twins=400, twins_differ=200)
    broken = told("broken", 400, diverged=200, twins=400)
    found = evaluate(whole(problems=(*fine, random_one, broken), queues=(told("q1", 8000),)), NOISY)
    assert found.verdict is Verdict.FAIL
    assert "problem broken: 200 of 400 pairs diverge" in found.reasons


def test_a_problem_is_excused_by_its_own_noise():
    """One in ten of 2,000 is far above 5 %, but not above 5 % and what the problem's own twins show."""
    for differ, fails in ((200, False), (0, True)):
        problem = told("p1", 2000, diverged=200, twins=2000, twins_differ=differ)
        assert (evaluate(whole(problems=(problem,)), NOISY).verdict is Verdict.FAIL) is fails


def test_noise_excuses_nothing_deterministic():
    course = noisy(4000, 400, 4000, 400)
    bad = dataclasses.replace(course.problems[0], deterministic=1, classes=("payload",))
    found = evaluate(dataclasses.replace(course, problems=(bad, *course.problems[1:])), NOISY)
    assert found.verdict is Verdict.FAIL


@pytest.mark.parametrize("k", [0, 1, 5, 40])
def test_a_rate_that_is_refuted_is_refuted_with_every_greater_one(k):
    """The credit for noise moves the threshold while the course runs; that needs this order (docs/decisions/0012)."""
    for n in (60, 200, 449, 2000):
        if k <= n:
            levels = [evidence_below(n, k, rate / 1000) for rate in range(1, 990, 7)]
            first = next((i for i, level in enumerate(levels) if level >= math.e), len(levels))
            assert all(level >= math.e for level in levels[first:])
            assert levels[first:] == sorted(levels[first:])


# --- the arithmetic ---------------------------------------------------------------------------------------------------


def test_the_arithmetic_of_a_clean_course():
    queues = (told("q1", 444), told("q2", 5, echoed=5, side_effects=True))
    assert explain(whole(problems=(told("p1", 449),), queues=queues), WHOLE) == [
        "course: 0 unexplained divergences in 449 pairs; the rate is under 0.999% with an error of 5.0%",
        "  to be under 1.000%: evidence 20.037 of 20, 0 more clean pairs",
        "problem p1: 449 graded pairs of 449 submissions (0 echoed), 0 diverged, 0 deterministic, 0 known, "
        "payloads 449 compared",
        "queue q1: 444 of 444 pairs by a real grader through the seam, 5 asked for",
        "queue q2: 0 of 5 pairs by a real grader through the seam, none asked for: side effects",
        "latency: 95th percentile of 40 pairs 30.0 s on legacy, 45.0 s on target, bound 120.0 s",
        "note: queue q2 is declared to have side effects: 0 of its 5 pairs come from a real grader",
    ]


def test_the_arithmetic_of_noise_and_of_a_bad_problem():
    lines = explain(noisy(4000, 400, 4000, 400), NOISY)
    assert lines[2].startswith("noise: 400 of 4000 shadows graded twice disagree; the rate is over 8.")
    assert "evidence of a rate over" in lines[4] and lines[4].endswith(" of 400")
    hopeless = explain(whole(problems=(told("p1", 30_000, diverged=12_000),)), WHOLE)
    assert hopeless[1].endswith("no number of clean pairs would do")


@settings(max_examples=60, deadline=None)
@given(EVIDENCE, THRESHOLDS)
def test_any_evidence_can_be_explained(found, thresholds):
    assert len(explain(found, thresholds)) >= 2 + len(found.problems) + len(found.queues)


# --- evidence that never passes ---------------------------------------------------------------------------------------

ANY_COUNT = st.integers(0, 5000)


@st.composite
def any_tally(draw):
    entries = draw(ANY_COUNT)
    graded = draw(st.integers(0, entries))
    return CohortEvidence(
        name=draw(st.text(max_size=5)),
        entries=entries,
        graded_pairs=graded,
        diverged=draw(st.integers(0, min(entries, 40))),
        deterministic=draw(st.sampled_from([0, 0, 0, 1])),
        echoed=draw(st.integers(0, graded)),
        payload_compared=draw(st.sampled_from([None, entries, entries, 0])),
        twins=(twins := draw(st.integers(0, 300))),
        twins_differ=draw(st.integers(0, twins)),
        side_effects=draw(st.booleans()),
    )


ANYTHING = st.builds(
    Evidence,
    reconcile_age=st.floats() | st.none(),
    reconcile_complete=st.booleans(),
    preflight_age=st.floats() | st.none(),
    preflight_blockers=st.lists(st.text(max_size=3), max_size=1).map(tuple),
    problems=st.lists(any_tally(), max_size=3).map(tuple),
    queues=st.lists(any_tally(), max_size=2).map(tuple),
    missing=RARELY,
    overdue=RARELY,
    fence_leaks=RARELY,
    double_authority=RARELY,
    lost=RARELY | st.none(),
    stuck=RARELY | st.none(),
    latency=st.none() | st.builds(Latency, timed=ANY_COUNT, legacy=st.floats(0, 1e6), target=st.floats(0, 1e6)),
)
FRESH = {"reconcile_age": 1.0, "preflight_age": 1.0, "reconcile_complete": True, "preflight_blockers": ()}
SPOILED = {
    "empty": lambda found: dataclasses.replace(found, **FRESH, problems=()),
    "one-sided": lambda found: dataclasses.replace(
        found,
        **FRESH,
        problems=tuple(dataclasses.replace(one, graded_pairs=0, echoed=0) for one in found.problems),
    ),
    "no queue": lambda found: dataclasses.replace(found, **FRESH, queues=()),
    "errored": lambda found: dataclasses.replace(found, preflight_blockers=("error",)),
    "old": lambda found: dataclasses.replace(found, reconcile_age=DAY + 1),
    "old preflight": lambda found: dataclasses.replace(found, preflight_age=DAY + 1),
    "never": lambda found: dataclasses.replace(found, reconcile_age=None),
    "interrupted": lambda found: dataclasses.replace(found, reconcile_complete=False),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
@settings(max_examples=40, deadline=None)
@given(found=ANYTHING, demand=st.booleans())
def test_empty_one_sided_errored_old_or_interrupted_evidence_never_passes(spoil, found, demand):
    result = evaluate(spoil(found), dataclasses.replace(DEFAULTS, demand_all=demand))
    assert result.verdict is not Verdict.PASS
    assert result.reasons


def test_a_queue_without_submissions_is_idle_and_asks_nothing():
    idle = told("q2", 0, idle=True)
    found = evaluate(whole(queues=(told("q1", 600), idle)), WHOLE)
    assert found.verdict is Verdict.PASS
    assert found.notes == ("idle, no submission in 30 days: q2; nothing is asked of them",)
    assert evaluate(whole(queues=(told("q1", 600), told("q2", 0))), WHOLE).verdict is Verdict.INCONCLUSIVE


def test_pairs_that_are_too_old_are_counted_in_a_note():
    found = evaluate(whole(problems=(told("p1", 600, aged=40), told("p2", 300))), WHOLE)
    assert found.notes == ("40 graded pairs are older than 30 days and do not count any more",)


def test_a_course_that_was_taken_back_is_told_so():
    lacking = told("q1", 600, before=597)
    found = evaluate(whole(queues=(lacking,), taken_back=True), WHOLE)
    assert found.reasons == ("queue q1: 3 pairs graded on both sides since it was taken back",)
    assert found.needed == ("2 more graded pairs in queue q1",)


CAUSES = {
    "leak": {"fence_leaks": 1, "double_authority": 1, "reconcile_age": None},
    "double_authority": {"double_authority": 1, "lost": 1},
    "lost": {"lost": 1, "overdue": 1},
    "differs": {"problems": (told("p1", 600, diverged=1, deterministic=1),), "overdue": 1},
    "overdue": {"overdue": 1, "preflight_blockers": ("x",)},
    "blocked": {"preflight_blockers": ("x",), "latency": Latency(timed=40, legacy=1.0, target=900.0)},
    "slow": {"latency": Latency(timed=40, legacy=1.0, target=900.0), "preflight_age": None},
    "stale": {"preflight_age": None, "queues": (told("q1", 4),)},
    "needs_pairs": {"queues": (told("q1", 4),)},
    "ready": {},
}


@pytest.mark.parametrize(("cause", "changes"), CAUSES.items(), ids=CAUSES)
def test_the_cause_is_the_worst_of_the_reasons(cause, changes):
    assert evaluate(whole(**changes), WHOLE).cause == cause
