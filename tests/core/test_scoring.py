"""Replies as CAPA reads them. Each row of the table was also given to CAPA's own _parse_score_msg: the same result."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migration_shim.core.scoring import read_reply, same_score
from migration_shim.data import Reply, ReplyKind

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
