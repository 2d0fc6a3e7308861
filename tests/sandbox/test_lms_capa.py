"""CAPA's rules, as a table: the LMS stand-in must treat a reply as the real CodeResponse does."""

import json
from datetime import UTC, datetime

import pytest

from sandbox.lms import capa

USAGE = "block-v1:ExU+PY1+2026+type@problem+block@2dbfc989e430f3f666f0cb108c49bd4b"
WAITING = capa.entry(correctness="incomplete", queuestate={"key": "k1", "time": "20261122120000"})
GRADED = capa.entry(correctness="correct", npoints=1, msg="<p>ok</p>")
WIPED = capa.entry(msg=capa.INVALID_REPLY)


def reply(correct=True, score=1, msg="<p>ok</p>", **more):
    return json.dumps({"correct": correct, "score": score, "msg": msg} | more)


def graded(correctness, npoints, msg="<p>ok</p>"):
    return capa.entry(correctness=correctness, npoints=npoints, msg=msg)


VALID = {
    "full marks": (reply(), graded("correct", 1)),
    "fraction": (reply(score=0.5), graded("correct", 0.5)),
    "points over the maximum": (reply(score=70), graded("correct", 70)),
    "negative": (reply(correct=False, score=-0.5), graded("incorrect", 0)),
    "true is one": (reply(score=True), graded("correct", True)),
    "correct is read as truth": (reply(correct="false"), graded("correct", 1)),
    "correct null": (reply(correct=None, score=0), graded("incorrect", 0)),
    "more keys": (reply(tests=3), graded("correct", 1)),
    "blanks are made XML": (reply(msg="a&nbsp;b"), graded("correct", 1, "a&#160;b")),
}
INVALID = {
    "not JSON": "<html>502</html>",
    "empty": "",
    "list": '[true, 1, "<p>ok</p>"]',
    "null": "null",
    "no correct": '{"score": 1, "msg": "ok"}',
    "no score": '{"correct": true, "msg": "ok"}',
    "no message": '{"correct": true, "score": 1}',
    "empty message": reply(msg=""),
    "control character": reply(msg="<p>\x01</p>"),
    "lone surrogate": reply(msg="\ud800"),
}


@pytest.mark.parametrize(("text", "expected"), VALID.values(), ids=VALID)
def test_valid_reply_with_the_right_key(text, expected):
    update = capa.update_score({"a_2_1": WAITING}, "k1", text)
    assert update.correct_map == {"a_2_1": expected}
    assert (update.matched, update.wiped) == (("a_2_1",), ())


@pytest.mark.parametrize("key", ["other", "", None])
@pytest.mark.parametrize("before", [WAITING, GRADED, WIPED], ids=["waiting", "graded", "wiped"])
def test_valid_reply_with_another_key_changes_nothing(before, key):
    update = capa.update_score({"a_2_1": before}, key, reply())
    assert update == capa.Update(correct_map={"a_2_1": before})


def test_key_is_consumed_by_the_first_valid_reply():
    first = capa.update_score({"a_2_1": WAITING}, "k1", reply(score=0.25))
    second = capa.update_score(first.correct_map, "k1", reply(score=1))
    assert second.correct_map == {"a_2_1": graded("correct", 0.25)}
    assert second.matched == ()


@pytest.mark.parametrize("key", ["k1", "other", None])
@pytest.mark.parametrize("before", [WAITING, GRADED], ids=["waiting", "graded"])
@pytest.mark.parametrize("text", INVALID.values(), ids=INVALID)
def test_invalid_reply_wipes_whatever_the_key(text, before, key):
    update = capa.update_score({"a_2_1": before}, key, text)
    assert update.correct_map == {"a_2_1": WIPED}
    assert update.wiped == ("a_2_1",)


def test_invalid_reply_wipes_every_input_of_the_problem():
    before = {"a_2_1": GRADED, "a_3_1": WAITING}
    assert capa.update_score(before, "k1", "no").correct_map == {"a_2_1": WIPED, "a_3_1": WIPED}


def test_valid_reply_touches_only_the_input_with_the_key():
    update = capa.update_score({"a_2_1": GRADED, "a_3_1": WAITING}, "k1", reply(score=0))
    assert update.correct_map == {"a_2_1": GRADED, "a_3_1": graded("correct", 0)}


@pytest.mark.parametrize("score", [None, "1", [1]])
def test_score_that_is_no_number_raises_only_where_the_key_matches(score):
    with pytest.raises(TypeError):
        capa.update_score({"a_2_1": WAITING}, "k1", reply(score=score))
    assert capa.update_score({"a_2_1": WAITING}, "other", reply(score=score)).correct_map == {"a_2_1": WAITING}


@pytest.mark.parametrize("key", ["k1", "other"])
def test_message_that_is_no_text_raises_whatever_the_key(key):
    with pytest.raises(TypeError):
        capa.update_score({"a_2_1": WAITING}, key, reply(msg=None))


def test_points_count_a_correct_input_without_points_as_one():
    assert capa.points({"a": capa.entry(correctness="correct"), "b": WIPED, "c": graded("correct", 0.5)}) == 1.5


def request_for(response="x = 1", payload='{"grader": "g.py"}', user_id=21493):
    return capa.make_request(
        answer_id="2dbfc989e430f3f666f0cb108c49bd4b_2_1",
        response=response,
        grader_payload=payload,
        callback=capa.callback_url("https://courses.example.edu", "course-v1:ExU+ALG2+26T1", user_id, USAGE),
        queue_name="exu-alg2",
        user_id=user_id,
        anonymous_id="cafe1b3b73d49907bd901eacd552484d",
        seed=1,
        now=datetime(2026, 11, 22, 13, 26, 17, tzinfo=UTC),
    )


def test_header_and_body_are_those_of_a_captured_row():
    """Values of row 2356 of the captured table."""
    made = request_for("def vowels(s):\n    return s.count('a')\n", '{"grader": "alg2/vowels/grade.py"}')
    assert json.loads(made.header)["lms_key"] == made.key == "12184392af2f6c3907c4e772778c00c6"
    assert list(json.loads(made.header)) == ["lms_callback_url", "lms_key", "queue_name"]
    info = '{"anonymous_student_id": "cafe1b3b73d49907bd901eacd552484d", "submission_time": "20261122132617", '
    info += '"random_seed": 1}'
    texts = {"grader_payload": '{"grader": "alg2/vowels/grade.py"}', "student_info": info}
    texts["student_response"] = "def vowels(s):\n    return s.count('a')\n"
    assert made.body == json.dumps(texts)


def test_an_element_that_is_empty_sends_null():
    assert json.loads(request_for(payload=None).body)["grader_payload"] is None


@pytest.mark.parametrize(
    ("error", "queued"), [(0, True), (None, True), (False, True), (1, False), ("1", False)], ids=repr
)
def test_result_of_sending(error, queued):
    request = request_for()
    entry = capa.entry_after_sending(request, error, "7")
    if queued:
        state = {"key": request.key, "time": "20261122132617"}
        assert entry == capa.entry(correctness="incomplete", msg="7", queuestate=state)
    else:
        assert entry == capa.entry(msg=capa.UNDELIVERED.format(reason="7"))


@pytest.mark.parametrize(
    ("course", "usage", "path"),
    [
        ("course-v1:ExU+PY1+2026", USAGE, f"/courses/course-v1:ExU+PY1+2026/xqueue/7/{USAGE}/score_update"),
        ("ExU/MISC1/2013_Fall", "i4x:;_;_ExU;_P", "/courses/ExU/MISC1/2013_Fall/xqueue/7/i4x:;_;_ExU;_P/score_update"),
        ("ExU/Ü/1", "i4x://ExU/Ü/problem/a", "/courses/ExU/%C3%9C/1/xqueue/7/i4x://ExU/%C3%9C/problem/a/score_update"),
    ],
)
def test_callback_url(course, usage, path):
    assert capa.callback_url("https://courses.example.edu", course, 7, usage) == "https://courses.example.edu" + path


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (USAGE, "2dbfc989e430f3f666f0cb108c49bd4b"),
        ("i4x://ExU/Intro.1x/problem/ab", "i4x-ExU-Intro_1x-problem-ab"),
    ],
)
def test_html_id(usage, expected):
    assert capa.html_id(usage) == expected


def test_slashes_come_back():
    assert capa.unquote_slashes("i4x:;_;_ExU;_M;_problem;_a;;b") == "i4x://ExU/M/problem/a;b"


def test_newest_queue_time():
    later = capa.entry(queuestate={"key": "k2", "time": "20261122120001"})
    found = capa.newest_queue_time({"a": WAITING, "b": later, "c": GRADED})
    assert found == datetime(2026, 11, 22, 12, 0, 1, tzinfo=UTC)
    assert capa.newest_queue_time({"c": GRADED}) is None
