"""The login of graders: it tells nothing of other accounts, guesses are few, and nobody is locked out by others."""

from types import SimpleNamespace

import pytest
from django.contrib.auth import get_user_model, hashers
from django.core.cache import cache
from django.test import Client

from migration_shim.doors import grader_login
from migration_shim.lms import shared_cache
from tests.builders import rows
from tests.builders.rows import fresh  # noqa: F401
from tests.builders.watchers import PREFIX, account, parts

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
REFUSED = (1, "Incorrect login credentials")


def log_in(name="grader", password="pw", address="10.0.0.1", **headers):
    """return_code and content of a login from an address."""
    client = Client(raise_request_exception=False, **rows.HOST)
    form = {"username": name, "password": password}
    return parts(client.post(f"{PREFIX}/login/", form, REMOTE_ADDR=address, **headers))


@pytest.fixture
def hashed(monkeypatch):
    """How often a password was hashed."""
    found = []
    for hasher in {type(hasher) for hasher in hashers.get_hashers()}:
        original = hasher.encode

        def encode(self, password, salt, *args, original=original, **kwargs):
            found.append(password)
            return original(self, password, salt, *args, **kwargs)

        monkeypatch.setattr(hasher, "encode", encode)
    return found


@pytest.fixture
def counted(monkeypatch):
    """What the login has counted."""
    found = []
    monkeypatch.setattr(grader_login, "count", lambda event, error=None: found.append(event))
    return found


def test_the_password_of_an_account_outside_the_group_is_never_looked_at(hashed, monkeypatch):
    account("teacher", group="staff")
    asked = []
    monkeypatch.setattr(grader_login, "authenticate", lambda *args, **kwargs: asked.append(kwargs))
    for password in ("pw", "wrong"):
        assert log_in("teacher", password) == REFUSED
    assert asked == []


@pytest.mark.parametrize(
    ("name", "password"),
    [("teacher", "pw"), ("teacher", "no"), ("nobody", "pw"), ("grader", "no"), ("GRADER", "pw")],
)
def test_every_refusal_costs_one_hash_and_says_the_same(hashed, name, password):
    account()
    account("teacher", group="staff")
    hashed.clear()
    assert log_in(name, password) == REFUSED
    assert hashed == [password]


@pytest.mark.parametrize("name", ["", " ", "grader ", "\U0001d4b3", "a" * 5000, "gr\0der"])
def test_a_name_that_no_account_can_have_is_refused_in_words(name):
    account()
    assert log_in(name) == REFUSED


def test_ten_wrong_passwords_are_the_last_for_a_while(hashed, counted):
    account()
    for _ in range(grader_login.FAILURES):
        assert log_in(password="wrong") == REFUSED
    hashed.clear()
    assert log_in(password="wrong") == REFUSED and log_in() == REFUSED
    assert hashed == []
    assert counted == ["login_limited", "login_limited"]
    cache.clear()  # it is over
    assert log_in() == (0, "Logged in")


def test_accounts_that_do_not_exist_are_limited_alike(hashed):
    for _ in range(grader_login.FAILURES + 5):
        assert log_in("nobody") == REFUSED
    assert len(hashed) == grader_login.FAILURES


def test_nobody_is_locked_out_by_somebody_at_another_address_or_with_another_account():
    account()
    account("other")
    for _ in range(grader_login.FAILURES + 1):
        log_in(password="wrong", address="203.0.113.9")
        log_in("other", "wrong")
    assert log_in() == (0, "Logged in")
    assert log_in("other", address="203.0.113.9") == (0, "Logged in")
    assert log_in("other") == REFUSED


def test_a_header_that_anybody_can_write_is_no_address():
    account()
    for number in range(grader_login.FAILURES):
        log_in(password="wrong", HTTP_X_FORWARDED_FOR=f"198.51.100.{number}")
    assert log_in(HTTP_X_FORWARDED_FOR="198.51.100.99") == REFUSED


def test_success_does_not_count_and_changes_no_count(hashed):
    account()
    for _ in range(grader_login.FAILURES * 2):
        assert log_in() == (0, "Logged in")


class Broken:
    """A cache whose server is gone."""

    def get(self, *args, **kwargs):
        raise ConnectionError

    add = incr = set = get


def test_a_cache_that_raises_limits_nobody_and_is_logged(monkeypatch, counted, caplog):
    account()
    monkeypatch.setattr(shared_cache, "cache", Broken())
    for _ in range(grader_login.FAILURES + 1):
        assert log_in(password="wrong") == REFUSED
    assert log_in() == (0, "Logged in")
    assert set(counted) == {"login_not_limited"}
    assert "guesses are not limited" in caplog.text


def test_no_name_and_no_password_is_written_down(monkeypatch, caplog):
    account()
    keys = []
    # In the place of the whole: a thread that asks has a connection of its own.
    whole = SimpleNamespace(get=lambda key, default: default, add=lambda key, *args: keys.append(key), incr=keys.append)
    monkeypatch.setattr(shared_cache, "cache", whole)
    log_in("grader", "s3cret-pw")
    assert keys and not any(word in text for text in [*keys, caplog.text] for word in ("grader", "s3cret", "10.0.0.1"))


def test_the_door_of_the_lms_is_limited_by_nobody(shim):
    """Its learners wait; its secrets are no passwords that people make up."""
    shim(SUBMIT_USERS={"lms": "secret"})
    for _ in range(grader_login.FAILURES + 1):
        assert log_in("lms", "wrong") == REFUSED
    assert log_in("lms", "secret") == (0, "Logged in")


def test_an_account_that_has_left_the_group_is_out():
    account()
    get_user_model().objects.get(username="grader").groups.clear()
    assert log_in() == REFUSED


def test_an_account_that_is_not_active_is_refused_as_any_other(hashed):
    """The platform's backend lets it in (AllowAllUsersModelBackend), and every poll after that would be a 403."""
    account()
    get_user_model().objects.filter(username="grader").update(is_active=False)
    hashed.clear()  # the account's own
    client = Client(raise_request_exception=False, **rows.HOST)
    assert parts(client.post(f"{PREFIX}/login/", {"username": "grader", "password": "pw"})) == REFUSED
    assert "sessionid" not in client.cookies
    assert len(hashed) == 1
    assert client.get(f"{PREFIX}/get_submission/", {"queue_name": rows.QUEUE}).status_code == 403
