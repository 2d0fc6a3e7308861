"""What an entry is counted as: its bucket, its bins, and what is read back out of them."""

import math
from collections import Counter
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration_shim.core import buckets, histograms
from migration_shim.core.buckets import Facts, Flag, Row, bucket_id, facts_of
from migration_shim.core.data import DivergenceClass
from migration_shim.core.histograms import Bin, Kind, bin_id, bins_of

MOMENT = datetime(2026, 11, 30, 12, tzinfo=UTC)
PAIR = Row(
    course_id="course-v1:ExU+PY1+2026",
    queue_name="exu-py1",
    item_id="block-v1:a",
    arrived_at=MOMENT,
    moved_at=None,
    target_graded_at=MOMENT,
    authority="legacy",
    result="equal",
    known="",
    divergences="",
    legacy_leg="stored",
    target_leg="stored",
    legacy_state="graded",
    legacy_correct=True,
    legacy_score=1.0,
    legacy_seconds=20.0,
    target_state="graded",
    target_correct=True,
    target_score=1.0,
    target_seconds=30.0,
    points_possible=1,
    graded_pair=True,
    echo=False,
    history=False,
    leases=1,
    payload_compared_at=MOMENT,
    twin_submission_id=None,
    twin_agrees=None,
    superseded_at=None,
    purged_at=None,
    learner_said="",
    learner_correct=None,
    learner_score=None,
)
#: Texts over few letters, so that two tuples whose texts run together to the same are found.
SHORT = st.text("a1:-|", max_size=4)


def kinds(row):
    return {place.kind: place.bin for place in bins_of(row)}


@given(st.lists(SHORT, min_size=3, max_size=3), st.lists(SHORT, min_size=3, max_size=3))
def test_other_facts_have_another_id(one, other):
    first, second = (facts_of(PAIR)._replace(course_id=a, queue_name=b, item_id=c) for a, b, c in (one, other))
    assert (bucket_id(first) == bucket_id(second)) == (one == other)


def test_every_fact_is_in_the_id():
    other = {"arrived_on": date(2026, 1, 1), "moved_on": date(2026, 1, 1), "graded_on": None, "flags": 0}
    facts = facts_of(PAIR)
    ids = {bucket_id(facts._replace(**{name: other.get(name, "another")})) for name in Facts._fields}
    assert len(ids | {bucket_id(facts)}) == len(Facts._fields) + 1
    place = bins_of(PAIR)[0]
    ids = {bin_id(place._replace(**{name: None if name == "day" else "another"})) for name in Bin._fields}
    assert len(ids | {bin_id(place)}) == len(Bin._fields) + 1


def test_an_id_is_the_same_in_every_process_and_fits_a_bigint():
    assert bucket_id(facts_of(PAIR)) == -8933762856038876235
    assert bin_id(bins_of(PAIR)[0]) == 8461010228838654063


@pytest.mark.parametrize(
    ("changed", "flag"),
    [
        ({"graded_pair": True}, Flag.GRADED_PAIR),
        ({"echo": True}, Flag.ECHO),
        ({"history": True}, Flag.HISTORY),
        ({"leases": 2}, Flag.LEASED),
        ({"payload_compared_at": MOMENT}, Flag.PAYLOAD),
        ({"target_leg": "none"}, Flag.NO_COPY),
        ({"authority": "target", "legacy_leg": "none"}, Flag.NO_COPY),
        ({"divergences": "score"}, Flag.DIFFERS),
        ({"superseded_at": MOMENT}, Flag.SUPERSEDED),
        ({"legacy_seconds": 1.0, "target_seconds": 1.0}, Flag.TIMED),
        ({"twin_submission_id": 5}, Flag.TWIN),
        ({"twin_agrees": True}, Flag.TWIN_JUDGED),
        ({"twin_agrees": False}, Flag.TWIN_JUDGED | Flag.TWIN_DIFFERS),
        ({"purged_at": MOMENT}, Flag.PURGED),
    ],
)
def test_a_flag_for_each_thing_that_is_true_or_not(changed, flag):
    bare = PAIR._replace(graded_pair=False, leases=0, payload_compared_at=None, legacy_seconds=None)
    assert facts_of(bare).flags == 0
    assert facts_of(bare._replace(**changed)).flags == flag


def test_the_leg_of_the_authoritative_side_is_no_copy():
    assert not facts_of(PAIR._replace(legacy_leg="none")).has(Flag.NO_COPY)


def test_a_day_is_one_of_utc():
    late = datetime.fromisoformat("2026-11-30T23:30:00-05:00")
    facts = facts_of(PAIR._replace(arrived_at=late, moved_at=late, target_graded_at=late))
    assert {facts.arrived_on, facts.moved_on, facts.graded_on} == {date(2026, 12, 1)}


@pytest.mark.parametrize(
    ("state", "correct", "score", "word"),
    [
        ("graded", True, 1.0, "correct"),
        ("graded", False, 0.0, "wrong"),
        ("graded", None, None, "invalid"),
        ("graded", None, 0.0, "raises"),
        ("failed", None, None, ""),
        ("", None, None, ""),
    ],
)
def test_a_reply_in_one_word(state, correct, score, word):
    assert buckets.reply_word(state, correct, score) == word


@given(st.dictionaries(st.sampled_from([klass.value for klass in DivergenceClass]), st.none() | st.integers(1, 10**9)))
def test_divergences_are_read_back_as_they_were_spelt(differences):
    text = buckets.format_differences(differences)
    assert buckets.parse_differences(text) == differences
    assert buckets.uncovered(text) == {klass for klass, known in differences.items() if known is None}
    assert len(text) <= 512


def test_a_pair_stands_in_one_bin_of_each_side_and_one_of_the_confusion():
    assert set(kinds(PAIR)) == {Kind.LEGACY_SECONDS, Kind.TARGET_SECONDS, Kind.CONFUSION}
    assert kinds(PAIR)[Kind.CONFUSION] == "correct 1|correct 1"
    assert Kind.CONFUSION not in kinds(PAIR._replace(target_state="failed"))
    assert set(kinds(PAIR._replace(legacy_seconds=None))) == {Kind.CONFUSION}


@pytest.mark.parametrize(
    ("score", "word"),
    [
        (0.79, "correct 0.7"),
        (0.0, "correct 0"),
        (1.0, "correct 1"),
        (1.0001, "correct above 1"),
        (None, "correct, not"),
    ],
)
def test_a_score_in_tenths(score, word):
    assert kinds(PAIR._replace(target_score=score))[Kind.CONFUSION].split("|")[1].startswith(word)


@pytest.mark.parametrize(
    ("learner", "target", "place"),
    [
        ((True, 1.0), (True, 1.0), "as_both"),
        ((True, 1.0), (False, 0.0), "as_legacy"),
        ((False, 0.0), (False, 0.0), "as_target"),
        ((False, 0.5), (False, 0.0), "as_neither"),
        ((None, None), (None, None), "as_target"),
        ((None, 0.0), (None, 0.0), "as_neither"),  # CAPA fails on it: what the learner has is nobody's
    ],
)
def test_what_a_learner_has_beside_both_grades(learner, target, place):
    row = PAIR._replace(learner_said="comparable", target_correct=target[0], target_score=target[1])
    row = row._replace(learner_correct=learner[0], learner_score=learner[1])
    assert kinds(row)[Kind.THIRD_SIDE] == place
    assert Kind.THIRD_SIDE not in kinds(row._replace(purged_at=MOMENT))


def test_a_learner_who_cannot_be_compared_stands_there_with_the_reason():
    assert kinds(PAIR._replace(learner_said="no_answer"))[Kind.LEARNER] == "no_answer"


@pytest.mark.parametrize(("score", "sign"), [(0.5, "share"), (3.0, "points"), (1.0, "one")])
def test_a_score_tells_of_the_style_of_its_queue_on_its_day(score, sign):
    row = PAIR._replace(points_possible=4, target_score=score)
    assert kinds(row)[Kind.STYLE] == sign
    assert {place.day for place in bins_of(row) if place.kind == Kind.STYLE} == {MOMENT.date()}


@given(st.floats(0.0, 10**9))
def test_a_time_lies_between_the_edges_of_its_bin_which_are_two_percent_apart(seconds):
    place = histograms.seconds_bin(seconds)
    lower, upper = histograms.lower_edge(place), histograms.upper_edge(place)
    assert lower <= seconds
    if place + 1 < len(histograms.EDGES):
        assert seconds < upper
        assert upper <= max(lower * 1.0201, 0.0011)


@pytest.mark.parametrize("seconds", [-5.0, 0.0, 1e-9])
def test_what_is_no_time_is_in_the_first_bin(seconds):
    assert histograms.seconds_bin(seconds) == 0


def test_there_are_no_more_bins_than_these():
    assert histograms.seconds_bin(math.inf) == len(histograms.EDGES) - 1 < 1400


@given(st.lists(st.floats(0.01, 10**6), min_size=1, max_size=60), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_a_quantile_errs_against_the_target_and_by_no_more_than_a_bin(times, share):
    exact = sorted(times)[min(int(share * len(times)), len(times) - 1)]
    place = histograms.quantile(Counter(map(histograms.seconds_bin, times)), share)
    assert exact / 1.0201 <= histograms.lower_edge(place) <= exact < histograms.upper_edge(place) <= exact * 1.0201


def test_a_quantile_of_nothing_is_none():
    assert histograms.quantile({}, 0.5) is None
    assert histograms.quantile({3: 0}, 0.5) is None


@given(
    st.booleans(),
    st.sampled_from([0.0, 0.25, 0.35, 1.0, 1.5, 3.0]),
    st.sampled_from([1, 4]),
    st.none() | st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)),
    st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
def test_the_quick_way_says_of_an_equal_pair_what_the_other_says(correct, score, possible, took, told):
    """It is what nearly every pair is counted by."""
    echo, history, leased = told
    seconds = took or (None, None)
    row = PAIR._replace(
        legacy_correct=correct,
        target_correct=correct,
        legacy_score=score,
        target_score=score,
        legacy_seconds=seconds[0],
        target_seconds=seconds[1],
        points_possible=possible,
        echo=echo,
        history=history,
        leases=int(leased),
    )
    day = MOMENT.date()
    flags = buckets.equal_flags(echo=echo, history=history, leased=leased, timed=took is not None)
    place = row.course_id, row.queue_name
    assert buckets.equal_facts(*place, row.item_id, day, day, correct, flags) == facts_of(row)
    assert Counter(histograms.equal_bins(*place, day, correct, score, possible, *seconds)) == Counter(bins_of(row))


@given(st.booleans(), st.booleans(), st.booleans())
def test_the_quick_way_says_of_a_replaced_pair_what_the_other_says(echo, history, leased):
    nothing = dict.fromkeys(("correct", "score", "seconds"))
    row = PAIR._replace(
        **{f"{side}_{name}": value for side in ("legacy", "target") for name, value in nothing.items()},
        legacy_state="superseded",
        target_state="superseded",
        target_graded_at=None,
        graded_pair=False,
        superseded_at=MOMENT,
        echo=echo,
        history=history,
        leases=int(leased),
    )
    flags = buckets.replaced_flags(echo=echo, history=history, leased=leased)
    place = row.course_id, row.queue_name, row.item_id
    assert buckets.replaced_facts(*place, MOMENT.date(), flags) == facts_of(row)
    assert bins_of(row) == ()
