"""What the short path takes a text for, the rules take it for: whatever a grader or a learner has written."""

import json

from hypothesis import example, given, settings
from hypothesis import strategies as st

from migration_shim.core import plain_pair
from migration_shim.core.data import ReplyKind, ScoreStyle
from migration_shim.core.hosts import Hosts
from migration_shim.core.payload import parity
from migration_shim.core.scoring import read_reply

ODD = st.sampled_from(
    [
        "",
        "\0",
        "\x07",
        "\x0c",
        "\x7f",
        "\x85",
        "\u00a0",
        "\u200b",
        "\u2028",
        "\ud800",
        "\udfff",
        "\ufffe",
        "\uffff",
        "\U0001f4a9",
        "<?xml version='1.0' encoding='utf-8'?>",
        "<b>",
        '"',
        "\\",
        "a\r\nb\tc",
    ]
)
TEXTS = st.text(max_size=20) | ODD | st.tuples(ODD, st.text(max_size=5)).map("".join)
NUMBERS = (
    st.integers()
    | st.floats()
    | st.sampled_from([10**400, -(10**400), 2**63, 2**64, 1e308, 1e-320, -0.0, True, False, None])
)
VALUES = NUMBERS | TEXTS | st.lists(NUMBERS, max_size=2) | st.dictionaries(TEXTS, NUMBERS, max_size=2)
KEYS = st.sampled_from(["correct", "score", "msg", "student_response", "student_info", "grader_payload", "more"])


@st.composite
def objects(draw, keys):
    """An object as text: each key once or more, spaced and escaped in one of several ways."""
    ascii_only = draw(st.booleans())
    pairs = [(key, draw(VALUES)) for key in keys] + draw(st.lists(st.tuples(KEYS, VALUES), max_size=2))
    colon, comma = draw(st.sampled_from([(": ", ", "), (":", ","), (" : ", "\n,")]))
    parts = [f"{json.dumps(key)}{colon}{json.dumps(value, ensure_ascii=ascii_only)}" for key, value in pairs]
    return "{" + comma.join(draw(st.permutations(parts))) + "}"


REPLIES = objects(["correct", "score", "msg"]) | st.builds(
    lambda correct, score, message: json.dumps({"correct": correct, "score": score, "msg": message}),
    st.booleans(),
    NUMBERS,
    TEXTS,
)


def read(text):
    """What the short path reads of a reply; None where it leaves it to the rules."""
    try:
        return plain_pair._read(text)
    except (plain_pair.msgspec.DecodeError, UnicodeEncodeError):
        return None


@settings(max_examples=1500, deadline=None)
@given(REPLIES)
@example('{"correct": true, "score": 1, "score": 0, "msg": "m"}')
@example('{"correct": true, "score": 1, "msg": "m", "more": ' + "[" * 60 + "]" * 60 + "}")
@example('{"correct": true, "score": 1, "msg": "m", "more": NaN}')
@example('{"correct": true, "score": 1.0e3, "msg": "\\ud83d\\ude00"}')
@example('{"correct": true, "score": 1, "msg": "\\ud83d"}')
@example('\ufeff{"correct": true, "score": 1, "msg": "m"}')
@example('{"correct": true, "score": 1, "msg": "m"} ')
def test_a_reply_that_it_takes_is_the_rules_valid_one(text):
    found = read(text)
    if found is None:
        return
    reply = read_reply(text)
    assert reply.kind is ReplyKind.VALID
    assert (reply.correct, reply.score) == (found.correct, float(found.score))
    # What edx-submissions is asked about is the score as it was sent: 1 and 1.0 may be two things to it.
    assert (reply.sent, type(reply.sent)) == (found.score, type(found.score))


def test_a_common_reply_is_taken():
    """Else the property above proves nothing."""
    for score in (0, 1, 0.5, 1.0, 12):
        text = json.dumps({"correct": True, "score": score, "msg": "<p>Größe: 3 ✓</p>\n"})
        assert read(text).score == score
        assert read(json.dumps(json.loads(text), ensure_ascii=False)).score == score


def pair(**columns):
    """A pair of which only some columns count."""
    rest = dict.fromkeys(plain_pair.Pair._fields, None)
    return plain_pair.Pair(**(rest | columns))


@settings(max_examples=1500, deadline=None)
@given(
    st.booleans(),
    st.none() | TEXTS,
    TEXTS,
    VALUES,
    st.none() | objects(["student_response", "student_info"]),
    st.data(),
)
def test_a_body_that_it_takes_for_the_same_is_the_same_to_the_rules(ordered, payload, info, answer, body, data):
    if body is None:
        parts = {"grader_payload": payload, "student_info": info, "student_response": answer}
        keys = list(parts) if ordered else data.draw(st.permutations(list(parts)))
        spaced = data.draw(st.sampled_from([(", ", ": "), (",", ":")]))
        body = json.dumps({key: parts[key] for key in keys}, separators=spaced, ensure_ascii=data.draw(st.booleans()))
    one = pair(body=body, grader_payload=payload, student_info=info, answer=json.dumps(answer))
    try:
        same = plain_pair._same_body(one)
    except (plain_pair.msgspec.DecodeError, UnicodeEncodeError):
        return
    if same:
        made = json.dumps({"grader_payload": payload, "student_info": info, "student_response": answer})
        assert parity(body, {}, made, {}) == {}


ANSWERS = st.sampled_from(
    ["", "x", '"a', '"a", "more": 1', '1, "student_info": "{}"', "[1", '"\n"', "1 2", "NaN", '"\\ud83d"']
)


@given(st.booleans(), ANSWERS | TEXTS | VALUES.map(json.dumps))
def test_an_answer_that_is_no_json_is_the_same_as_none(ordered, answer):
    """Of a target row that somebody has written: the rules read it, and two equal texts would tell them nothing."""
    keys = ("grader_payload", "student_info") if ordered else ("student_info", "grader_payload")
    body = f'{{"{keys[0]}": "p", "{keys[1]}": "p", "student_response": {answer}}}'
    try:
        same = plain_pair._same_body(pair(body=body, grader_payload="p", student_info="p", answer=answer))
    except (plain_pair.msgspec.DecodeError, UnicodeEncodeError):
        return
    if same:
        made = json.dumps({"grader_payload": "p", "student_info": "p", "student_response": json.loads(answer)})
        assert parity(body, {}, made, {}) == {}


def test_a_body_that_nests_too_deep_for_the_parser_is_left_to_the_rules():
    """Somebody has edited it: one such row must not end the run for all others."""
    columns = {"grader_payload": None, "student_info": "{}", "answer": '"x"', "lease_key": "k", "is_timed": False}
    place = {"learner": "a" * 32, "student_id": f"shadow:{'a' * 32}", "item_id": "p", "target_item_id": "shadow:p"}
    reply = '{"correct": true, "score": 1, "msg": "m"}'
    queues = {"queue_name": "q", "target_queue_name": "q-shadow", "target_queue_key": "shadow:1"}
    header = '{"lms_callback_url": "https://x/", "lms_key": "k", "queue_name": "q"}'
    same = {"raw_header": header, "header": header, "reply": reply, "target_reply": reply}
    points = {"points_possible": 1, "points_earned": 1}
    for answer, taken in (('"x"', True), ("[" * 100_000 + "]" * 100_000, False)):
        body = f'{{"student_response": {answer}, "student_info": "{{}}", "grader_payload": null}}'
        one = pair(body=body, **columns, **place, **queues, **same, **points)
        found = plain_pair.equal(one, Hosts(), ScoreStyle.UNKNOWN, 0, lambda score, possible: 1)
        assert (found is not None) is taken


def test_a_common_body_is_the_same_in_either_order_and_spacing():
    parts = {"grader_payload": '{"grader": "a.py"}', "student_info": '{"a": "é"}', "student_response": 'x = "é"'}
    for keys in (list(parts), list(parts)[::-1], ["student_info", "grader_payload", "student_response"]):
        for separators in ((", ", ": "), (",", ":")):
            body = json.dumps({key: parts[key] for key in keys}, separators=separators)
            columns = {"grader_payload": parts["grader_payload"], "student_info": parts["student_info"]}
            assert plain_pair._same_body(pair(body=body, answer=json.dumps(parts["student_response"]), **columns))
