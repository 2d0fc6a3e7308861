"""Header, callback and body: what is read out of them, and that nothing else than Malformed ever comes out."""

import json
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from migration_shim.core.errors import Malformed
from migration_shim.core.wire import (
    _PLAIN_URL,
    grader_name,
    is_sink,
    parse_body,
    parse_callback,
    parse_envelope,
    parse_header,
    unquote_slashes,
    url_of_header,
)
from tests.builders import core_rows as rows
from tests.builders.core_rows import BLOCK, COURSE, LEARNER, SINK, USAGE, callback_url

OLD = "i4x://ExU/PY1/problem/ab"
DEEP = "[" * 100_000


def reason(parse, *texts):
    with pytest.raises(Malformed) as caught:
        parse(*texts)
    return caught.value.reason


# --- header -----------------------------------------------------------------------------------------------------------


def test_header():
    found = parse_header(rows.header(url="https://c/x", key="k", queue="q"))
    assert (found.callback_url, found.lms_key, found.queue_name, found.extra) == ("https://c/x", "k", "q", False)


def test_header_with_extra_keys():
    assert parse_header(rows.header(course_id="x")).extra


def test_header_as_long_as_the_column_holds():
    fits = rows.header(key="") + " " * (1024 - len(rows.header(key="")))
    assert parse_header(fits).lms_key == ""
    assert reason(parse_header, fits + " ") == "header_too_long"


HEADERS = {
    "": "header_not_json",
    "no": "header_not_json",
    "{": "header_not_json",
    "[" * 500 + "]" * 500: "header_too_deep",
    "[]": "header_not_object",
    "null": "header_not_object",
    '"a"': "header_not_object",
    "NaN": "header_not_object",
    "{}": "header_incomplete",
    '{"lms_callback_url": "a", "lms_key": "b"}': "header_incomplete",
    '{"lms_callback_url": "a", "queue_name": "b"}': "header_incomplete",
    '{"lms_key": "a", "queue_name": "b"}': "header_incomplete",
    '{"lms_callback_url": null, "lms_key": "a", "queue_name": "b"}': "header_not_text",
    '{"lms_callback_url": "a", "lms_key": 1, "queue_name": "b"}': "header_not_text",
    '{"lms_callback_url": "a", "lms_key": "k", "queue_name": ["b"]}': "header_not_text",
    '{"lms_callback_url": "a", "lms_key": "\\ud800", "queue_name": "b"}': "header_half_surrogate",
    '{"lms_callback_url": "a", "lms_key": "k", "queue_name": "\\udfff"}': "header_half_surrogate",
}


@pytest.mark.parametrize(("text", "expected"), HEADERS.items(), ids=range(len(HEADERS)))
def test_unusable_header(text, expected):
    assert reason(parse_header, text) == expected


# --- callback ---------------------------------------------------------------------------------------------------------

CCX = "ccx-v1:ExU+PY1+2026+ccx@7"
CCX_ITEM = "ccx-block-v1:ExU+PY1+2026+ccx@7+type@problem+block@ab"
CALLBACKS = {
    "new keys": (callback_url(), COURSE, USAGE, BLOCK),
    "plain http": (callback_url(root="http://lms:8000"), COURSE, USAGE, BLOCK),
    "path before /courses/": (callback_url(root="https://x.example.edu/lms/a"), COURSE, USAGE, BLOCK),
    "old course and problem, slashes": (
        callback_url("ExU/PY1/2013", OLD),
        "ExU/PY1/2013",
        OLD,
        "i4x-ExU-PY1-problem-ab",
    ),
    "old problem, quoted slashes": (
        callback_url("ExU/PY1/2013", "i4x:;_;_ExU;_PY1;_problem;_ab"),
        "ExU/PY1/2013",
        OLD,
        "i4x-ExU-PY1-problem-ab",
    ),
    "old problem in a new course": (callback_url(COURSE, OLD), COURSE, OLD, "ab"),
    "url-encoded": (
        callback_url("course-v1%3AExU%2BPY1%2B2026", USAGE.replace(":", "%3A").replace("+", "%2B").replace("@", "%40")),
        COURSE,
        USAGE,
        BLOCK,
    ),
    "url-encoded slashes": (callback_url("ExU%2FPY1%2F2013", OLD.replace("/", "%2F")), "ExU/PY1/2013", OLD, None),
    "query and fragment": (callback_url() + "?a=/courses/x#b", COURSE, USAGE, BLOCK),
    "custom course": (callback_url(CCX, CCX_ITEM), CCX, CCX_ITEM, "ab"),
    "other script": (
        callback_url("course-v1:ÉxU+ñ+1", "block-v1:ÉxU+ñ+1+type@problem+block@ü"),
        "course-v1:ÉxU+ñ+1",
        "block-v1:ÉxU+ñ+1+type@problem+block@ü",
        "ü",
    ),
}


@pytest.mark.parametrize(("url", "course", "item", "html_id"), CALLBACKS.values(), ids=CALLBACKS)
def test_callback(url, course, item, html_id):
    if "ccx" in url:
        pytest.importorskip("ccx_keys", reason="keys of custom courses come with edx-ccx-keys, which every LMS has")
    found = parse_callback(url)
    assert (found.course_id, found.item_id, found.item_type) == (course, item, "problem")
    assert (found.user_id, found.dispatch) == ("21493", "score_update")
    assert html_id in (found.html_id, None)


def test_callback_of_another_dispatch_and_block_type():
    item = USAGE.replace("@problem", "@drag")
    found = parse_callback(callback_url(item=item, dispatch="ungraded_response"))
    assert (found.dispatch, found.item_type) == ("ungraded_response", "drag")


def filled(length):
    """A usage key of that many characters."""
    start = USAGE.removesuffix(BLOCK)
    return start + "b" * (length - len(start))


def test_callback_with_keys_as_long_as_the_columns_hold():
    assert parse_callback(callback_url(item=filled(255))).item_id == filled(255)
    assert reason(parse_callback, callback_url(item=filled(256))) == "callback_too_long"


def test_course_longer_than_its_column():
    course = f"course-v1:ExU+PY1+{'r' * 300}"
    assert reason(parse_callback, callback_url(course, OLD)) == "callback_too_long"


ASIDE = f"aside-usage-v1:{USAGE}::aside"
BAD_CALLBACKS = {
    "empty": ("", "callback_no_scheme"),
    "no scheme": (callback_url(root="courses.example.edu"), "callback_no_scheme"),
    "path only": (callback_url(root=""), "callback_no_scheme"),
    "no host": (callback_url(root="https://"), "callback_no_scheme"),
    "other scheme": (callback_url(root="ftp://c"), "callback_no_scheme"),
    "unfinished IPv6 host": (callback_url(root="https://[::1"), "callback_not_a_url"),
    "not an IPv6 host": (callback_url(root="https://[courses]"), "callback_not_a_url"),
    "other service": ("https://hooks.example.edu/ok", "callback_no_course"),
    "empty course": (callback_url(""), "callback_no_course"),
    "no learner": (callback_url(user=""), "callback_no_course"),
    "learner is no number": (callback_url(user="x"), "callback_no_course"),
    "learner in other digits": (callback_url(user="١٢"), "callback_no_course"),
    "learner over 64 bit": (callback_url(user="1" * 20), "callback_no_course"),
    "no problem": (callback_url(item=""), "callback_no_course"),
    "no dispatch": (callback_url(dispatch=""), "callback_no_course"),
    "path after the dispatch": (callback_url() + "/x9", "callback_no_course"),
    "line break at the end": (callback_url() + "%0A", "callback_no_course"),
    "blank course": (callback_url("%20"), "callback_bad_course"),
    "not a course": (callback_url("ExU+PY1"), "callback_bad_course"),
    "library of version 2": (callback_url("lib:ExU:lib"), "callback_bad_course"),
    "not a problem": (callback_url(item="nonsense"), "callback_bad_item"),
    "asset": (callback_url(item="c4x:;_;_ExU;_PY1;_asset;_ab"), "callback_bad_item"),
    "aside": (callback_url(item=ASIDE), "callback_bad_item"),
    "aside of version 2": (callback_url(item=ASIDE.replace("v1", "v2", 1)), "callback_bad_item"),
    "block of a library": (callback_url(item="lb:ExU:lib:problem:ab"), "callback_bad_item"),
    "block of an old library": (callback_url(item="lib-block-v1:ExU+lib+type@problem+block@ab"), "callback_bad_item"),
    "aside in a library": (callback_url(item="aside-usage-v1:lb:ExU:lib:problem:ab::x"), "callback_bad_item"),
    "problem of another course": (callback_url("course-v1:ExU+PY1+2027"), "callback_item_of_other_course"),
    "course in other letters": (callback_url("course-v1:exu+PY1+2026"), "callback_item_of_other_course"),
}


@pytest.mark.parametrize(("url", "expected"), BAD_CALLBACKS.values(), ids=BAD_CALLBACKS)
def test_unusable_callback(url, expected):
    assert reason(parse_callback, url) == expected


@pytest.mark.parametrize(
    ("quoted", "plain"),
    [("a;_b", "a/b"), ("a;;b", "a;b"), ("a;;_b", "a;_b"), ("a;_;_b", "a//b"), ("a;b;", "a;b;"), ("", "")],
)
def test_unquote_slashes(quoted, plain):
    assert unquote_slashes(quoted) == plain


# --- body -------------------------------------------------------------------------------------------------------------


def info(**content):
    return json.dumps({"anonymous_student_id": LEARNER} | content)


def test_body():
    found = parse_body(rows.body("x = 'é'", token="t", endpoint_version="2"))
    assert (found.student_response, found.anonymous_student_id) == ("x = 'é'", LEARNER)
    assert (found.submission_time, found.random_seed) == ("20261122120000", 1)
    assert found.grader_payload == '{"grader": "ps1/grade.py"}'
    assert json.loads(found.student_info)["random_seed"] == 1
    assert found.extra == {"token": "t", "endpoint_version": "2"}


@pytest.mark.parametrize("answer", ["", None, False, 0, [], {"a": [1]}, "\x00", "\ud800"])
def test_answer_is_taken_as_it_is(answer):
    assert parse_body(rows.body(answer)).student_response == answer


@pytest.mark.parametrize("payload", [None, "", " {}\n", "not json"])
def test_payload_is_kept_raw(payload):
    assert parse_body(rows.body(grader_payload=payload)).grader_payload == payload


def test_body_without_payload_seed_and_time():
    found = parse_body(json.dumps({"student_info": info(), "student_response": ""}))
    assert (found.grader_payload, found.random_seed, found.submission_time) == (None, None, "")


def test_submission_time_that_is_no_text_reads_as_none():
    assert parse_body(rows.body(time=20261122)).submission_time == ""


BODIES = {
    "not json": ("no", "body_not_json"),
    "empty": ("", "body_not_json"),
    "deep": (DEEP, "body_too_deep"),
    "list": ("[]", "body_not_object"),
    "text": ('"a"', "body_not_object"),
    "no student_info": ('{"student_response": "a"}', "no_student_info"),
    "student_info is an object": ('{"student_info": {}, "student_response": "a"}', "no_student_info"),
    "student_info is a list": (rows.body(student_info="[]"), "no_student_info"),
    "student_info is not json": (rows.body(student_info="{"), "student_info_not_json"),
    "student_info is empty": (rows.body(student_info=""), "student_info_not_json"),
    "student_info is deep": (rows.body(student_info=DEEP), "student_info_too_deep"),
    "no learner": (rows.body(student_info="{}"), "no_anonymous_id"),
    "learner is empty": (rows.body(learner=""), "no_anonymous_id"),
    "learner is a number": (rows.body(learner=1), "no_anonymous_id"),
    "learner is long": (rows.body(learner="a" * 129), "no_anonymous_id"),
    "no answer": (json.dumps({"student_info": info()}), "no_answer"),
    "payload is an object": (rows.body(grader_payload={}), "payload_not_text"),
    "payload is false": (rows.body(grader_payload=False), "payload_not_text"),
    "payload with half a surrogate pair": (rows.body(grader_payload="\ud800"), "body_half_surrogate"),
    "learner with half a surrogate pair": (rows.body(learner="\udfff"), "body_half_surrogate"),
}


@pytest.mark.parametrize(("text", "expected"), BODIES.values(), ids=BODIES)
def test_unusable_body(text, expected):
    assert reason(parse_body, text) == expected


def test_learner_as_long_as_the_column_holds():
    assert parse_body(rows.body(learner="a" * 128)).anonymous_student_id == "a" * 128


# --- envelope and the rest --------------------------------------------------------------------------------------------


def test_envelope_keeps_the_raw_texts():
    header, body = rows.header(), rows.body()
    found = parse_envelope(header, body)
    assert (found.raw_header, found.raw_body) == (header, body)
    assert (found.callback, found.body) == (parse_callback(callback_url()), parse_body(body))


def test_header_is_read_first_then_callback_then_body():
    assert reason(parse_envelope, "no", "no") == "header_not_json"
    assert reason(parse_envelope, rows.header(url=""), "no") == "callback_no_scheme"
    assert reason(parse_envelope, rows.header(), "no") == "body_not_json"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (SINK, True),
        (SINK.replace("/migration_shim", "/lms/other_prefix"), True),
        (SINK.replace("/migration_shim", ""), True),
        (SINK.removesuffix("/"), False),
        (SINK + "x", False),
        (SINK + "\n", False),
        (SINK.replace("0f/", "0g/"), False),
        (SINK.replace("0f/", "f/"), False),
        (SINK.replace("0f/", "00f/"), False),
        (callback_url(), False),
        ("https://courses.example.edu/migration_shim/xqueue/", False),
        (callback_url() + f"?next={SINK}&a", False),
        ("", False),
    ],
)
def test_is_sink(url, expected):
    assert is_sink(url) is expected


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ('{"grader": "a/b.py", "lang": "en"}', "a/b.py"),
        ('{"grader": ""}', ""),
        ('{"grader": null}', ""),
        ('{"grader": 1}', ""),
        ('{"project": "p"}', ""),
        ("[]", ""),
        ("null", ""),
        ("not json", ""),
        ("", ""),
        (None, ""),
        (DEEP, ""),
        ('{"grader": "a\\ud800"}', ""),
    ],
    ids=range(12),
)
def test_grader_name(payload, expected):
    assert grader_name(payload) == expected


# --- anything at all --------------------------------------------------------------------------------------------------

#: All codes, each written by hand: a code made out of the input could not be one of these.
REASONS = (
    frozenset(HEADERS.values())
    | {expected for _, expected in (*BAD_CALLBACKS.values(), *BODIES.values())}
    | {"callback_too_long", "header_too_long"}
)

TEXT = st.text(st.characters(exclude_categories=()), max_size=60)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)
MOSTLY_JSON = TEXT | JSON.map(json.dumps)
KEYS = (COURSE, USAGE, OLD, ASIDE, CCX, CCX_ITEM, "lb:a:b:c:d", "library-v1:a+b", "lib-block-v1:a+b+type@c+block@d")
CRUMBS = ("a/b/c", "", "%", "%2F", "%00", ";_", "@", "+", "::", "def-v1:", "c4x://a/b/c/d", "1", "\ud800", "\x00")
PIECES = st.sampled_from(KEYS + CRUMBS)
PART = st.lists(PIECES | TEXT, min_size=1, max_size=3).map("".join)
ROOT = st.sampled_from(["https://h", "http://[::1]", "http://[", "//h", "", "https://h:x", "https://h/courses/"]) | TEXT
URL = st.builds(callback_url, PART, PART, PART | st.just("7"), PART | st.just("score_update"), ROOT) | TEXT
HEADER = MOSTLY_JSON | st.fixed_dictionaries(
    {"lms_callback_url": URL | JSON, "lms_key": TEXT | JSON, "queue_name": TEXT | JSON}, optional={"more": JSON}
).map(json.dumps)
INFO = MOSTLY_JSON | st.fixed_dictionaries(
    {"anonymous_student_id": TEXT | JSON}, optional={"submission_time": TEXT | JSON, "random_seed": JSON}
).map(json.dumps)
BODY = MOSTLY_JSON | st.fixed_dictionaries(
    {"student_info": INFO | JSON}, optional={"student_response": JSON, "grader_payload": TEXT | JSON, "more": JSON}
).map(json.dumps)
TOTAL = settings(max_examples=100, deadline=None)


def read_or_malformed(parse, *texts):
    """What ``parse`` returns, None where it raises Malformed with one of the known codes; anything else fails."""
    try:
        return parse(*texts)
    except Malformed as error:
        assert error.reason in REASONS
        assert str(error) == error.reason
        return None


@TOTAL
@given(HEADER)
def test_any_header_is_read_or_malformed(text):
    read_or_malformed(parse_header, text)


@TOTAL
@given(URL)
@example(callback_url(item=ASIDE))
@example(callback_url(item="lb:ExU:lib:problem:ab"))
@example("https://h/courses/\x00/xqueue/1/\ud800/a")
def test_any_callback_is_read_or_malformed(url):
    read_or_malformed(parse_callback, url)


#: What a plain URL is made of, and what makes one that is not.
SHORT_CUT = st.lists(
    st.sampled_from([*"https://ab.c:8@+%2F;_~*!$&'(),=-/", "http://h", "//", "?", "#", "\t", " ", "[", "é", "\n"]),
    max_size=12,
).map(lambda parts: "https://a/" + "".join(parts))


@given(URL | SHORT_CUT)
@example("https://h/a;b=c/d")
@example("https://h/a?b")
@example("https://h/a#b")
@example("https://h/ a")
@example("https://h:x/courses")
@example("https://h/\n")
def test_the_path_of_a_plain_url_is_what_urlsplit_says(url):
    plain = _PLAIN_URL.fullmatch(url)
    if plain is not None:
        parts = urlsplit(url)
        assert (parts.path, parts.scheme in ("http", "https"), bool(parts.netloc)) == (plain[1], True, True)


@TOTAL
@given(HEADER)
def test_the_url_of_a_header_is_that_of_the_whole_header(text):
    whole = read_or_malformed(parse_header, text)
    assert read_or_malformed(url_of_header, text) == (whole and whole.callback_url)


@TOTAL
@given(BODY)
def test_any_body_is_read_or_malformed(text):
    read_or_malformed(parse_body, text)


@TOTAL
@given(
    st.fixed_dictionaries({"lms_callback_url": st.just(callback_url()), "lms_key": TEXT, "queue_name": TEXT}).map(
        json.dumps
    ),
    st.builds(rows.body, JSON, TEXT, TEXT, grader_payload=st.none() | TEXT),
)
def test_all_that_databases_get_of_an_envelope_can_be_stored(header, body):
    found = read_or_malformed(parse_envelope, header, body)
    if found is None:
        return
    kept = [found.raw_header, found.header.lms_key, found.header.queue_name, found.body.student_info]
    kept += [found.body.anonymous_student_id, found.body.grader_payload or "", json.dumps(found.body.student_response)]
    assert all(text.encode("utf-8").decode("utf-8") == text for text in kept)


@TOTAL
@given(TEXT | JSON.map(json.dumps))
def test_any_payload_has_a_name_or_none(payload):
    assert isinstance(grader_name(payload), str)
