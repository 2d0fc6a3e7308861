"""Replies as CAPA reads them. Each row of the table was also given to CAPA's own _parse_score_msg: the same result."""

import itertools
import json
import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migration_shim.core.data import DivergenceClass, Points, Reply, ReplyKind, ScoreStyle
from migration_shim.core.scoring import (
    judge_points,
    read_reply,
    same_score,
    scaled,
    style_of,
    style_sign,
)

VALID, INVALID, RAISES = ReplyKind.VALID, ReplyKind.INVALID, ReplyKind.RAISES
DEEP = "[" * 100_000


def reply(correct=True, score=1, msg="<p>ok</p>"):
    return json.dumps({"correct": correct, "score": score, "msg": msg})


def without(tag):
    content = json.loads(reply())
    del content[tag]
    return json.dumps(content)


REPLIES = {
    "whole": (reply(), (VALID, True, 1.0)),
    "fraction": (reply(score=0.25), (VALID, True, 0.25)),
    "points are not capped": (reply(score=7), (VALID, True, 7.0)),
    "below 0": (reply(score=-1), (VALID, True, 0.0)),
    "true as score": (reply(score=True), (VALID, True, 1.0)),
    "false as score": (reply(correct=False, score=False), (VALID, False, 0.0)),
    "infinite": (reply(score=math.inf), (VALID, True, math.inf)),
    "minus infinite": (reply(score=-math.inf), (VALID, True, 0.0)),
    "no number": (reply(score=math.nan), (VALID, True, math.nan)),
    "more than a float holds": (reply(score=10**400), (VALID, True, math.inf)),
    "less than a float holds": (reply(score=-(10**400)), (VALID, True, 0.0)),
    "correct is text": (reply(correct="false"), (VALID, True, 1.0)),
    "correct is empty text": (reply(correct=""), (VALID, False, 1.0)),
    "correct is null": (reply(correct=None), (VALID, False, 1.0)),
    "correct is 0": (reply(correct=0), (VALID, False, 1.0)),
    "correct is a list": (reply(correct=[0]), (VALID, True, 1.0)),
    "score against correct": (reply(correct=False, score=1), (VALID, False, 1.0)),
    "extra keys": (json.dumps(json.loads(reply()) | {"more": 1}), (VALID, True, 1.0)),
    "plain message": (reply(msg="well done"), (VALID, True, 1.0)),
    "blank message": (reply(msg=" "), (VALID, True, 1.0)),
    "open markup": (reply(msg="<p>ok"), (VALID, True, 1.0)),
    "form feed in the message": (reply(msg="a\x0cb"), (VALID, True, 1.0)),
    "NUL in the message": (reply(msg="<p>a\x00b</p>"), (VALID, True, 1.0)),
    "other script": (reply(msg="é 日本 😀"), (VALID, True, 1.0)),
    "XML declaration": (reply(msg='<?xml version="1.0"?><a/>'), (VALID, True, 1.0)),
    "not JSON": ("<html>502</html>", (INVALID, None, None)),
    "empty": ("", (INVALID, None, None)),
    "list": ("[]", (INVALID, None, None)),
    "text": ('"a"', (INVALID, None, None)),
    "null": ("null", (INVALID, None, None)),
    "no correct": (without("correct"), (INVALID, None, None)),
    "no score": (without("score"), (INVALID, None, None)),
    "no message": (without("msg"), (INVALID, None, None)),
    "more digits than Python reads": (reply().replace("1", "1" * 5000), (INVALID, None, None)),
    "empty message": (reply(msg=""), (INVALID, None, None)),
    "message of NULs": (reply(msg="\x00\x00"), (INVALID, None, None)),
    "control character": (reply(msg="a\x01"), (INVALID, None, None)),
    "vertical tab": (reply(msg="a\x0bb"), (INVALID, None, None)),
    "escape": (reply(msg="\x1b[1m"), (INVALID, None, None)),
    "half a surrogate pair": (reply(msg="<p>\ud800</p>"), (INVALID, None, None)),
    "not a character": (reply(msg="a\uffff"), (INVALID, None, None)),
    "empty message and no score": (reply(score=None, msg=""), (INVALID, None, None)),
    "score is null": (reply(score=None), (RAISES, None, None)),
    "score is text": (reply(score="1"), (RAISES, None, None)),
    "score is a list": (reply(score=[1]), (RAISES, None, None)),
    "score is an object": (reply(score={}), (RAISES, None, None)),
    "message is null": (reply(msg=None), (RAISES, None, None)),
    "message is a number": (reply(msg=1), (RAISES, None, None)),
    "message is a list": (reply(msg=[]), (RAISES, None, None)),
    "message declares an encoding": (reply(msg='<?xml version="1.0" encoding="utf-8"?><a/>'), (RAISES, None, None)),
    "nested too deep": (DEEP, (RAISES, None, None)),
}


@pytest.mark.parametrize(("text", "expected"), REPLIES.values(), ids=REPLIES)
def test_reply(text, expected):
    kind, correct, score = expected
    found = read_reply(text)
    assert (found.kind, found.correct) == (kind, correct)
    assert found.score == score or (math.isnan(found.score) and math.isnan(score))


VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.lists(st.integers(), max_size=2)
)
REPLY_TEXT = st.text() | VALUES.map(json.dumps) | st.builds(reply, VALUES, VALUES, VALUES | st.text())


@settings(max_examples=300, deadline=None)
@given(REPLY_TEXT)
def test_any_reply_is_read(text):
    found = read_reply(text)
    if found.kind is VALID:
        assert isinstance(found.correct, bool)
        assert math.isnan(found.score) or found.score >= 0
    else:
        assert found == Reply(kind=found.kind)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (0.5, 0.5, True),
        (0.0, -0.0, True),
        (0.1 + 0.2, 0.3, True),
        (1e9, 1e9 + 0.1, True),
        (1.0, 1.001, False),
        (0.0, 1e-6, False),
        (0.0, 1e-13, True),
        (math.inf, math.inf, True),
        (math.inf, 1e308, False),
        (math.nan, math.nan, True),
        (math.nan, 0.0, False),
        (None, None, True),
        (None, 0.0, False),
        (math.nan, None, False),
    ],
)
def test_same_score(one, other, same):
    assert same_score(one, other) is same
    assert same_score(other, one) is same


@pytest.mark.parametrize("score", [1, 1.0, True, -2, 0.5])
def test_the_score_is_kept_as_it_was_sent(score):
    found = read_reply(reply(score=score))
    assert found.sent == score and type(found.sent) is type(score)


def test_how_a_score_was_sent_is_no_difference():
    assert read_reply(reply(score=True)) == read_reply(reply(score=1.0))


# --- the style of a queue ---------------------------------------------------------------------------------------------

RATIO, ABSOLUTE, UNKNOWN = ScoreStyle.RATIO, ScoreStyle.ABSOLUTE, ScoreStyle.UNKNOWN


@pytest.mark.parametrize(
    ("scores", "style"),
    [
        ([], UNKNOWN),
        ([(0.0, 10), (0.0, 1)], UNKNOWN),
        ([(0.5, 1), (1.0, 1), (7.0, 1)], UNKNOWN),  # one point: both styles say the same
        ([(0.5, 10)], RATIO),
        ([(1.0, 10), (0.0, 10)], RATIO),  # full marks, unless something speaks for points
        ([(7.0, 10)], ABSOLUTE),
        ([(1.0, 10), (7.0, 10)], ABSOLUTE),
        ([(0.5, 10), (7.0, 10), (8.0, 10)], ABSOLUTE),  # points with a half one among them
        ([(0.5, 10), (0.7, 10), (7.0, 10)], RATIO),
        ([(0.5, 10), (7.0, 10)], UNKNOWN),
        ([(0.5, 10), (7.0, 10), (1.0, 10)], UNKNOWN),
        ([(11.0, 10), (math.inf, 10), (math.nan, 10)], UNKNOWN),
        ([(10.0, 10)], ABSOLUTE),
    ],
)
def test_style(scores, style):
    orders = itertools.islice(itertools.permutations(scores), 6)
    assert {style_of(Counter(style_sign(*one) for one in order)) for order in orders} == {style}


# --- stored points ----------------------------------------------------------------------------------------------------

FINE, ROUNDED = (None, ""), (None, "rounding")
SCALE, RANGE = DivergenceClass.SCALE, DivergenceClass.OUT_OF_RANGE


def judged(score, stored, possible, style=UNKNOWN, predicted=...):
    points = Points(stored=stored, possible=possible, predicted=stored if predicted is ... else predicted)
    return judge_points(read_reply(reply(score=score)), points, style)


@pytest.mark.parametrize(
    ("score", "stored", "possible", "style", "expected"),
    [
        # As 4.0.2 stores: the share of the points, rounded.
        (1, 1, 1, UNKNOWN, FINE),
        (0, 0, 1, UNKNOWN, FINE),
        (0.5, 0, 1, UNKNOWN, ROUNDED),
        (0.51, 1, 1, UNKNOWN, ROUNDED),
        (0.5, 5, 10, UNKNOWN, FINE),
        (0.25, 2, 10, RATIO, ROUNDED),
        (0.29, 29, 100, RATIO, FINE),  # 0.29 * 100 is not 29 in floats
        (1, 10, 10, RATIO, FINE),
        (-0.02, 0, 10, RATIO, FINE),
        (7, 70, 10, ABSOLUTE, SCALE),
        (7, 70, 10, UNKNOWN, SCALE),
        (7, 70, 10, RATIO, SCALE),
        (0.5, 5, 10, ABSOLUTE, SCALE),
        (1, 10, 10, ABSOLUTE, SCALE),
        (5, 20, 4, UNKNOWN, RANGE),
        (5, 20, 4, ABSOLUTE, RANGE),
        (1.5, 2, 1, RATIO, RANGE),
        # As 4.0.1 stores: the score as it comes.
        (7, 7, 10, ABSOLUTE, FINE),
        (7, 7, 10, UNKNOWN, FINE),
        (1, 1, 10, RATIO, SCALE),
        (7, 7, 1, UNKNOWN, RANGE),
        # No points to be had.
        (1, 0, 0, UNKNOWN, FINE),
        (0, 0, 0, ABSOLUTE, FINE),
    ],
)
def test_stored_points(score, stored, possible, style, expected):
    found = judged(score, stored, possible, style)
    assert found == expected if isinstance(expected, tuple) else found[0] is expected


@pytest.mark.parametrize(("stored", "predicted"), [(1, 0), (0, None), (10, 1)])
def test_what_the_rule_does_not_give_is_a_surprise(stored, predicted):
    """Even where it is worth the same to the learner."""
    assert judged(1, stored, 10, RATIO, predicted)[0] is DivergenceClass.STORED_POINTS


def test_a_graded_row_without_a_score_has_lost_it():
    assert judged(1, None, 1)[0] is DivergenceClass.LOST
    assert judged(1, None, 1, predicted=1)[0] is DivergenceClass.LOST


def test_an_invalid_reply_has_no_worth_but_what_the_rule_gives():
    """CAPA wipes the learner's result on both sides; edx-submissions stores the score that it finds."""
    points = Points(stored=1, possible=1, predicted=1)
    assert judge_points(read_reply('{"score": 1}'), points, RATIO) == FINE


@settings(max_examples=200, deadline=None)
@given(st.floats(0, 1), st.integers(1, 50))
def test_a_share_stored_by_rounding_is_never_a_divergence(score, possible):
    """4.0.2's rule, with the rounding that Python has."""
    assert judged(score, round(score * possible), possible, RATIO)[0] is None


@pytest.mark.parametrize(
    ("one", "other", "possible", "same"),
    [(0.7, 7, 10, True), (7, 0.7, 10, True), (0.7, 0.7, 10, False), (1, 1, 1, False), (0.5, 7, 10, False)],
)
def test_scaled(one, other, possible, same):
    assert scaled(one, other, possible) is same
