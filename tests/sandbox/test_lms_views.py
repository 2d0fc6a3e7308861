"""The views of the LMS stand-in: a submission, XQueue's callback with its statuses, logins and cookies."""

import io
import json
import sys
from types import SimpleNamespace

import pytest
from django.contrib.auth import get_user_model
from django.db import connection, connections
from django.test import Client

from sandbox.lms import capa
from sandbox.lms.courseware.models import StudentModule
from sandbox.lms.models import AnonymousUserId, LearnerEffect, LegacyCallback, LoginSession

pytestmark = pytest.mark.django_db

COURSE = "course-v1:ExU+PY1+2026"
USAGE = "block-v1:ExU+PY1+2026+type@problem+block@2dbfc989e430f3f666f0cb108c49bd4b"
ANSWER = "2dbfc989e430f3f666f0cb108c49bd4b_2_1"
KEY = "12184392af2f6c3907c4e772778c00c6"
REPLY = '{"correct": true, "score": 0.5, "msg": "<p>ok</p>"}'
HOST = {"HTTP_HOST": "courses.example.edu", "HTTP_X_FORWARDED_PROTO": "https"}


@pytest.fixture
def learner():
    return get_user_model().objects.create_user("ada", password="pw")


@pytest.fixture
def browser(learner):
    """A browser of the learner behind the platform's proxy; exceptions become what the learner's browser gets."""
    client = Client(raise_request_exception=False, **HOST)
    client.force_login(learner)
    return client


class Interface:
    """Stands in for the app's queue interface: answers as scripted and keeps what it was given."""

    def __init__(self):
        self.calls = []
        self.answer = (0, "3")
        self.block = None

    def send_to_queue(self, header, body, files_to_upload=None):
        names = [(file.name, file.read(), file.file.size) for file in files_to_upload or []]
        self.calls.append((json.loads(header), json.loads(body), names))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def interface(monkeypatch, settings):
    settings.XQUEUE_WAITTIME_BETWEEN_REQUESTS = 0
    interface = Interface()

    def queue_interface(block=None):
        interface.block = block
        return interface

    monkeypatch.setitem(sys.modules, "migration_shim.api", SimpleNamespace(queue_interface=queue_interface))
    return interface


def waiting(learner, usage=USAGE, course=COURSE, key=KEY, **more):
    state = StudentModule(student=learner, course_id=course, module_state_key=usage)
    queuestate = {"key": key, "time": "20261122120000"}
    state.store({f"{capa.html_id(usage)}_2_1": capa.entry(correctness="incomplete", queuestate=queuestate)} | more)
    state.save()
    return state


def call_back(user_id, body=REPLY, header=None, usage=USAGE, course=COURSE, dispatch="score_update", **form):
    form = {"xqueue_header": json.dumps({"lms_key": KEY}) if header is None else header, "xqueue_body": body} | form
    form = {name: value for name, value in form.items() if value is not None}
    # XQueue has no session and no CSRF token.
    client = Client(raise_request_exception=False, enforce_csrf_checks=True, **HOST)
    return client.post(f"/courses/{course}/xqueue/{user_id}/{usage}/{dispatch}", form)


def submit(browser, usage=USAGE, course=COURSE, **form):
    form = {"student_response": "x = 1", "grader_payload": '{"grader": "g.py"}', "queue_name": "exu-py1"} | form
    return browser.post(f"/courses/{course}/submit/{usage}", form)


# --- the callback ---------------------------------------------------------------------------------------------------


def test_callback_applies_a_grade(learner):
    state = waiting(learner)
    answer = call_back(learner.pk)
    assert (answer.status_code, answer.content) == (200, b"")
    state.refresh_from_db()
    assert state.correct_map[ANSWER] == capa.entry(correctness="correct", npoints=0.5, msg="<p>ok</p>")
    assert (state.grade, state.max_grade) == (0.5, 1)
    assert list(LearnerEffect.objects.values_list("kind", "source")) == [
        ("grade_published", "callback"),
        ("lti", "callback"),
    ]
    assert json.loads(LearnerEffect.objects.first().detail) == {"earned": 0.5, "possible": 1, "matched": True}


@pytest.mark.parametrize(
    ("course", "usage", "in_url"),
    [
        ("ExU/MISC1/2013_Fall", "i4x://ExU/MISC1/problem/4ada", "i4x:;_;_ExU;_MISC1;_problem;_4ada"),
        ("ExU/MISC1/2013_Fall", "i4x://ExU/MISC1/problem/4ada", "i4x://ExU/MISC1/problem/4ada"),
        (COURSE, USAGE, USAGE.replace(":", "%3A").replace("+", "%2B").replace("@", "%40")),
    ],
    ids=["old style with quoted slashes", "old style with slashes", "percent-encoded"],
)
def test_callback_finds_the_problem_under_every_spelling(learner, course, usage, in_url):
    state = waiting(learner, usage=usage, course=course)
    assert call_back(learner.pk, usage=in_url, course=course.replace("+", "%2B")).status_code == 200
    state.refresh_from_db()
    assert state.grade == 0.5


def test_problems_that_differ_in_case_only_are_two(learner):
    lower = waiting(learner, usage=USAGE.replace("PY1", "py1"), course=COURSE.replace("PY1", "py1"))
    upper = waiting(learner)
    call_back(learner.pk)
    lower.refresh_from_db()
    upper.refresh_from_db()
    assert (lower.grade, upper.grade) == (None, 0.5)


QUIET = {
    "wrong key": ({"header": json.dumps({"lms_key": "x"})}, {"grade_published", "lti"}),
    "invalid reply": ({"body": "<html>"}, {"reply_wiped", "grade_published", "lti"}),
    "invalid reply, wrong key": (
        {"body": "<html>", "header": json.dumps({"lms_key": "x"})},
        {"reply_wiped", "grade_published", "lti"},
    ),
    "other dispatch": ({"dispatch": "ungraded_response"}, set()),
    "unknown dispatch": ({"dispatch": "nonsense"}, set()),
}


@pytest.mark.parametrize(("change", "effects"), QUIET.values(), ids=QUIET)
def test_callback_answers_200_also_when_nothing_was_graded(learner, change, effects):
    state = waiting(learner)
    answer = call_back(learner.pk, **change)
    assert (answer.status_code, answer.content) == (200, b"")
    state.refresh_from_db()
    entry = state.correct_map[ANSWER]
    assert entry["npoints"] is None
    assert (entry["queuestate"] is None) == ("reply_wiped" in effects)
    assert set(LearnerEffect.objects.values_list("kind", flat=True)) == effects


REFUSED = {
    "no header": ({"header": None, "xqueue_header": None}, 404),
    "no body": ({"body": None}, 404),
    "header no object": ({"header": "[]"}, 404),
    "header without lms_key": ({"header": "{}"}, 404),
    "header not JSON": ({"header": "{"}, 500),
    "user unknown": ({"user_id": 999_999_999}, 500),
    "user no number": ({"user_id": "ada"}, 500),
    "course key bad": ({"course": "a+b+c"}, 500),
    "usage key bad": ({"usage": "nonsense"}, 500),
    "usage key bad, other dispatch": ({"usage": "nonsense", "dispatch": "other"}, 500),
    "score null": ({"body": '{"correct": true, "score": null, "msg": "<p>ok</p>"}'}, 500),
    "score text": ({"body": '{"correct": true, "score": "1", "msg": "<p>ok</p>"}'}, 500),
}


@pytest.mark.parametrize(("change", "status"), REFUSED.values(), ids=REFUSED)
def test_callback_refuses_and_changes_nothing(learner, change, status):
    state = waiting(learner)
    before = state.state
    assert call_back(**({"user_id": learner.pk} | change)).status_code == status
    state.refresh_from_db()
    assert (state.state, state.grade) == (before, None)
    assert not LearnerEffect.objects.exists()
    assert list(LegacyCallback.objects.values_list("status", flat=True)) == [status]


@pytest.mark.django_db(transaction=True)
def test_callback_runs_in_a_transaction_of_the_lms_database_only(learner, monkeypatch):
    seen = []

    def deliver(*args):
        seen.append([connections[alias].in_atomic_block for alias in ("default", "xqueue")])

    monkeypatch.setattr("sandbox.lms.grading.deliver", deliver)
    assert call_back(learner.pk).status_code == 200
    assert seen == [[True, False]]


def test_callback_by_get_is_404(learner):
    assert Client(**HOST).get(f"/courses/{COURSE}/xqueue/{learner.pk}/{USAGE}/score_update").status_code == 404


def test_callback_is_recorded_without_header_or_reply(learner):
    call_back(learner.pk, header="{", body="secret answer")
    recorded = LegacyCallback.objects.values("user_id", "usage_key", "dispatch", "status").get()
    assert recorded == {"user_id": str(learner.pk), "usage_key": USAGE, "dispatch": "score_update", "status": 500}


def test_failing_callback_logs_neither_reply_nor_key(learner, caplog):
    waiting(learner)
    call_back(learner.pk, body='{"correct": true, "score": "hush", "msg": "<p>hush</p>"}')
    # The tracking log apart: the platform's own URL is tracked with its form, as everywhere.
    logged = " ".join(caplog.handler.format(record) for record in caplog.records if record.name != "tracking")
    assert logged
    assert "hush" not in logged
    assert KEY not in logged


# --- a submission ---------------------------------------------------------------------------------------------------


def test_submission_is_sent_and_then_waits(browser, learner, interface):
    answer = submit(browser, seed="7", max_score="4").json()
    assert answer == {"success": "queued", "attempts": 1, "messages": ["3"]}
    ((header, body, files),) = interface.calls
    anonymous_id = AnonymousUserId.objects.get(user=learner, course_id="").anonymous_user_id
    assert header["lms_callback_url"] == (
        f"https://courses.example.edu/courses/{COURSE}/xqueue/{learner.pk}/{USAGE}/score_update"
    )
    assert header["queue_name"] == "exu-py1"
    info = json.loads(body["student_info"])
    assert (info["anonymous_student_id"], info["random_seed"]) == (anonymous_id, 7)
    assert header["lms_key"] == capa.make_key(learner.pk, info["submission_time"], anonymous_id, ANSWER)
    assert (body["student_response"], body["grader_payload"], files) == ("x = 1", '{"grader": "g.py"}', [])
    state = StudentModule.find(learner.pk, USAGE)
    assert state.correct_map[ANSWER]["queuestate"] == {"key": header["lms_key"], "time": info["submission_time"]}


def test_submission_hands_over_the_block(browser, learner, interface):
    submit(browser, max_score="4")
    block = interface.block
    assert (str(block.scope_ids.usage_id), str(block.location)) == (USAGE, USAGE)
    assert (str(block.course_id), block.scope_ids.block_type, block.max_score()) == (COURSE, "problem", 4)


def test_submission_of_files(browser, interface):
    upload = io.BytesIO(b"print(1)")
    upload.name = "ü 1.py"
    submit(browser, files=[upload])
    ((_, body, files),) = interface.calls
    assert files == [("ü 1.py", b"print(1)", 8)]
    assert body["student_response"] == ""


def test_submission_of_two_inputs_sends_two_keys_to_one_callback(browser, learner, interface):
    submit(browser, answer_id=["x_2_1", "x_3_1"], student_response=["a", "b"])
    (first, second) = [header for header, _, _ in interface.calls]
    assert first["lms_callback_url"] == second["lms_callback_url"]
    assert first["lms_key"] != second["lms_key"]
    state = StudentModule.find(learner.pk, USAGE)
    assert (list(state.correct_map), state.max_grade) == (["x_2_1", "x_3_1"], 2)


@pytest.mark.parametrize(
    ("form", "payload"), [({}, ""), ({"payload_null": "1"}, None)], ids=["no element", "empty one"]
)
def test_submission_without_a_payload(browser, interface, form, payload):
    browser.post(f"/courses/{COURSE}/submit/{USAGE}", {"student_response": "x", "queue_name": "q"} | form)
    assert interface.calls[0][1]["grader_payload"] == payload


def test_refused_delivery_uses_an_attempt_and_tells_why(browser, learner, interface):
    interface.answer = (1, "Queue 'q' not found")
    answer = submit(browser).json()
    assert (answer["success"], answer["attempts"]) == ("refused", 1)
    assert answer["messages"] == [capa.UNDELIVERED.format(reason="Queue 'q' not found")]
    assert StudentModule.find(learner.pk, USAGE).correct_map[ANSWER]["queuestate"] is None


def test_exception_uses_no_attempt_and_tells_nothing(browser, learner, interface, caplog):
    waiting(learner)
    before = StudentModule.find(learner.pk, USAGE).state
    interface.answer = RuntimeError("hush: x = 1")
    answer = submit(browser)
    assert answer.status_code == 200
    assert answer.json()["success"].startswith("We're sorry")
    assert StudentModule.find(learner.pk, USAGE).state == before
    assert "RuntimeError" in caplog.text
    assert "hush" not in caplog.text


@pytest.mark.django_db(transaction=True)
def test_what_the_queue_interface_wrote_survives_its_exception(browser, learner, interface, monkeypatch):
    """The view is non-atomic, as handle_xblock_callback is: half-made target rows stay there."""

    def write_and_fail(header, body, files_to_upload=None):
        assert not connection.in_atomic_block
        get_user_model().objects.create_user("orphan")
        raise RuntimeError

    monkeypatch.setattr(interface, "send_to_queue", write_and_fail)
    assert submit(browser).json()["success"].startswith("We're sorry")
    assert get_user_model().objects.filter(username="orphan").exists()


def test_queued_problem_makes_the_learner_wait(browser, interface, settings):
    settings.XQUEUE_WAITTIME_BETWEEN_REQUESTS = 60
    submit(browser)
    assert submit(browser).json() == {"success": "You must wait at least 60 seconds between submissions."}
    assert len(interface.calls) == 1


def test_resubmission_after_the_wait_replaces_the_queuestate(browser, learner, interface):
    waiting(learner)
    assert submit(browser).json()["success"] == "queued"
    assert StudentModule.find(learner.pk, USAGE).correct_map[ANSWER]["queuestate"]["key"] != KEY


def test_submission_needs_a_login(interface):
    answer = submit(Client(**HOST))
    assert answer.status_code == 302
    assert not interface.calls


def test_submission_needs_the_csrf_token(learner, interface):
    client = Client(enforce_csrf_checks=True, **HOST)
    client.force_login(learner)
    assert submit(client).status_code == 403
    assert not interface.calls


def test_state_shows_the_learner_no_key(browser, learner):
    waiting(learner)
    answer = browser.get(f"/courses/{COURSE}/state/{USAGE}")
    assert answer.json()["inputs"][ANSWER]["queued"] is True
    assert KEY not in answer.content.decode()


# --- sessions -------------------------------------------------------------------------------------------------------


def log_in(username="ada", password="pw"):
    client = Client(enforce_csrf_checks=True, **HOST)
    client.get("/login")
    form = {"username": username, "password": password, "csrfmiddlewaretoken": client.cookies["csrftoken"].value}
    return client, client.post("/login", form, HTTP_REFERER="https://courses.example.edu/login")


def test_login_form_needs_the_token(learner):
    client = Client(enforce_csrf_checks=True, **HOST)
    assert client.post("/login", {"username": "ada", "password": "pw"}).status_code == 403


def test_cookies_are_those_of_a_platform(learner):
    client, answer = log_in()
    assert answer.status_code == 302
    session = client.cookies["sessionid"]
    assert (session["secure"], session["domain"], session["httponly"]) == (True, ".example.edu", True)
    assert client.cookies["csrftoken"]["secure"] is True


def test_a_new_login_ends_the_other_session(learner):
    first, _ = log_in()
    assert first.get(f"/courses/{COURSE}/state/{USAGE}").status_code == 200
    second, _ = log_in()
    assert second.get(f"/courses/{COURSE}/state/{USAGE}").status_code == 200
    assert first.get(f"/courses/{COURSE}/state/{USAGE}").status_code == 302
    assert LoginSession.objects.count() == 1


def test_logins_of_others_stay(learner):
    get_user_model().objects.create_user("bob", password="pw")
    first, _ = log_in()
    log_in("bob")
    assert first.get(f"/courses/{COURSE}/state/{USAGE}").status_code == 200


def test_unknown_host_is_refused():
    assert Client(HTTP_HOST="evil.example.com").get("/").status_code == 400


def test_learner_effects_are_append_only(learner):
    effect = LearnerEffect.objects.create(user=learner, course_id=COURSE, usage_key=USAGE, kind="lti", source="submit")
    with pytest.raises(TypeError):
        effect.save()
