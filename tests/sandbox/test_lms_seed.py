"""Seeding: learners of captured rows are in the state that their LMS was in."""

import json
from types import SimpleNamespace

import pytest
from django.contrib.auth import get_user_model

from sandbox.lms import capa
from sandbox.lms.courseware.models import StudentModule
from sandbox.lms.models import AnonymousUserId
from sandbox.lms.seed import answer_ids, seed_learners

pytestmark = pytest.mark.django_db

COURSE = "course-v1:ExU+ALG2+26T1"
BLOCK = "2dbfc989e430f3f666f0cb108c49bd4b"
USAGE = f"block-v1:ExU+ALG2+26T1+type@problem+block@{BLOCK}"
ANONYMOUS_ID = "cafe1b3b73d49907bd901eacd552484d"
REPLY = '{"correct": true, "score": 0.5, "msg": "<p>ok</p>"}'
GRADED = capa.entry(correctness="correct", npoints=0.5, msg="<p>ok</p>")


def row(second=0, answer_id=f"{BLOCK}_2_1", user_id=21493, usage=USAGE, course=COURSE, **columns):
    """One row as captured: submitted at 12:00 and that many seconds."""
    time = f"202611221200{second:02}"
    key = capa.make_key(user_id, time, ANONYMOUS_ID, answer_id)
    url = capa.callback_url("https://courses.example.edu", course, user_id, usage)
    info = {"anonymous_student_id": ANONYMOUS_ID, "submission_time": time, "random_seed": 1}
    return {
        "xqueue_header": json.dumps({"lms_callback_url": url, "lms_key": key, "queue_name": "q"}),
        "xqueue_body": json.dumps({"student_info": json.dumps(info)}),
        "arrival_time": f"2026-11-22T12:00:{second:02}.500000+00:00",
        "return_time": None,
        "grader_reply": "",
        "lms_ack": 0,
        "retired": 0,
    } | columns


def answered(second, reply=REPLY):
    return {"lms_ack": 1, "retired": 1, "return_time": f"2026-11-22T12:00:{second:02}+00:00", "grader_reply": reply}


def state_after(*rows):
    counts = seed_learners(rows)
    assert counts.seeded == len(rows)
    return StudentModule.find(21493, USAGE).correct_map


def waits(one):
    header, body = json.loads(one["xqueue_header"]), json.loads(one["xqueue_body"])
    time = json.loads(body["student_info"])["submission_time"]
    return capa.entry(correctness="incomplete", queuestate={"key": header["lms_key"], "time": time})


def test_user_keeps_the_id_of_the_callback():
    seed_learners([row()])
    user = get_user_model().objects.get(pk=21493)
    assert not user.has_usable_password()
    found = AnonymousUserId.objects.get(user=user)
    assert (found.anonymous_user_id, found.course_id) == (ANONYMOUS_ID, "")


def test_password_for_all():
    seed_learners([row(), row(user_id=21494)], password="pw")
    assert all(user.check_password("pw") for user in get_user_model().objects.filter(pk__in=[21493, 21494]))


def test_rows_may_be_objects():
    assert seed_learners([SimpleNamespace(**row())]).states == 1


def test_queued_row_waits():
    assert state_after(row()) == {f"{BLOCK}_2_1": waits(row())}


def test_graded_row_is_graded():
    assert state_after(row(**answered(5))) == {f"{BLOCK}_2_1": GRADED}


def test_returned_but_not_acknowledged_row_still_waits():
    assert state_after(row(**answered(5) | {"lms_ack": 0})) == {f"{BLOCK}_2_1": waits(row())}


def test_superseded_row_is_replaced_by_the_newer_attempt():
    assert state_after(row(second=9), row(retired=1)) == {f"{BLOCK}_2_1": waits(row(second=9))}


def test_late_answer_to_a_superseded_row_changes_nothing():
    late = row(**answered(20))
    assert state_after(late, row(second=9)) == {f"{BLOCK}_2_1": waits(row(second=9))}


def test_sibling_input_retired_by_the_other_still_waits():
    sibling = row(answer_id=f"{BLOCK}_3_1", retired=1)
    found = state_after(sibling, row(second=9, **answered(20)))
    assert found == {f"{BLOCK}_3_1": waits(sibling), f"{BLOCK}_2_1": GRADED}


def test_invalid_answer_wipes_every_input():
    found = state_after(row(**answered(5)), row(second=9, answer_id=f"{BLOCK}_3_1", **answered(20, "<html>")))
    assert set(found) == {f"{BLOCK}_2_1", f"{BLOCK}_3_1"}
    assert list(found.values()) == [capa.entry(msg=capa.INVALID_REPLY)] * 2


def test_acknowledged_answer_that_capa_cannot_apply_changes_nothing():
    one = row(**answered(5, '{"correct": true, "score": null, "msg": "<p>tests run</p>"}'))
    assert seed_learners([one]).unapplied == 1
    assert StudentModule.find(21493, USAGE).correct_map == {f"{BLOCK}_2_1": waits(row())}


def test_grade_and_attempts_are_those_of_the_rows():
    seed_learners([row(**answered(5)), row(second=9, answer_id=f"{BLOCK}_3_1")])
    state = StudentModule.find(21493, USAGE)
    assert (state.attempts, state.grade, state.max_grade) == (2, 0.5, 2)


@pytest.mark.parametrize("answer_id", [f"{BLOCK}_2_1", f"{BLOCK}_2_3", f"{BLOCK}_17_1", f"{BLOCK}_100_3"])
def test_input_is_recovered_from_the_key(answer_id):
    assert list(state_after(row(answer_id=answer_id))) == [answer_id]


def test_input_that_cannot_be_recovered_is_the_first():
    counts = seed_learners([row(answer_id="elsewhere_2_1")])
    assert counts.default_input == 1
    assert list(StudentModule.find(21493, USAGE).correct_map) == [f"{BLOCK}_2_1"]


def test_body_without_student_info_still_has_a_learner_who_waits():
    counts = seed_learners([row(xqueue_body="not json")])
    assert (counts.users, counts.states, counts.default_input) == (1, 1, 1)
    assert not AnonymousUserId.objects.exists()


def test_old_style_problem():
    usage = "i4x://ExU/MISC1/problem/ab"
    first = next(answer_ids(usage))
    assert first == "i4x-ExU-MISC1-problem-ab_2_1"
    counts = seed_learners([row(usage=usage.replace("/", ";_"), course="ExU/MISC1/2013", answer_id=first)])
    assert (counts.default_input, counts.states) == (0, 1)
    assert str(StudentModule.find(21493, usage).course_id) == "ExU/MISC1/2013"


UNUSABLE = {
    "header not JSON": {"xqueue_header": "no"},
    "header no object": {"xqueue_header": "[]"},
    "no key": {
        "xqueue_header": '{"lms_callback_url": "https://courses.example.edu/courses/a/xqueue/1/b/score_update"}'
    },
    "callback no text": {"xqueue_header": '{"lms_key": "k", "lms_callback_url": 3}'},
    "callback empty": {"xqueue_header": '{"lms_key": "k", "lms_callback_url": ""}'},
    "other service": {"xqueue_header": '{"lms_key": "k", "lms_callback_url": "https://hooks.example.edu/ok"}'},
}


@pytest.mark.parametrize("columns", UNUSABLE.values(), ids=UNUSABLE)
def test_row_without_a_learner_is_counted_and_skipped(columns):
    counts = seed_learners([row(**columns)])
    assert (counts.rows, counts.seeded, counts.skipped.total()) == (1, 0, 1)
    assert not get_user_model().objects.exists()


@pytest.mark.parametrize(("course", "usage"), [("", USAGE), ("ExU+x", USAGE), (COURSE, "nonsense")])
def test_identity_that_does_not_parse_is_skipped(course, usage):
    one = row()
    url = f"https://courses.example.edu/courses/{course}/xqueue/7/{usage}/score_update"
    counts = seed_learners([one | {"xqueue_header": json.dumps({"lms_callback_url": url, "lms_key": "k"})}])
    assert counts.skipped.total() == 1


def test_second_seeding_changes_nothing():
    seed_learners([row()])
    counts = seed_learners([row(**answered(5))])
    assert (counts.users, counts.states) == (0, 0)
    assert StudentModule.find(21493, USAGE).correct_map == {f"{BLOCK}_2_1": waits(row())}
