"""Graders that know nothing of Django's CSRF token, as those that were made for XQueue; and pages of other sites."""

import json

import pytest
from django.test import Client
from submissions.models import ExternalGraderDetail, Score

from sandbox.network import proxied_session
from tests.builders import rows
from tests.builders.rows import fresh  # noqa: F401
from tests.builders.watchers import COMMITTED, PREFIX, SEAM_URL, account, parts, real

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
FORM = {"username": "grader", "password": "pw"}
FOREIGN = [{"HTTP_SEC_FETCH_SITE": "cross-site"}, {"HTTP_ORIGIN": "https://evil.example.org"}, {"HTTP_ORIGIN": "null"}]


@pytest.fixture
def client():
    """A client of a grader's account that sends nothing but its cookies."""
    account()
    return Client(enforce_csrf_checks=True, raise_request_exception=False, **rows.HOST)


def pull(client):
    """What a poll hands out, as the form of a put_result."""
    content = parts(client.get(f"{PREFIX}/get_submission/", {"queue_name": rows.QUEUE}))[1]
    return {"xqueue_header": json.loads(content)["xqueue_header"], "xqueue_body": rows.RIGHT}


def test_a_grader_without_token_and_referer_logs_in_pulls_and_is_heard(client, settings):
    assert "django.middleware.csrf.CsrfViewMiddleware" in settings.MIDDLEWARE
    sent = real()
    assert parts(client.post(f"{PREFIX}/login/", FORM)) == (0, "Logged in")
    assert parts(client.post(f"{PREFIX}/put_result/", pull(client))) == (0, "")
    assert sent.detail.status == "retired"
    assert parts(client.post(f"{PREFIX}/logout/")) == (0, "Goodbye")


@pytest.mark.parametrize("headers", FOREIGN)
@COMMITTED
def test_what_a_browser_sends_for_another_sites_page_is_refused(client, headers):
    real()
    assert parts(client.post(f"{PREFIX}/login/", FORM, **headers)) == (1, "Requests of other sites are refused")
    assert "sessionid" not in client.cookies
    client.post(f"{PREFIX}/login/", FORM)
    form = pull(client)
    for action in ("put_result", "logout"):
        assert client.post(f"{PREFIX}/{action}/", form, **headers).status_code == 403
    assert Score.objects.count() == 0
    # A page of this site may, and so may whoever is no browser.
    own = {"HTTP_ORIGIN": "https://courses.example.edu", "HTTP_SEC_FETCH_SITE": "same-origin"}
    assert parts(client.post(f"{PREFIX}/put_result/", form, **own)) == (0, "")


@COMMITTED
def test_over_the_network_too(servers):
    account()
    real()
    session = proxied_session()
    assert session.post(f"{SEAM_URL}/xqueue/login/", data=FORM, timeout=10).json()["return_code"] == 0
    answer = session.get(f"{SEAM_URL}/xqueue/get_submission/", params={"queue_name": rows.QUEUE}, timeout=10).json()
    form = {"xqueue_header": json.loads(answer["content"])["xqueue_header"], "xqueue_body": rows.RIGHT}
    answer = session.post(f"{SEAM_URL}/xqueue/put_result/", data=form, timeout=10)
    assert (answer.status_code, answer.json()) == (200, {"return_code": 0, "content": ""})
    assert ExternalGraderDetail.objects.get().status == "retired"
