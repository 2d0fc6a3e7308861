"""The whole legacy way, in processes of their own: a learner submits, XQueue queues, a grader grades, the LMS hears."""

import pytest
from django.contrib.auth import get_user_model

from sandbox.grader import PullGrader, ServerEntry
from sandbox.lms.courseware.models import StudentModule
from sandbox.lms.models import LearnerEffect, LegacyCallback
from sandbox.network import free_port, proxied_session
from sandbox.servers import running_lms, running_xqueue

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "xqueue"])

ROOT = "https://courses.example.edu"
COURSE = "course-v1:ExU+PY1+2026"
BLOCK = "2dbfc989e430f3f666f0cb108c49bd4b"
USAGE = f"block-v1:ExU+PY1+2026+type@problem+block@{BLOCK}"
RIGHT = "def square(n):\n    return n * n\n"


@pytest.fixture(scope="module")
def platform(databases_ready):
    """An LMS and an XQueue that know each other; yields the addresses of the hosts."""
    lms_port, xqueue_port = free_port(), free_port()
    hosts = {"courses.example.edu": f"127.0.0.1:{lms_port}", "files.example.edu": f"127.0.0.1:{xqueue_port}"}
    env = {
        "SANDBOX_HOSTS": ",".join(f"{host}={address}" for host, address in hosts.items()),
        "MIGRATION_SHIM_XQUEUE_URL": f"http://127.0.0.1:{xqueue_port}",
        "SANDBOX_WAITTIME_BETWEEN_REQUESTS": "0",
    }
    with running_lms(env, port=lms_port), running_xqueue(env, port=xqueue_port):
        yield hosts


@pytest.fixture
def browser(platform):
    """A learner's browser, logged in through the form."""
    get_user_model().objects.create_user("ada", password="pw")
    session = proxied_session(platform)
    session.headers["Referer"] = f"{ROOT}/login"
    session.get(f"{ROOT}/login")
    form = {"username": "ada", "password": "pw", "csrfmiddlewaretoken": session.cookies["csrftoken"]}
    assert session.post(f"{ROOT}/login", data=form, allow_redirects=False).status_code == 302
    session.headers["X-CSRFToken"] = session.cookies["csrftoken"]
    return session


def submit(browser, response, files=None):
    form = {"student_response": response, "grader_payload": '{"grader": "py1/square/grade.py"}'}
    form |= {"queue_name": "exu-py1"}
    return browser.post(f"{ROOT}/courses/{COURSE}/submit/{USAGE}", data=form, files=files).json()


def state(browser):
    return browser.get(f"{ROOT}/courses/{COURSE}/state/{USAGE}").json()


@pytest.fixture
def grader(platform, monkeypatch):
    monkeypatch.setenv("SANDBOX_HOSTS", ",".join(f"{host}={address}" for host, address in platform.items()))
    url = f"http://{platform['files.example.edu']}"
    return PullGrader([ServerEntry(url=url, username="lms", password="lms-password", queues=("exu-py1",))])


@pytest.mark.parametrize(
    ("response", "files", "expected"),
    [
        (RIGHT, None, ("correct", 1)),
        ("def square(n):\n    return n\n", None, ("incorrect", 0)),
        (f"# reply: not json\n{RIGHT}", None, (None, None)),
        ("", [("files", ("ü 1.py", b"print(1)")), ("files", ("b.py", b""))], ("correct", 1)),
    ],
    ids=["right", "wrong", "invalid reply", "files"],
)
def test_a_learner_is_graded(browser, grader, response, files, expected):
    assert submit(browser, response, files)["success"] == "queued"
    assert state(browser)["inputs"][f"{BLOCK}_2_1"]["queued"] is True
    assert (grader.drain(), grader.refused, grader.unanswered) == (1, 0, 0)
    found = state(browser)
    entry = found["inputs"][f"{BLOCK}_2_1"]
    assert (entry["correctness"], entry["npoints"], entry["queued"]) == (*expected, False)
    assert (found["attempts"], found["earned"]) == (1, expected[1] or 0)
    assert list(LegacyCallback.objects.values_list("status", flat=True)) == [200]


def test_only_the_newest_attempt_is_graded(browser, grader):
    submit(browser, "def square(n):\n    return n\n")
    submit(browser, RIGHT)
    assert grader.drain() == 1
    assert state(browser)["earned"] == 1
    graded = LearnerEffect.objects.filter(source="callback", kind="grade_published", detail__contains='"matched": true')
    assert graded.count() == 1


def test_unknown_queue_is_told_to_the_learner(browser):
    form = {"student_response": RIGHT, "grader_payload": "", "queue_name": "nowhere"}
    answer = browser.post(f"{ROOT}/courses/{COURSE}/submit/{USAGE}", data=form).json()
    assert (answer["success"], answer["attempts"]) == ("refused", 1)
    assert "nowhere" in answer["messages"][0]
    user = get_user_model().objects.get(username="ada")
    assert StudentModule.find(user.pk, USAGE).correct_map[f"{BLOCK}_2_1"]["queuestate"] is None
