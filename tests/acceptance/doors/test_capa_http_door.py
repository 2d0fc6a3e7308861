"""The platform's own CAPA and XQueueInterface, unmodified, against the HTTP door in a process of its own."""

import json
import time

import pytest
import requests
from django.core import signing
from requests.auth import HTTPBasicAuth

from migration_shim.core.data import Phase
from migration_shim.doors.submit_login import COOKIE, _mark
from migration_shim.models import LedgerEntry
from sandbox.lms.models import LearnerEffect, LoginSession
from sandbox.network import free_port
from sandbox.servers import running_lms
from tests.acceptance.doors.conftest import REVERSE, SHADOW
from tests.acceptance.doors.problems import CODE, FILES, SQUARE, TWO_INPUTS, WRONG_SQUARE, refusal, uploads
from tests.builders.outbox import drain
from tests.builders.rows import QUEUE, enter, fresh  # noqa: F401
from tests.builders.xqueue_server import CALLBACK, Client

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "xqueue"])

PHASES = list(Phase)
ACCOUNT = ("capa", "door:password")
SALT = "migration_shim.submit"
HALF_DAY = 12 * 3600


@pytest.fixture(scope="module")
def door_environment(xqueue):
    return {"MIGRATION_SHIM_XQUEUE_URL": xqueue.url, "SANDBOX_SUBMIT_USERS": ":".join(ACCOUNT)}


@pytest.fixture(scope="module")
def door(door_environment):
    """The URL that the platform would have in XQUEUE_INTERFACE["url"]."""
    with running_lms({**door_environment, "MIGRATION_SHIM_SUBMIT_DOOR": "1"}) as server:
        yield f"{server.url}/migration_shim"


@pytest.fixture
def learner(systems, classroom, door):
    """A learner at a problem with one code input, whose platform logs in through the form."""
    return classroom.learner(door, account=ACCOUNT)


def authoritative_on_legacy(phase):
    return phase in (Phase.LEGACY, Phase.SHADOW)


# --- the four phases --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize(("auth", "kind"), [("basic", "code"), ("form", "code"), ("basic", "files"), ("form", "files")])
def test_one_input_is_graded_once_by_the_authoritative_side_only(systems, classroom, door, phase, auth, kind):
    basic = HTTPBasicAuth(*ACCOUNT) if auth == "basic" else None
    account = ACCOUNT if auth == "form" else ("nobody", "nothing")
    learner = classroom.learner(door, CODE if kind == "code" else FILES, account=account, basic=basic)
    contents = {"ü 1.py": SQUARE.encode(), "empty.txt": b""}
    enter(phase)
    # With the form CAPA's client is told login_required, logs in, rewinds the files and submits again.
    learner.submit(SQUARE if kind == "code" else uploads(contents))
    assert learner.queued == [True]
    assert learner.messages == ["1" if authoritative_on_legacy(phase) else ""]

    if phase is Phase.SHADOW:
        assert systems.grade_on_target(SHADOW) == 1
    if phase is Phase.LIVE:
        assert systems.grade_on_legacy(REVERSE) == 1
        assert systems.hand_on() == [200]
        assert [post["path"].startswith("/migration_shim/sink/") for post in systems.callbacks.posts] == [True]
        systems.callbacks.reset()
    assert (learner.queued, learner.published, LearnerEffect.objects.count()) == ([True], [], 0)

    if authoritative_on_legacy(phase):
        assert (systems.grade_on_legacy(), systems.hand_on()) == (1, [200])
    else:
        assert systems.grade_on_target() == 1
    source = "callback" if authoritative_on_legacy(phase) else "external_grader_event"
    assert (learner.graded, learner.published) == ([("correct", 1)], [(source, 1)])

    counts = (len(systems.legacy_rows()), len(systems.target_rows()))
    assert counts == {"legacy": (1, 0), "shadow": (1, 1), "live": (1, 1), "complete": (0, 1)}[phase.value]
    for row in systems.target_rows():
        files = {file.original_filename: file.file.read() for file in row.files.all()}
        assert files == (contents if kind == "files" else {})


@pytest.mark.parametrize("phase", PHASES)
def test_several_inputs(systems, classroom, door, phase):
    learner = classroom.learner(door, TWO_INPUTS, account=ACCOUNT)
    enter(phase)
    learner.submit(SQUARE, WRONG_SQUARE)
    assert learner.queued == [True, True]
    if authoritative_on_legacy(phase):
        # XQueue itself retires the first input's row when the second arrives.
        assert (systems.grade_on_legacy(), systems.hand_on()) == (1, [200])
        assert learner.graded == [("incomplete", None), ("incorrect", 0)]
        drain()  # on a busy machine the door may have left a shadow to the worker
        assert len(systems.target_rows(SHADOW)) == (2 if phase is Phase.SHADOW else 0)
    else:
        assert systems.grade_on_target() == 2
        assert learner.graded == [("correct", 1), ("incorrect", 0)]


def test_points_are_assumed_where_nobody_knows_the_block(systems, learner):
    enter(Phase.LIVE)
    learner.submit(SQUARE)
    assert systems.target_rows()[0].points_possible == 1
    assert LedgerEntry.objects.get().points_possible == 1


@pytest.mark.parametrize("phase", [Phase.LIVE, Phase.COMPLETE])
def test_an_answer_over_the_limit_is_refused_with_a_reason(systems, learner, phase):
    enter(phase)
    learner.submit("é" * 20_000)
    assert learner.messages == [refusal("The answer is larger than 102400 characters.")]
    assert (learner.queued, systems.target_rows(), LedgerEntry.objects.count()) == ([False], [], 0)


def test_xqueue_is_down_behind_the_door(systems, classroom, door_environment):
    environment = {**door_environment, "MIGRATION_SHIM_SUBMIT_DOOR": "1"}
    environment["MIGRATION_SHIM_XQUEUE_URL"] = f"http://127.0.0.1:{free_port()}"
    with running_lms(environment) as server:
        learner = classroom.learner(f"{server.url}/migration_shim", account=ACCOUNT)
        enter(Phase.SHADOW)
        learner.submit(SQUARE)
    assert learner.messages == [refusal("cannot connect to server")]
    entry = LedgerEntry.objects.get()
    assert (learner.queued, entry.legacy_reason, entry.target_leg) == ([False], "refused", "none")


# --- who may submit ---------------------------------------------------------------------------------------------------


def post(door, cookie=None, **fields):
    """Post to submit/ without any client's help; (return code, content)."""
    cookies = {COOKIE: cookie} if cookie else None
    answer = requests.post(f"{door}/xqueue/submit/", data=fields, cookies=cookies, allow_redirects=False, timeout=10)
    assert answer.status_code == 200
    document = answer.json()
    return document["return_code"], document["content"]


def test_one_login_serves_many_submissions(systems, learner, monkeypatch):
    logins = []
    own = learner.interface._login
    monkeypatch.setattr(learner.interface, "_login", lambda: logins.append(1) or own())
    for answer in (WRONG_SQUARE, SQUARE, WRONG_SQUARE):
        learner.submit(answer)
        assert learner.queued == [True]
    assert len(logins) == 1


@pytest.mark.parametrize("size", [100_000, 250_000, 4_000_000])
def test_a_large_upload_survives_the_login(systems, classroom, door, size):
    # The first try is answered login_required. A server that has not read it all closes the connection on a client that
    # is about to log in over it; whether the client notices in time is a race, so there are several tries.
    enter(Phase.COMPLETE)
    content = b"x" * size
    for _ in range(6):
        learner = classroom.learner(door, FILES, account=ACCOUNT)
        learner.submit(uploads({"large.bin": content}))
        assert (learner.queued, learner.messages) == ([True], [""])
    stored = [file.file.read() for row in systems.target_rows() for file in row.files.all()]
    assert [held == content for held in stored] == [True] * 6


def test_a_wrong_password_is_told_to_the_learner(systems, classroom, door):
    learner = classroom.learner(door, account=(ACCOUNT[0], "wrong"))
    learner.submit(SQUARE)
    assert learner.messages == [refusal("Incorrect login credentials")]
    assert systems.legacy_rows() == []


def test_wrong_basic_credentials_submit_nothing(systems, classroom, door):
    learner = classroom.learner(door, account=("nobody", "x"), basic=HTTPBasicAuth(ACCOUNT[0], "wrong"))
    learner.submit(SQUARE)
    assert learner.messages == [refusal("Incorrect login credentials")]
    assert systems.legacy_rows() == []


def test_basic_credentials_of_a_proxy_before_xqueue_do_no_harm(systems, classroom, door):
    learner = classroom.learner(door, account=ACCOUNT, basic=HTTPBasicAuth("proxy", "of the old XQueue"))
    learner.submit(SQUARE)
    assert (learner.queued, len(systems.legacy_rows())) == ([True], 1)


def cookies(monkeypatch):
    """Cookies that must not let anybody in."""
    long_ago = time.time() - HALF_DAY - 60
    good = [ACCOUNT[0], _mark(ACCOUNT[1])]
    with monkeypatch.context() as patched:
        patched.setattr(signing.time, "time", lambda: long_ago)
        expired = signing.dumps(good, salt=SALT)
    return {
        "expired": expired,
        "another key": signing.dumps(good, key="guessed", salt=SALT),
        "another salt": signing.dumps(good, salt="django.core.signing"),
        "removed account": signing.dumps(["left", good[1]], salt=SALT),
        "changed": signing.dumps(good, salt=SALT)[:-1] + "-",
        "rubbish": "capa",
    }


@pytest.mark.parametrize("which", ["expired", "another key", "another salt", "removed account", "changed", "rubbish"])
def test_a_cookie_that_is_not_good_means_a_login_and_no_loss(systems, learner, door, monkeypatch, which):
    cookie = cookies(monkeypatch)[which]
    assert post(door, cookie, xqueue_header="{}", xqueue_body="{}") == (1, "login_required")
    learner.interface.session.cookies.set(COOKIE, cookie, domain="127.0.0.1", path="/")
    learner.submit(SQUARE)
    assert (learner.queued, len(systems.legacy_rows())) == ([True], 1)


def test_a_good_cookie_lets_in(systems, door):
    form = {"username": ACCOUNT[0], "password": ACCOUNT[1]}
    cookie = requests.post(f"{door}/xqueue/login/", data=form, timeout=10).cookies[COOKIE]
    assert post(door, cookie, xqueue_header="{}", xqueue_body="{}") == (1, "Queue request has invalid format")


def test_a_process_without_the_variable_takes_nothing_and_says_why(systems, classroom, door_environment):
    with running_lms(door_environment) as server:
        learner = classroom.learner(f"{server.url}/migration_shim", basic=HTTPBasicAuth(*ACCOUNT))
        learner.submit(SQUARE)
        health = requests.get(f"{server.url}/migration_shim/healthz", timeout=10).json()
    reason = "This process does not take submissions: it was started without MIGRATION_SHIM_SUBMIT_DOOR=1"
    assert learner.messages == [refusal(reason)]
    assert (learner.queued, systems.legacy_rows(), health["submit_door"]) == ([False], [], "closed")


def test_the_platforms_session_rules_do_not_reach_the_door(systems, classroom, door, settings):
    # What would refuse submissions if the door used Django's sessions, over plain HTTP and with two clients at once.
    assert (settings.SESSION_COOKIE_SECURE, settings.SESSION_COOKIE_DOMAIN) == (True, ".example.edu")
    assert settings.PREVENT_CONCURRENT_LOGINS is True
    one, other = (classroom.learner(door, account=ACCOUNT) for _ in range(2))
    sent = []
    for learner in (one, other):
        own = learner.interface._login
        learner.interface._login = lambda own=own: sent.append("login") or own()
    for learner in (one, other, one, other):
        learner.submit(SQUARE)
        assert learner.queued == [True]
    assert sent == ["login", "login"]
    assert LoginSession.objects.count() == 0
    jar = {cookie.name: cookie for cookie in one.interface.session.cookies}
    assert list(jar) == [COOKIE]
    assert (jar[COOKIE].domain, jar[COOKIE].domain_specified, jar[COOKIE].secure) == ("127.0.0.1", False, False)
    assert jar[COOKIE].has_nonstandard_attr("HttpOnly")


# --- XQueue's words ---------------------------------------------------------------------------------------------------


def test_get_login_answers_and_sets_the_csrf_cookie(door):
    answer = requests.get(f"{door}/xqueue/login/", timeout=10)
    assert (answer.status_code, answer.json()["return_code"]) == (200, 0)
    assert "csrftoken=" in answer.headers["Set-Cookie"]


HEADER = json.dumps({"lms_callback_url": CALLBACK, "lms_key": "k", "queue_name": QUEUE})
SAME_WORDS = {
    "accepted": {"xqueue_header": HEADER, "xqueue_body": "{}"},
    "body not JSON": {"xqueue_header": HEADER, "xqueue_body": "rubbish"},
    "no header": {"xqueue_body": "{}"},
    "no body": {"xqueue_header": HEADER},
    "header not JSON": {"xqueue_header": "{", "xqueue_body": "{}"},
    "header a list": {"xqueue_header": "[]", "xqueue_body": "{}"},
    "no key": {"xqueue_header": json.dumps({"lms_callback_url": CALLBACK, "queue_name": QUEUE}), "xqueue_body": "{}"},
    "unknown queue": {"xqueue_header": HEADER.replace(QUEUE, "nowhere"), "xqueue_body": "{}"},
    "key a number": {"xqueue_header": HEADER.replace('"k"', "5"), "xqueue_body": "{}"},
    "queue a number": {"xqueue_header": HEADER.replace(f'"{QUEUE}"', "5"), "xqueue_body": "{}"},
    "no course in the callback": {"xqueue_header": HEADER.replace("/courses/", "/c/"), "xqueue_body": "{}"},
}


class Door(Client):
    """The same client, logged in at the door; it insists on XQueue's status and form, and on JSON's own type."""

    content_type = "application/json"

    def __init__(self, url):
        super().__init__(url, login=False)
        username, password = ACCOUNT
        assert self.post("login/", username=username, password=password) == (0, "Logged in")


@pytest.mark.parametrize("which", SAME_WORDS)
def test_the_door_answers_in_xqueues_own_words(systems, door, which):
    at_xqueue = Client(systems.xqueue.url).post("submit/", **SAME_WORDS[which])
    with_legacy = len(systems.legacy_rows())
    systems.forget_legacy_rows()
    assert Door(door).post("submit/", **SAME_WORDS[which]) == at_xqueue
    assert len(systems.legacy_rows()) == with_legacy


def test_the_other_answers_are_xqueues_too(systems, door):
    xqueue, ours = Client(systems.xqueue.url), Door(door)
    assert ours.get("submit/") == xqueue.get("submit/")
    for fields in ({"username": "a"}, {"username": "a", "password": "b"}):
        assert ours.post("login/", **fields) == xqueue.post("login/", **fields)


def test_the_queue_length_goes_up(systems, classroom, door):
    learners = [classroom.learner(door, account=ACCOUNT) for _ in range(3)]
    for learner in learners:
        learner.submit(SQUARE)
    assert [learner.messages for learner in learners] == [["1"], ["2"], ["3"]]
