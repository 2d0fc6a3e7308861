"""A worker is told of what is owed once the request is answered: no learner waits for the broker."""

import threading

import pytest
import requests
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, transaction
from pytest_django.live_server_helper import LiveServer

from migration_shim.copies import after_request, publish
from migration_shim.runs import broker
from tests.builders.attempts import attempt, closed_breakers, put_course_in  # noqa: F401

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "xqueue"])
PATIENCE = 20  # seconds


@pytest.fixture
def sent(monkeypatch):
    """The nudges handed to the broker: there is one, and each is sent."""
    found = []
    monkeypatch.setattr(broker, "is_eager", lambda: False)
    monkeypatch.setattr(broker, "send", lambda settings, after: found.append(after))
    monkeypatch.setattr(publish, "EVERY", 0.0)
    return found


@pytest.fixture
def request_at_work():
    """This thread answers a request; call it for the end. The test's connections stay as they are."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    request_started.send(sender=None)
    yield lambda: request_finished.send(sender=None)
    request_finished.send(sender=None)
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.mark.parametrize("phase", ["shadow", "live"])
def test_the_answer_is_with_its_client_before_the_broker_is_asked(phase, legacy, shim, monkeypatch):
    """Over a real connection: the broker takes nothing until the client has read its answer."""
    put_course_in(phase)
    monkeypatch.setenv("MIGRATION_SHIM_SUBMIT_DOOR", "1")
    shim(SUBMIT_USERS={"capa": "pw"}, COPIES="deferred")
    monkeypatch.setattr(broker, "is_eager", lambda: False)
    monkeypatch.setattr(publish, "_last", -1e9)  # no nudge of the test before
    has_read, told = threading.Event(), threading.Event()
    order = []

    def send(settings, after):
        order.append("asked" if has_read.wait(PATIENCE) else "not answered before")
        told.set()

    monkeypatch.setattr(broker, "send", send)
    one = attempt()
    form = {"xqueue_header": one.request.header, "xqueue_body": one.request.body}
    server = LiveServer("127.0.0.1")
    try:
        headers = {"Host": "courses.example.edu", "X-Forwarded-Proto": "https"}
        url = f"{server.url}/migration_shim/xqueue/submit/"
        answer = requests.post(url, form, auth=("capa", "pw"), headers=headers, timeout=2 * PATIENCE)
        assert answer.json()["return_code"] == 0
        has_read.set()
        assert told.wait(PATIENCE)
    finally:
        has_read.set()
        server.stop()
    assert order == ["asked"]
    assert one.entry().supersession_due is not None


def test_where_nobody_waits_for_an_answer_it_is_told_at_once(sent, legacy, shim):
    put_course_in("live")
    assert attempt().send() == (0, "")
    assert len(sent) == 1


def test_within_a_request_it_is_told_at_the_end_and_not_again(sent, request_at_work, legacy, shim):
    put_course_in("live")
    with transaction.atomic():
        assert attempt().send() == (0, "")
    assert sent == []
    request_at_work()
    assert len(sent) == 1
    request_at_work()
    assert len(sent) == 1
    assert attempt().send() == (0, "")  # outside again
    assert len(sent) == 2


def test_what_a_request_without_an_end_has_left_is_done_at_the_end_of_the_next(request_at_work):
    done = []
    after_request.run_after_answer(lambda: done.append("of the first"))
    request_started.send(sender=None)
    after_request.run_after_answer(lambda: done.append("of the second"))
    assert done == []
    request_at_work()
    assert done == ["of the first", "of the second"]


def test_a_request_of_another_thread_is_none_of_this_one(request_at_work):
    done = []
    other = threading.Thread(target=after_request.run_after_answer, args=(lambda: done.append(1),))
    other.start()
    other.join()
    assert done == [1]
