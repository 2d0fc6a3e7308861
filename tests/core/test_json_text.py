"""One limit of depth and size for all JSON of other systems, at every place that reads any."""

import json

import pytest

from migration_shim.core import json_text, payload, scoring, wire
from migration_shim.core.json_text import DEPTH_LIMIT, SIZE_LIMIT, Unreadable
from migration_shim.data import ReplyKind
from migration_shim.errors import Malformed
from tests import rows


def nested(depth):
    """JSON text of so many arrays, one in the other."""
    return "[" * depth + "]" * depth


@pytest.mark.parametrize("text", [nested(DEPTH_LIMIT), '{"a": ' * DEPTH_LIMIT + "1" + "}" * DEPTH_LIMIT, '"[["'])
def test_what_is_not_too_deep_is_read(text):
    assert json_text.loads(text) == json.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        nested(DEPTH_LIMIT + 1),
        '{"a": ' * (DEPTH_LIMIT + 1) + "1" + "}" * (DEPTH_LIMIT + 1),
        '[1, {"a": ' + nested(DEPTH_LIMIT - 1) + "}]",
        nested(100_000),
        "[" * 100_000,
    ],
)
def test_what_is_too_deep_is_not(text):
    with pytest.raises(Unreadable) as error:
        json_text.loads(text)
    assert error.value.reason == "too_deep"


def test_brackets_in_a_text_are_no_depth():
    assert json_text.loads(json.dumps({"code": "[{" * 5000})) == {"code": "[{" * 5000}


def test_what_is_too_long_is_not_read():
    assert json_text.loads('"' + "a" * (SIZE_LIMIT - 2) + '"')
    with pytest.raises(Unreadable) as error:
        json_text.loads('"' + "a" * (SIZE_LIMIT - 1) + '"')
    assert error.value.reason == "too_long"


@pytest.mark.parametrize("text", ["", "{", "<html>", "1" * 5000, b"\xff"])
def test_what_is_no_json_is_a_value_error_as_ever(text):
    with pytest.raises(ValueError):
        json_text.loads(text)


def test_what_is_written_can_be_read_back_and_written_again_in_a_deep_stack():
    """A request of an LMS is some 150 frames deep, a test of one more; nothing may work in one and not in the other."""

    def below(frames, text):
        return below(frames - 1, text) if frames else json.dumps(json_text.loads(text), indent=1)

    assert json.loads(below(500, nested(DEPTH_LIMIT))) == json.loads(nested(DEPTH_LIMIT))


def body(**fields):
    """A body with these fields changed; as text."""
    return json.dumps(json.loads(rows.body(7, "x", "20260101000000")) | fields)


def test_a_submission_that_is_too_deep_or_too_long_is_malformed_and_says_why():
    deep = json.loads(nested(DEPTH_LIMIT))
    for text in (body(student_response=deep), body(token=deep), body(student_response=[deep])):
        with pytest.raises(Malformed, match="body_too_deep"):
            wire.parse_body(text)
    with pytest.raises(Malformed, match="student_info_too_deep"):
        wire.parse_body(body(student_info='{"a": ' + nested(DEPTH_LIMIT) + "}"))
    with pytest.raises(Malformed, match="header_too_deep"):
        wire.parse_header('{"a": ' + nested(400) + "}")
    with pytest.raises(Malformed, match="body_too_long"):
        wire.parse_body(body(student_response="a" * SIZE_LIMIT))
    assert wire.parse_body(body(student_response=json.loads(nested(DEPTH_LIMIT - 1)))).extra == {}


def test_a_payload_that_is_too_deep_names_no_grader_and_a_reply_raises():
    deep = nested(DEPTH_LIMIT)
    assert wire.grader_name(f'{{"grader": "g", "a": {deep}}}') == ""
    assert scoring.read_reply(f'{{"correct": true, "score": 1, "msg": "m", "a": {deep}}}').kind is ReplyKind.RAISES
    assert scoring.message_digest(f'{{"msg": "m", "a": {deep}}}') == ""
    assert payload.parity(f'{{"a": {deep}}}', {}, "{}", {}) != {}
