"""What a grader could tell apart, field by field; and that no value ever gets into the text."""

import json
import timeit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migration_shim.core.payload import parity
from tests.builders.core_rows import body, captured

FILES = {"a.py": "d1", "b.py": "d2"}


def changed(**fields):
    """The body with other fields; None takes one away."""
    content = json.loads(body()) | fields
    return json.dumps({key: value for key, value in content.items() if value is not ...})


def info(**fields):
    content = json.loads(json.loads(body())["student_info"]) | fields
    return changed(student_info=json.dumps({key: value for key, value in content.items() if value is not ...}))


EQUAL = {
    "the same text": body(),
    "other order of keys": json.dumps(dict(reversed(json.loads(body()).items()))),
    "other blanks": json.dumps(json.loads(body()), indent=1),
    "blanks in the payload": changed(grader_payload=' {"grader":   "ps1/grade.py"}\n'),
    "blanks in the info": changed(student_info=json.dumps(json.loads(json.loads(body())["student_info"]), indent=2)),
}


@pytest.mark.parametrize("text", EQUAL.values(), ids=EQUAL)
def test_equal_payloads(text):
    assert parity(body(), FILES, text, dict(reversed(FILES.items()))) == {}


DIFFERENT = {
    "answer": (changed(student_response="print(2)"), {"payload": "differs in student_response"}),
    "answer is a list": (changed(student_response=["print(1)"]), {"payload": "differs in student_response"}),
    "answer is not there": (changed(student_response=...), {"payload": "differs in student_response"}),
    "reduced payload": (
        changed(grader_payload='{"grader": "ps1/grade.py", "lang": "c"}'),
        {"payload": "differs in grader_payload.lang"},
    ),
    "other grader": (changed(grader_payload='{"grader": "x"}'), {"payload": "differs in grader_payload.grader"}),
    "payload is no object": (changed(grader_payload="[1]"), {"payload": "differs in grader_payload"}),
    "payload is no JSON": (changed(grader_payload="ps1"), {"payload": "differs in grader_payload"}),
    "payload is null": (changed(grader_payload=None), {"payload": "differs in grader_payload"}),
    "payload is not there": (changed(grader_payload=...), {"payload": "differs in grader_payload"}),
    "seed": (info(random_seed=7), {"payload": "differs in student_info.random_seed"}),
    "seed is text": (info(random_seed="1"), {"payload": "differs in student_info.random_seed"}),
    "seed is a float": (info(random_seed=1.0), {"payload": "differs in student_info.random_seed"}),
    "seed is true": (info(random_seed=True), {"payload": "differs in student_info.random_seed"}),
    "no seed": (info(random_seed=...), {"payload": "differs in student_info.random_seed"}),
    "submission time": (info(submission_time="1"), {"payload": "differs in student_info.submission_time"}),
    "learner": (info(anonymous_student_id="x"), {"identity": "differs in anonymous_student_id"}),
    "learner and seed": (
        info(anonymous_student_id="x", random_seed=7),
        {"payload": "differs in student_info.random_seed", "identity": "differs in anonymous_student_id"},
    ),
    "info is no JSON": (changed(student_info="x"), {"payload": "differs in student_info"}),
    "extra key": (changed(token="secret"), {"payload": "differs in token"}),
    "extra key of any name": (changed(**{"<b>é": 1}), {"payload": "differs in (another key)"}),
    "not JSON": ("<html>", {"payload": "differs in body"}),
    "no object": ("[]", {"payload": "differs in body"}),
    "nested too deep": ("[" * 100_000, {"payload": "differs in body"}),
}


@pytest.mark.parametrize(("text", "found"), DIFFERENT.values(), ids=DIFFERENT)
def test_different_payloads(text, found):
    assert parity(body(), FILES, text, FILES) == found
    assert parity(text, FILES, body(), FILES) == found


def test_many_fields_are_counted():
    text = changed(**{f"key{i}": i for i in range(9)})
    assert parity(body(), {}, text, {}) == {"payload": "differs in key0, key1, key2, key3, key4 and 4 more"}


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({"a.py": "d1"}, "files: 1 only on legacy"),
        (FILES | {"c.py": "d3", "d.py": "d3"}, "files: 2 only on target"),
        (FILES | {"a.py": "other"}, "files: 1 with other contents"),
        ({"a.py": "other", "c.py": "d2"}, "files: 1 only on legacy, 1 only on target, 1 with other contents"),
        ({"a.py": "d2", "b.py": "d1"}, "files: 2 with other contents"),
        ({}, "files: 2 only on legacy"),
    ],
)
def test_files(files, text):
    assert parity(body(), FILES, body(), files) == {"files": text}


def test_bodies_that_nobody_can_read_are_equal_as_texts():
    for text in ("<html>", "", "[" * 100_000):
        assert parity(text, {}, text, {}) == {}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | st.floats(0, 2) | st.text("SECRET", max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "grader_payload": VALUES.map(json.dumps) | VALUES,
        "student_info": VALUES.map(json.dumps) | VALUES,
        "student_response": VALUES,
        "x": VALUES,
    },
).map(json.dumps)


@settings(max_examples=150, deadline=None)
@given(BODIES | st.text(max_size=4), BODIES | st.text(max_size=4))
def test_any_two_bodies_are_compared_alike_both_ways_and_without_a_value(one, other):
    found = parity(one, {}, other, {})
    assert found == parity(other, {}, one, {})
    assert parity(one, {}, one, {}) == {}
    if one == other:
        assert found == {}
    elif not found:
        # Found equal though the texts differ: then every JSON in them is.
        assert json.loads(one).keys() == json.loads(other).keys()
    assert not any(letter in text for text in found.values() for letter in "SECRT")


def test_captured_bodies_written_again_are_equal_and_every_change_is_found():
    checked = 0
    for columns, _, names in captured():
        files = {name: name for name in names}
        try:
            content = json.loads(columns["xqueue_body"])
        except ValueError:
            continue
        if isinstance(content, dict):
            assert parity(columns["xqueue_body"], files, json.dumps(content), files) == {}
            for key in content:
                less = json.dumps({name: value for name, value in content.items() if name != key})
                assert parity(columns["xqueue_body"], files, less, files)
                checked += 1
    assert checked > 1000


def test_equal_texts_are_not_read():
    """A million payloads may go this way; reading one takes fifty times as long."""
    text = body("x" * 3000)
    copy = "".join(text)
    best = min(timeit.repeat(lambda: parity(text, {}, copy, {}), number=2000, repeat=5)) / 2000
    assert best < 3e-6
