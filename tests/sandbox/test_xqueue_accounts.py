"""XQueue's login, logout, status, and what a client sees without a session."""

import pytest

from tests.builders.xqueue_server import Client


@pytest.fixture
def stranger(xqueue_server):
    return Client(xqueue_server.url, login=False)


def test_get_login_is_what_a_client_reads_as_an_expired_session(stranger):
    assert stranger.get("login/") == (1, "login_required")


@pytest.mark.parametrize(
    ("form", "answer"),
    [
        ({"username": "lms", "password": "lms-password"}, (0, "Logged in")),
        ({"username": "lms", "password": "wrong"}, (1, "Incorrect login credentials")),
        ({"username": "nobody", "password": "lms-password"}, (1, "Incorrect login credentials")),
        ({"username": "lms"}, (1, "Insufficient login info")),
        ({}, (1, "Insufficient login info")),
        ({"password": "lms-password"}, 500),
    ],
)
def test_login_answers_200_whatever_the_credentials(stranger, form, answer):
    assert stranger.post("login/", **form) == answer


def test_logout_ends_the_session(xqueue_server):
    client = Client(xqueue_server.url)
    assert client.get("get_queuelen/", queue_name="exu-py1")[0] == 0
    assert client.get("logout/") == (0, "Goodbye")
    assert client.get("get_queuelen/", queue_name="exu-py1") == 302


def test_logout_without_a_session(stranger):
    assert stranger.post("logout/") == (0, "Goodbye")


def test_status_needs_no_session(stranger):
    assert stranger.get("status/") == (0, "OK")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "get_queuelen/?queue_name=exu-py1"),
        ("GET", "get_submission/?queue_name=exu-py1"),
        ("POST", "put_result/"),
        ("POST", "submit/"),
        ("GET", "submit/"),
    ],
)
def test_without_a_session_every_other_endpoint_redirects_to_login(stranger, method, path):
    answer = stranger.session.request(method, stranger.url + path, allow_redirects=False)
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith("/xqueue/login/?next=/xqueue/" + path.partition("?")[0])


def test_following_that_redirect_gives_login_required(stranger):
    answer = stranger.session.get(stranger.url + "get_submission/?queue_name=exu-py1")
    assert answer.json() == {"return_code": 1, "content": "login_required"}


def test_no_endpoint_asks_for_a_csrf_token_where_xqueue_does_not(stranger):
    # Only those that clients post to are exempt.
    assert stranger.post("login/", username="lms", password="lms-password") == (0, "Logged in")
    assert stranger.post("put_result/") == (1, "Incorrect reply format")
    assert stranger.post("get_submission/") == 403


def test_any_number_of_sessions_of_one_account(xqueue_server):
    clients = [Client(xqueue_server.url) for _ in range(3)]
    assert [client.get("get_queuelen/", queue_name="exu-py1")[0] for client in clients] == [0, 0, 0]


def test_a_path_without_the_slash_is_redirected(stranger):
    assert stranger.get("status") == 301
