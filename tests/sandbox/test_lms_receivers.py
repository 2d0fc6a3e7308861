"""The LMS's receivers under edx-submissions' own put_result: which identity sets off what (the fence rests on it)."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.test import Client
from submissions.api import create_external_grader_detail
from submissions.models import Score

from migration_shim.target import prediction
from sandbox.lms import capa, receivers
from sandbox.lms.courseware.models import StudentModule
from sandbox.lms.models import AnonymousUserId, LearnerEffect

pytestmark = pytest.mark.django_db

COURSE = "course-v1:ExU+PY1+2026"
USAGE = "block-v1:ExU+PY1+2026+type@problem+block@2dbfc989e430f3f666f0cb108c49bd4b"
ANSWER = "2dbfc989e430f3f666f0cb108c49bd4b_2_1"
ANONYMOUS_ID = "cafe1b3b73d49907bd901eacd552484d"
KEY = "12184392af2f6c3907c4e772778c00c6"
HOST = {"HTTP_HOST": "courses.example.edu", "HTTP_X_FORWARDED_PROTO": "https"}
REFERER = {"HTTP_REFERER": "https://courses.example.edu"}

REPLY = '{"correct": true, "score": 1, "msg": "<p>ok</p>"}'
IDENTITIES = {
    "student": {"real": ANONYMOUS_ID, "unknown": f"shadow:{ANONYMOUS_ID}"},
    "course": {"real": COURSE, "unparsable": f"shadow:{COURSE}"},
    "item": {"real": USAGE, "unparsable": f"shadow:{USAGE}"},
}
SCORE_EFFECTS = ["score_set:score_set", "completion:score_set", "lti:score_set"]
EVENT_EFFECTS = ["grade_published:external_grader_event", "lti:external_grader_event"]


@pytest.fixture
def learner():
    user = get_user_model().objects.create_user("ada", password="pw")
    AnonymousUserId.objects.create(user=user, anonymous_user_id=ANONYMOUS_ID)
    return user


@pytest.fixture
def state(learner):
    """The learner's problem, waiting for the grade of KEY."""
    state = StudentModule(student=learner, course_id=COURSE, module_state_key=USAGE)
    queuestate = {"key": KEY, "time": "20261122120000"}
    state.store({ANSWER: capa.entry(correctness="incomplete", queuestate=queuestate)}, attempts=1)
    state.save()
    return state


class Watcher:
    """A grader at edx-submissions' endpoints, as the official watcher speaks to them."""

    def __init__(self):
        self.client = Client(enforce_csrf_checks=True, raise_request_exception=False, **HOST)
        self.client.get("/xqueue/login/")
        account = {"username": "grader", "password": "pw"}
        assert self.client.post("/xqueue/login/", account, **self.csrf()).status_code == 200

    def csrf(self):
        cookie = self.client.cookies.get("csrftoken")  # before edx-submissions 4.0.1 it comes with the login
        return {"HTTP_X_CSRFTOKEN": cookie.value} | REFERER if cookie else REFERER

    def grade(self, reply):
        """Pull one submission and post a reply; return the status of put_result."""
        document = self.client.get("/xqueue/get_submission/", {"queue_name": "q"}).json()
        assert document["return_code"] == 0, document["content"]
        header = json.loads(document["content"])["xqueue_header"]
        form = {"xqueue_header": header, "xqueue_body": reply}
        return self.client.post("/xqueue/put_result/", form, **self.csrf()).status_code


@pytest.fixture
def watcher():
    user = get_user_model().objects.create_user("grader", password="pw")
    user.groups.add(Group.objects.create(name="xqueue"))
    return Watcher()


def make_row(student="real", course="real", item="real", points_possible=1, queue_key=KEY):
    names = {"student": student, "course": course, "item": item}
    ids = {name: IDENTITIES[name].get(value, value) for name, value in names.items()}
    student_item = {"student_id": ids["student"], "course_id": ids["course"], "item_id": ids["item"]}
    return create_external_grader_detail(
        student_item | {"item_type": "problem"},
        "x = 1",
        queue_name="q",
        queue_key=queue_key,
        grader_file_name="g.py",
        points_possible=points_possible,
    )


def effects():
    return [f"{effect.kind}:{effect.source}" for effect in LearnerEffect.objects.order_by("pk")]


TABLE = [
    # student, course, item, status of put_result, state of the row, effects, is the learner graded
    ("real", "real", "real", 200, "retired", SCORE_EFFECTS + EVENT_EFFECTS, True),
    ("real", "unparsable", "real", 200, "retry", SCORE_EFFECTS[:1], False),
    ("real", "real", "unparsable", 200, "retry", SCORE_EFFECTS[:1], False),
    ("real", "unparsable", "unparsable", 200, "retry", SCORE_EFFECTS[:1], False),
    ("unknown", "real", "real", 500, "pulled", [], False),
    ("unknown", "real", "unparsable", 200, "retired", [], False),
    ("unknown", "unparsable", "real", 200, "retired", [], False),
    ("unknown", "unparsable", "unparsable", 200, "retired", [], False),
]


@pytest.mark.parametrize(("student", "course", "item", "status", "row_state", "expected", "is_graded"), TABLE)
def test_which_identity_sets_off_what(state, watcher, student, course, item, status, row_state, expected, is_graded):
    row = make_row(student, course, item)
    before = state.state
    assert watcher.grade(REPLY) == status
    row.refresh_from_db()
    assert row.status == row_state
    assert effects() == expected
    state.refresh_from_db()
    assert (state.grade == 1) == is_graded
    assert (state.state == before) == (not is_graded)


@pytest.mark.parametrize(
    "item",
    ["block-v1:ExU+PY1+2026+type@problem+block@2dbfc989e430f3f666f0cb108c49bd4b-shadow", "i4x://shadow/a/problem/b"],
)
def test_an_identity_that_only_looks_fenced_is_a_poison_row(state, watcher, item):
    row = make_row(student="unknown", item=item)
    assert watcher.grade(REPLY) == 500
    row.refresh_from_db()
    assert (row.status, row.num_failures, row.grader_reply) == ("pulled", 0, None)
    assert not Score.objects.exists()


def test_five_rounds_of_a_half_fenced_row_leave_five_traces_and_no_grade(state, watcher):
    row = make_row(item="unparsable")
    assert [watcher.grade(REPLY) for _ in range(5)] == [200] * 5
    row.refresh_from_db()
    assert row.status == "failed"
    assert effects() == SCORE_EFFECTS[:1] * 5
    assert Score.objects.count() == 5


FENCED_REPLIES = {
    "valid": REPLY,
    "wipes": '{"score": 1, "msg": "ok"}',
    "no score": '{"correct": true, "msg": "ok"}',
    "not JSON": "<html>",
    "list": "[1]",
}


@pytest.mark.parametrize("reply", FENCED_REPLIES.values(), ids=FENCED_REPLIES)
def test_a_fenced_row_never_reaches_the_learner(state, watcher, reply):
    make_row(student="unknown", item="unparsable")
    before = state.state
    watcher.grade(reply)
    state.refresh_from_db()
    assert (state.state, state.grade) == (before, None)
    assert effects() == []


def test_reply_without_correct_is_a_score_there_and_a_wipe_here(state, watcher):
    """edx-submissions reads the score only; CAPA wants all three tags."""
    row = make_row()
    assert watcher.grade('{"score": 1, "msg": "ok"}') == 200
    row.refresh_from_db()
    state.refresh_from_db()
    assert (row.status, Score.objects.get().points_earned) == ("retired", 1)
    assert state.correct_map == {ANSWER: capa.entry(msg=capa.INVALID_REPLY)}
    assert effects() == [*SCORE_EFFECTS, "reply_wiped:external_grader_event", *EVENT_EFFECTS]


def test_wrong_queue_key_leaves_the_learner_waiting(state, watcher):
    row = make_row(queue_key="other")
    assert watcher.grade(REPLY) == 200
    row.refresh_from_db()
    state.refresh_from_db()
    assert row.status == "retired"
    assert state.correct_map[ANSWER]["queuestate"]["key"] == KEY
    published = LearnerEffect.objects.get(kind="grade_published")
    assert json.loads(published.detail)["matched"] is False


def test_no_points_possible_means_no_score_effects(state, watcher):
    make_row(points_possible=0)
    assert watcher.grade(REPLY) == 200
    assert effects() == EVENT_EFFECTS


@pytest.mark.skipif(not prediction.scales(), reason="before edx-submissions 4.0.2 a fraction is refused")
def test_fraction_is_rounded_for_the_platform_and_kept_for_the_learner(state, watcher):
    make_row()
    watcher.grade('{"correct": true, "score": 0.75, "msg": "<p>ok</p>"}')
    state.refresh_from_db()
    assert state.correct_map[ANSWER]["npoints"] == 0.75
    assert json.loads(LearnerEffect.objects.get(kind="score_set").detail) == {"earned": 1, "possible": 1}


def test_message_that_capa_cannot_take_rolls_everything_back(state, watcher):
    row = make_row()
    assert watcher.grade('{"correct": true, "score": 1, "msg": null}') == 500
    row.refresh_from_db()
    assert row.status == "pulled"
    assert effects() == []
    assert not Score.objects.exists()


def test_failing_event_logs_neither_reply_nor_learner(state, watcher, caplog):
    make_row(student="unknown")
    assert watcher.grade('{"correct": true, "score": 1, "msg": "hush"}') == 500
    own = [record.getMessage() for record in caplog.records if record.name == "sandbox.lms.receivers"]
    assert len(own) == 1
    assert own[0].endswith("failed: DoesNotExist")


def test_an_account_outside_the_group_may_not_pull(watcher):
    get_user_model().objects.get(username="grader").groups.clear()
    assert watcher.client.get("/xqueue/get_submission/", {"queue_name": "q"}).status_code == 403


# Contract, section 14: releases of the platform without a receiver of the event


def graded_by(watcher):
    """A submission under the learner's own identity, graded at edx-submissions' endpoint; the status and the row."""
    row = make_row()
    status = watcher.grade(REPLY)
    row.refresh_from_db()
    return status, row


def test_without_the_receiver_every_score_is_stored_and_the_learner_stays_queued(state, watcher):
    with receivers.without_score_receiver():
        status, detail = graded_by(watcher)
    assert (status, detail.status, Score.objects.count()) == (200, "retired", 1)
    state.refresh_from_db()
    assert state.correct_map[ANSWER]["queuestate"]["key"] == KEY


def test_a_delivery_that_is_swallowed_leaves_the_learner_queued(state, watcher):
    with receivers.swallowing():
        status, detail = graded_by(watcher)
    assert (status, detail.status, Score.objects.count()) == (200, "retired", 1)
    state.refresh_from_db()
    assert state.correct_map[ANSWER]["queuestate"]["key"] == KEY


def test_with_it_the_key_is_consumed(state, watcher):
    assert graded_by(watcher)[0] == 200
    state.refresh_from_db()
    assert (state.correct_map[ANSWER]["queuestate"], state.correct_map[ANSWER]["npoints"]) == (None, 1)


def test_the_setting_decides_whether_there_is_one():
    code = (
        "import django; django.setup();"
        "from openedx_events.learning.signals import EXTERNAL_GRADER_SCORE_SUBMITTED as event;"
        "print(len(event.receivers))"
    )
    counted = [
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"DJANGO_SETTINGS_MODULE": "sandbox.lms.settings", "SANDBOX_SCORE_RECEIVER": value},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for value in ("1", "0")
    ]
    assert counted == ["1", "0"]


def test_a_grade_leaves_the_time_of_the_submission_alone(state, watcher):
    """CAPA notes it at a submission only."""
    state.store(state.correct_map, attempts=1, submitted_at=datetime(2026, 11, 22, 12, tzinfo=UTC))
    state.save()
    assert graded_by(watcher)[0] == 200
    state.refresh_from_db()
    assert json.loads(state.state)["last_submission_time"] == "2026-11-22T12:00:00Z"
