"""One limit of depth and size for all JSON of other systems, at every place that reads any."""

import json

import msgspec
import pytest
from django.utils.safestring import SafeString
from hypothesis import given, settings
from hypothesis import strategies as st

from migration_shim.core import json_text, payload, scoring, wire
from migration_shim.core.data import ReplyKind
from migration_shim.core.errors import Malformed
from migration_shim.core.json_text import DEPTH_LIMIT, SIZE_LIMIT, Unreadable
from tests.builders import rows


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


#: Words, numbers and texts that parsers of JSON disagree about, and what makes a text of them.
WORDS = [
    *("NaN", "Infinity", "-Infinity", "nan", "null", "nul", "true", "True", "1e400", "-1e400", "1e-400", "5e-324"),
    *("-0", "-0.0", "0e5", "01", "+1", "1.", ".5", "1E5", "1e0005", "2.2250738585072011e-308", "0.30000000000000004"),
    *("18446744073709551616", "-9223372036854775809", "9" * 400, "9" * 5000, "1." + "0" * 400, "1e23"),
    *('"\\ud800"', '"\\udc00\\ud800"', '"\\ud83d\\ude00"', '"\\u0000"', '"\\x"', '"\\u12"', '"\\/"', '"a'),
    *(
        '"\x00"',
        '"\n"',
        '"\t"',
        '"\x1f"',
        '"\x7f"',
        '"\ud800"',
        '"\U0001f600"',
        '"\u2028"',
        "'a'",
        "//",
        "\ufeff",
        "\xa0",
    ),
    *("[", "]", "{", "}", ",", ":", " ", "\n", "\x0b", '{"a":1,"a":2}', '{"b":1,"a":1,"b":3}', "{1:2}", "[1,]", "[[[["),
]
NUMBERS = st.integers().map(str) | st.floats().map(json.dumps) | st.decimals(allow_nan=False).map(str)
VALUES = st.recursive(
    NUMBERS | st.sampled_from(WORDS) | st.text(st.characters(exclude_categories=())).map(json.dumps),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda parts: f"[{', '.join(parts)}]")
        | st.lists(st.tuples(st.sampled_from("aab"), inner), max_size=3).map(
            lambda pairs: "{" + ",".join(f'"{key}":{value}' for key, value in pairs) + "}"
        )
    ),
    max_leaves=6,
)
TEXTS = VALUES | st.lists(st.sampled_from(WORDS), max_size=5).map("".join) | st.text()


def outcome(read, text):
    """What a reader makes of a text, to the last bit and in order; its refusals are all one."""
    try:
        return repr(read(text))  # tells 1, 1.0, True, -0.0 and NaN apart, and the order of keys
    except (ValueError, RecursionError):
        return "refused"


@settings(max_examples=1500, deadline=None)
@given(TEXTS)
def test_no_value_depends_on_which_parser_has_read_it(text):
    assert outcome(json_text.loads, text) == outcome(json.loads, text)


@pytest.mark.parametrize("text", [*WORDS, *(f'{{"a": [{word}, 1]}}' for word in WORDS)])
def test_what_parsers_disagree_about_is_read_as_python_reads_it(text):
    assert outcome(json_text.loads, text) == outcome(json.loads, text)


def test_what_the_fast_parser_refuses_is_still_read_where_python_reads_it():
    for text in ("NaN", '"\\ud800"', "1e400"):
        with pytest.raises(msgspec.MsgspecError):
            json_text._fast(text)
        assert outcome(json_text.loads, text) != "refused"


def test_a_text_of_a_class_of_its_own_is_a_text():
    """As Django's and lxml's are: a submission that came as one would be passed to legacy, whatever the phase."""
    assert json_text.loads(SafeString('{"a": "é"}')) == {"a": "é"}
    assert wire.parse_header(SafeString(rows.header(7, "a" * 32, "k"))).lms_key == "k"


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
    assert payload.parity(f'{{"a": {deep}}}', {}, "{}", {}) != {}
