"""Watchers that log in at edx-submissions' own endpoint are known to status by their address."""

import io
import json
import threading
from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import OperationalError, connections
from django.http import HttpRequest
from django.test import Client
from django.utils.timezone import now

from migration_shim import api
from migration_shim.models import WatcherLogin
from migration_shim.target import logins
from tests.builders import rows
from tests.builders.rows import fresh  # noqa: F401
from tests.builders.watchers import COMMITTED, Watcher, account, parts

pytestmark = COMMITTED
UPSTREAM = "/xqueue"


def log_in(name="grader", prefix=UPSTREAM, address="10.1.2.3", password="pw", **meta):
    """Log in as a watcher does; the status of the answer."""
    client = Client(enforce_csrf_checks=True, **rows.HOST)
    client.get(f"{prefix}/login/")
    cookie = client.cookies.get("csrftoken")  # none of upstream before 4.0.1
    token = {"HTTP_X_CSRFTOKEN": cookie.value} if cookie else {}
    form, referer = {"username": name, "password": password}, "https://courses.example.edu"
    return client.post(f"{prefix}/login/", form, HTTP_REFERER=referer, **token, REMOTE_ADDR=address, **meta).status_code


def stored():
    return list(WatcherLogin.objects.order_by("pk").values_list("address", "logins"))


def status():
    return api.status([]).content["watchers_past_the_seam"]


def test_the_address_is_noted_with_its_first_and_its_newest_login():
    rows.Grader()  # the tests' own grader at that endpoint, from the test client's address
    assert stored() == [("127.0.0.1", 1)]
    WatcherLogin.objects.update(first_seen_at=now() - timedelta(days=2), last_seen_at=now() - timedelta(days=1))
    assert log_in(address="127.0.0.1") == 200
    assert log_in(address="2001:DB8::1") == 200
    assert stored() == [("127.0.0.1", 2), ("2001:db8::1", 1)]
    first, second = WatcherLogin.objects.order_by("pk")
    assert now() - first.last_seen_at < timedelta(minutes=1) < timedelta(days=1) < now() - first.first_seen_at
    assert abs(second.last_seen_at - second.first_seen_at) < timedelta(seconds=1)


def test_only_graders_who_got_in_past_the_seam_are_noted():
    account()
    account("teacher", group=None)
    assert log_in("teacher") == 200
    assert log_in(password="wrong") == 401
    assert Client(**rows.HOST).get("/xqueue/login/").status_code in (200, 403)  # the latter before 4.0.1
    assert parts(Watcher().logged_in) == (0, "Logged in")  # at the seam
    client = Client(**rows.HOST)
    assert client.post("/login", {"username": "grader", "password": "pw"}).status_code == 302  # as a person
    client.force_login(get_user_model().objects.get(username="grader"))
    assert stored() == []


def test_what_a_client_writes_into_its_request_is_not_believed():
    account()
    log_in(HTTP_X_FORWARDED_FOR="6.6.6.6", HTTP_X_REAL_IP="6.6.6.6", HTTP_FORWARDED="for=6.6.6.6")
    assert stored() == [("10.1.2.3", 1)]


@pytest.mark.parametrize("address", ["", "unix:", "x" * 5000, "10.1.2.3\n", "<script>"])
def test_what_is_no_address_is_unknown(address):
    account()
    assert log_in(address=address) == 200
    assert stored() == [("unknown", 1)]


def test_the_newest_twenty_are_kept():
    account()
    WatcherLogin.objects.bulk_create(
        WatcherLogin(address=f"10.0.0.{number}", logins=1, last_seen_at=now() - timedelta(hours=number))
        for number in range(1, 31)
    )
    log_in(address="10.9.9.9")
    found = [login["address"] for login in status()["logins"]]
    assert found == ["10.9.9.9", *(f"10.0.0.{number}" for number in range(1, 20))]


@pytest.mark.parametrize("broken", ["get_or_create", "filter"])
def test_a_login_succeeds_though_it_cannot_be_noted(monkeypatch, broken):
    account()
    log_in(address="127.0.0.1")

    def fail(*words, **options):
        raise OperationalError("the table is gone")

    counted = []
    monkeypatch.setattr(logins, "count", lambda event, error=None: counted.append((event, type(error))))
    monkeypatch.setattr(WatcherLogin.objects, broken, fail)
    grader = Watcher(prefix=UPSTREAM)
    assert grader.logged_in.status_code == 200
    assert counted == [("watcher_login_not_recorded", OperationalError)]
    assert grader.get("get_submission", queue_name=rows.QUEUE).status_code != 403  # the session stands
    monkeypatch.undo()
    assert stored() == [("127.0.0.1", 1)]


@pytest.mark.parametrize("request_of_a_login", [None, HttpRequest(), object()])
def test_a_login_of_another_kind_is_let_pass(request_of_a_login):
    account()
    user = get_user_model().objects.get()
    logins.on_login(sender=type(user), request=request_of_a_login, user=user)
    assert stored() == []


def test_logins_at_once_are_all_counted():
    names = [f"grader{number}" for number in range(4)]  # an LMS lets a user have one session
    for name in names:
        account(name)
    start, codes = threading.Barrier(4), []

    def one(name):
        start.wait()
        codes.append(log_in(name))
        connections.close_all()

    threads = [threading.Thread(target=one, args=[name]) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [200] * 4
    assert stored() == [("10.1.2.3", 4)]


def test_status_names_them_and_where_to_point_them():
    assert status() == {"point_them_at": "https://courses.example.edu/migration_shim", "logins": []}
    account()
    log_in()
    login = WatcherLogin.objects.get()
    assert status()["logins"] == [
        {
            "address": "10.1.2.3",
            "first_seen_at": login.first_seen_at.isoformat(),
            "last_seen_at": login.last_seen_at.isoformat(),
            "logins": 1,
        }
    ]
    output = io.StringIO()
    call_command("xqueue_status", stdout=output)
    said = " ".join(output.getvalue().split())
    assert f"own endpoint: 10.1.2.3, last login {login.last_seen_at.isoformat()}, 1 logins" in said
    assert "point them at https://courses.example.edu/migration_shim" in said
    output = io.StringIO()
    call_command("xqueue_status", format="json", stdout=output)
    assert json.loads(output.getvalue())["watchers_past_the_seam"] == status()
