"""Who answers where: the real XQueue stand-in, a server of the app, closed ports, and services that are neither."""

import functools
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.contrib.sessions.models import Session
from pytest_django.live_server_helper import LiveServer

from migration_shim.conf import load
from migration_shim.db import timeouts
from migration_shim.models import LegacySubmission
from migration_shim.preflight import connectivity
from migration_shim.runs import records as runs
from sandbox.network import free_port, proxied_session
from tests.builders.rows import fresh  # noqa: F401
from tests.builders.xqueue_server import recording_lms, start_xqueue, xqueue_server  # noqa: F401

#: For a test with all servers up.
served = pytest.mark.usefixtures("site")
PASSWORDS = ("lms-password", "door-password", "grader-password")
LMS = "https://courses.example.edu"


@pytest.fixture(scope="module")
def app_server(databases_ready, django_db_blocker):
    """The LMS stand-in, in this process: its settings are the test's. One grader may log in."""
    with django_db_blocker.unblock():
        user = get_user_model().objects.create_user("preflight", password="grader-password")
        group, _ = Group.objects.get_or_create(name="xqueue")
        server = LiveServer("127.0.0.1")
        try:
            yield server
        finally:
            server.stop()
            Session.objects.all().delete()
            user.delete()
            group.delete()


@pytest.fixture
def site(settings, xqueue_server, app_server, monkeypatch):  # noqa: F811
    """
    XQueue, the submit door and the watcher seam, all well; the public name of the LMS leads to the door's process.

    Any other name is not to be reached, and none is looked up.
    """
    monkeypatch.setenv("MIGRATION_SHIM_SUBMIT_DOOR", "1")
    hosts = {"courses.example.edu": app_server.url.removeprefix("http://")}
    monkeypatch.setattr(connectivity, "_session", lambda access: proxied_session(hosts))
    Group.objects.get(name="xqueue").user_set.set(get_user_model().objects.filter(username="preflight"))
    settings.LMS_ROOT_URL = LMS
    settings.XQUEUE_INTERFACE = {
        "url": f"{app_server.url}/migration_shim/",
        "django_auth": {"username": "lms", "password": "door-password"},
        "basic_auth": None,
    }
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {
        "LEGACY_URL": xqueue_server.url,
        "LEGACY_USERNAME": "lms",
        "LEGACY_PASSWORD": "lms-password",
        "SUBMIT_USERS": {"lms": "door-password"},
        "PREFLIGHT_GRADERS": {"preflight": "grader-password"},
        "HAND_OUT_SECONDS": 60,  # a busy machine is no slow seam
    }


@pytest.fixture
def shim(settings):
    def change(**values):
        settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | values

    return change


@pytest.fixture
def lms(settings):
    """Change XQUEUE_INTERFACE."""

    def change(**values):
        settings.XQUEUE_INTERFACE = settings.XQUEUE_INTERFACE | values

    return change


def found(findings=None):
    """What each finding says; no password is in any of it."""
    findings = list(connectivity.findings(load()) if findings is None else findings)
    shown = repr([finding.document() for finding in findings])
    assert not [password for password in PASSWORDS if password in shown]
    return {finding.rule.code: finding.about for finding in findings}


def nowhere():
    return f"http://127.0.0.1:{free_port()}"


@served
def test_where_all_answer_there_is_nothing_to_say():
    rows, sessions = LegacySubmission.objects.count(), Session.objects.count()
    assert found() == {}
    # A login leaves a session behind, and nothing else is written.
    assert (LegacySubmission.objects.count(), Session.objects.count()) == (rows, sessions + 1)


def test_no_account_is_kept_with_a_run(shim):
    shim(PREFLIGHT_GRADERS={"preflight": "grader-password"})
    kept = repr(runs.settings_of(load()))
    assert "grader-password" not in kept
    assert "'preflight'" not in kept


# XQueue


@served
def test_an_xqueue_that_cannot_be_reached(shim):
    shim(LEGACY_URL=nowhere())
    assert found() == {"xqueue_unreachable": "cannot connect to server"}


@served
@pytest.mark.parametrize("named", [True, False], ids=["in both settings", "in the platform's"])
def test_an_xqueue_that_is_down_where_the_lms_submits_too_is_one_cause(shim, lms, named):
    url = nowhere()
    shim(LEGACY_URL=url if named else None)
    lms(url=f"{url}/")
    said = "cannot connect to server; learners cannot submit: the LMS posts there too"
    assert found() == {"xqueue_unreachable": said}


@served
def test_a_door_that_is_down_beside_xqueue_is_a_cause_of_its_own(shim, lms):
    shim(LEGACY_URL=nowhere())
    lms(url=nowhere())
    assert list(found()) == ["xqueue_unreachable", "door_unreachable"]


@served
def test_an_account_that_xqueue_does_not_know(shim):
    shim(LEGACY_USERNAME="somebody")
    assert found() == {"xqueue_unreachable": "Incorrect login credentials"}


@served
def test_without_an_address_of_xqueue(shim, settings):
    shim(LEGACY_URL=None, PYTHON_DOOR=True)
    settings.XQUEUE_INTERFACE = None
    (said,) = found().values()
    assert said.startswith("Neither MIGRATION_SHIM")


@served
def test_what_is_configured_as_xqueue_may_be_the_door_itself(shim, app_server):
    shim(LEGACY_URL=f"{app_server.url}/migration_shim")
    assert found() == {"legacy_is_door": ""}
    shim(LEGACY_URL=None)  # it is taken from XQUEUE_INTERFACE then
    assert found() == {"legacy_is_door": ""}


# The door


@served
def test_a_process_that_was_not_started_as_the_door(monkeypatch):
    monkeypatch.setenv("MIGRATION_SHIM_SUBMIT_DOOR", "0")
    assert found() == {"door_closed": ""}


@served
def test_an_account_that_the_door_does_not_know(shim, lms):
    for users in ({}, {"lms": "other"}, {"other": "door-password"}):
        shim(SUBMIT_USERS=users)
        assert found() == {"door_refuses": "Incorrect login credentials"}
    # Graders log in at the same place.
    lms(django_auth={"username": "preflight", "password": "grader-password"})
    assert found() == {"door_refuses": "login_required"}


@served
def test_an_lms_that_submits_to_xqueue_itself(lms, xqueue_server, shim):  # noqa: F811
    lms(url=xqueue_server.url)
    assert found() == {"no_door": "XQueue itself answers there"}
    shim(PYTHON_DOOR=True)
    assert found() == {}


@served
def test_an_address_without_the_apps_prefix(lms, app_server):
    lms(url=app_server.url)
    assert found() == {"door_unreachable": "HTTP status 403"}  # edx-submissions' own endpoint


# The watcher seam


@served
def test_a_seam_that_is_not_reached_from_here(settings):
    settings.LMS_ROOT_URL = "https://elsewhere.example.edu"
    assert found() == {"seam_unreachable": "https://elsewhere.example.edu/migration_shim/healthz"}
    settings.LMS_ROOT_URL = ""
    assert found() == {"seam_unreachable": "/migration_shim/healthz"}


@served
def test_a_seam_at_which_nobody_logs_in(shim):
    shim(PREFLIGHT_GRADERS={})
    assert found() == {"seam_untried": ""}


@served
def test_a_seam_that_is_slower_than_its_graders_wait(shim):
    shim(HAND_OUT_SECONDS=0.00001)
    about = found().pop("seam_slow")
    assert about.startswith("preflight: ") and about.endswith(" s, of 1e-05")


@served
def test_an_account_that_may_pull_other_queues_only_is_let_in(shim):
    shim(GRADER_QUEUES={"grader": ["exu-py1"]})
    assert found() == {}


@served
def test_an_account_that_the_seam_does_not_know(shim):
    for name, password in (("preflight", "wrong"), ("nobody", "grader-password")):
        shim(PREFLIGHT_GRADERS={"preflight": "grader-password"} | {name: password})
        assert found() == {"seam_refuses": f"{name}: Incorrect login credentials"}
    shim(PREFLIGHT_GRADERS={"preflight": "grader-password"})
    Group.objects.get(name="xqueue").user_set.clear()
    assert found() == {"seam_refuses": "preflight: Incorrect login credentials"}


@served
def test_a_seam_over_http_where_cookies_are_secure(settings, app_server):
    settings.LMS_ROOT_URL = app_server.url
    assert found() == {"seam_refuses": "preflight: HTTP status 403"}


# Services that are neither


@pytest.fixture
def service():
    """Start a service that answers every request as it is told."""
    servers = []

    def start(answer):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                answer(self)

            do_POST = do_GET

            def log_message(self, *args):
                """Keep the test output clean."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def says(text, status=200, **headers):
    def answer(handler):
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(text.encode())

    return answer


NEITHER = {
    "a web page": (says("<html>"), "unexpected reply from server"),
    "JSON of another kind": (says("[1, 2]"), "unexpected reply from server"),
    "deep JSON": (says("[" * 60_000), "unexpected reply from server"),
    "a redirect": (says("", 302, Location="/xqueue/status/"), "HTTP status 302"),
    "an error": (says("", 500), "HTTP status 500"),
    "a password sent back": (
        says('{"return_code": 1, "content": "door-password"}'),
        "an answer with the password in it",
    ),
    "a long complaint": (says('{"return_code": 1, "content": "' + "x" * 5000 + '"}'), "x" * 200),
}


@pytest.fixture
def at_the_door(settings):
    """What is found where the LMS submits to a URL."""

    def look(url):
        account = {"username": "lms", "password": "door-password"}
        settings.XQUEUE_INTERFACE = {"url": url, "django_auth": account}
        return found(connectivity._door())

    return look


@pytest.mark.parametrize(("answer", "said"), NEITHER.values(), ids=NEITHER)
def test_what_answers_at_the_doors_address_may_be_anything(at_the_door, service, answer, said):
    assert at_the_door(service(answer)) == {"door_unreachable": said}


def test_a_door_that_does_not_answer_or_is_not_named(at_the_door, settings):
    assert at_the_door(nowhere()) == {"door_unreachable": "no answer (ConnectionError)"}
    (said,) = at_the_door("no URL").items()
    # Which of the two depends on the release of requests.
    assert said in {("door_unreachable", f"no answer ({error})") for error in ("InvalidURL", "MissingSchema")}
    assert at_the_door(None) == {"no_door": 'XQUEUE_INTERFACE["url"] is not set'}
    settings.XQUEUE_INTERFACE = None
    assert found(connectivity._door()) == {"no_door": 'XQUEUE_INTERFACE["url"] is not set'}


def test_an_endless_answer_is_not_read_to_its_end(at_the_door, service):
    sent = []

    def endless(handler):
        handler.send_response(200)
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b"x" * 65536)
                sent.append(1)
        except OSError:
            return

    assert at_the_door(service(endless)) == {"door_unreachable": "unexpected reply from server"}
    assert len(sent) < 1000


def test_a_service_that_says_nothing_is_given_up(at_the_door, service, monkeypatch):
    ended = threading.Event()
    monkeypatch.setitem(connectivity._OPTIONS, "timeout", (1, 0.2))
    began = time.monotonic()
    silent = service(lambda handler: ended.wait(60))
    assert at_the_door(silent) == {"door_unreachable": "no answer (ReadTimeout)"}
    assert time.monotonic() - began < 30
    ended.set()


def test_a_service_that_trickles_is_given_up(at_the_door, service, monkeypatch):
    ended = threading.Event()

    def trickle(handler):
        handler.send_response(200)
        handler.end_headers()
        while not ended.wait(0.05):
            try:
                handler.wfile.write(b" ")
            except OSError:
                return

    monkeypatch.setattr(timeouts, "call", functools.partial(timeouts.call, seconds=0.5))
    assert at_the_door(service(trickle)) == {"door_unreachable": "no answer (TimeoutError)"}
    ended.set()
