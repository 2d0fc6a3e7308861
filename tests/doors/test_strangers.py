"""The door and the sink, asked by somebody who does not belong there."""

import json

import pytest
from django.core import signing
from django.test import Client

from migration_shim.doors import submit_login, views
from migration_shim.legacy import client as legacy_client
from tests.builders import rows
from tests.builders.rows import fresh  # noqa: F401

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
LOGIN, SUBMIT = "/migration_shim/xqueue/login/", "/migration_shim/xqueue/submit/"
TOKEN = "0123456789abcdef" * 2
NOT_POST = {"return_code": 1, "content": "Queue requests should use HTTP POST"}
LOGIN_REQUIRED = {"return_code": 1, "content": "login_required"}


@pytest.fixture
def counted(monkeypatch):
    """What the views have counted."""
    found = []
    monkeypatch.setattr(views, "count", lambda event, error=None: found.append(event))
    return found


@pytest.fixture(autouse=True)
def door(monkeypatch, settings):
    """An open door with one account."""
    monkeypatch.setenv("MIGRATION_SHIM_SUBMIT_DOOR", "1")
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"SUBMIT_USERS": {"lms": "secret"}}


def logged_in():
    """A client with the door's cookie."""
    client = Client(raise_request_exception=False, **rows.HOST)
    assert client.post(LOGIN, {"username": "lms", "password": "secret"}).json()["return_code"] == 0
    return client


# --- the sink -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "token",
    [" ", "%20%20", "%00", TOKEN.upper(), f"{TOKEN}%20", TOKEN[:-1], f"%20{TOKEN}", "ä" * 32, "'" * 32, "0%00"],
)
def test_a_token_that_is_not_the_very_one_is_nobodys(counted, token):
    rows.entries(1)  # without a token
    rows.entries(1, sink_token=TOKEN)
    answer = Client(raise_request_exception=False, **rows.HOST).post(f"/migration_shim/sink/{token}/", {})
    assert answer.status_code == 200
    assert counted == ["sink_unknown_token"]


def test_the_very_one_is_its_entrys(counted):
    rows.entries(1)
    rows.entries(1, sink_token=TOKEN)
    assert Client(**rows.HOST).post(f"/migration_shim/sink/{TOKEN}/", {}).status_code == 200
    assert counted == []


# --- the alarm of a loop ------------------------------------------------------------------------------------------


def test_a_stranger_cannot_set_off_the_alarm_of_a_loop(counted, caplog):
    for said in ("1", "abc", "", "abc:xyz", "abc" + ":" * 50):
        answer = Client(**rows.HOST).post(SUBMIT, {}, headers={legacy_client.SENT_BY_SHIM: said})
        assert answer.json() == LOGIN_REQUIRED
        assert logged_in().get(SUBMIT, headers={legacy_client.SENT_BY_SHIM: said}).json() == NOT_POST
    assert counted == [] and "leads to the submit door itself" not in caplog.text


def test_what_the_router_sends_sets_it_off(counted):
    said = legacy_client.sent_by_shim("0123456789abcdef")
    assert said.startswith("0123456789abcdef:")
    answer = Client(**rows.HOST).post(SUBMIT, {}, headers={legacy_client.SENT_BY_SHIM: said})
    assert answer.json() == {"return_code": 1, "content": "cannot connect to server"}
    assert counted == ["door_refused_loop"]


def test_another_lms_at_the_same_door_is_no_loop(settings):
    said = legacy_client.sent_by_shim("1")
    settings.SECRET_KEY = "of another one"
    assert Client(**rows.HOST).post(SUBMIT, {}, headers={legacy_client.SENT_BY_SHIM: said}).json() == LOGIN_REQUIRED


# --- the door's cookie --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("users", [{"lms": "new secret"}, {"other": "secret"}, {}, {"lms": "secret "}])
def test_a_cookie_ends_with_the_password_that_it_was_given_for(settings, users):
    client = logged_in()
    assert client.get(SUBMIT).json() == NOT_POST
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"SUBMIT_USERS": users}
    assert client.get(SUBMIT).json() == LOGIN_REQUIRED


@pytest.mark.parametrize("value", ["lms", ["lms"], ["lms", ""], ["lms", None], [["lms"], "x"], {"lms": 1}, None, 1])
def test_a_cookie_of_another_form_is_none(value):
    client = Client(**rows.HOST)
    client.cookies[submit_login.COOKIE] = signing.dumps(value, salt="migration_shim.submit")
    assert client.get(SUBMIT).json() == LOGIN_REQUIRED


def test_the_cookie_does_not_hold_the_password():
    value = logged_in().cookies[submit_login.COOKIE].value
    assert "secret" not in json.dumps(signing.loads(value, salt="migration_shim.submit"))


# --- what an answer is --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "url"), [("get", LOGIN), ("post", LOGIN), ("get", SUBMIT), ("post", SUBMIT)])
def test_json_is_sent_as_json(method, url):
    answer = getattr(Client(**rows.HOST), method)(url)
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("accept", ["text/html", "*/*", "application/json", "image/png"])
def test_the_seam_sends_nothing_else_whatever_is_asked_for(accept):
    answer = Client(**rows.HOST).get("/migration_shim/xqueue/status/", headers={"Accept": accept})
    assert answer.headers["Content-Type"] == "application/json"
