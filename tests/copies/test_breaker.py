"""The circuit breaker: when it opens and closes again, for whom, and what it costs."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from django.core.cache import cache
from django.core.cache.backends.locmem import LocMemCache
from django.db import connection
from django.test.utils import CaptureQueriesContext

from migration_shim import conf
from migration_shim.copies import breaker
from migration_shim.lms import shared_cache
from sandbox.databases import PROJECT_ROOT

LEG = "shadow"
SETTINGS = conf.ShimSettings(breaker_failures=3, breaker_seconds=30)


class BrokenCache(LocMemCache):
    """A cache whose server is gone."""

    def _gone(self, *args, **kwargs):
        raise ConnectionError("no cache server answers")

    get = set = add = _gone


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """A clock that the test moves, and no state of another test."""
    moment = SimpleNamespace(now=1_800_000_000.0)
    monkeypatch.setattr(breaker, "time", SimpleNamespace(time=lambda: moment.now))
    monkeypatch.setattr(breaker, "_own", {})
    cache.clear()
    yield moment
    cache.clear()


def fail(times, leg=LEG):
    for _ in range(times):
        breaker.failed(leg, SETTINGS)


def pass_span(clock):
    """Let the time of an open breaker pass, for the clock of the test and for that of the cache."""
    clock.now += SETTINGS.breaker_seconds
    cache.delete(f"migration_shim.breaker.{LEG}.try")


def test_it_opens_at_the_limit_and_not_before():
    fail(SETTINGS.breaker_failures - 1)
    assert breaker.allows(LEG)
    assert not breaker.is_open(LEG)
    fail(1)
    assert not breaker.allows(LEG)
    assert breaker.is_open(LEG)


def test_only_failures_in_a_row_count():
    fail(SETTINGS.breaker_failures - 1)
    breaker.succeeded(LEG)
    fail(SETTINGS.breaker_failures - 1)
    assert breaker.allows(LEG)


def test_it_stays_open_for_its_time(clock):
    fail(SETTINGS.breaker_failures)
    clock.now += SETTINGS.breaker_seconds - 0.1
    assert not breaker.allows(LEG)


def test_half_open_lets_one_try_through(clock):
    fail(SETTINGS.breaker_failures)
    pass_span(clock)
    assert [breaker.allows(LEG) for _ in range(4)] == [True, False, False, False]


def test_looking_does_not_take_the_try(clock):
    fail(SETTINGS.breaker_failures)
    pass_span(clock)
    assert breaker.is_open(LEG)
    assert breaker.state(LEG)["failures"] == SETTINGS.breaker_failures
    assert breaker.allows(LEG)


def test_a_try_that_fails_opens_it_again_at_once(clock):
    fail(SETTINGS.breaker_failures)
    pass_span(clock)
    assert breaker.allows(LEG)
    fail(1)
    clock.now += SETTINGS.breaker_seconds - 0.1
    cache.delete(f"migration_shim.breaker.{LEG}.try")
    assert not breaker.allows(LEG)


def test_a_try_that_succeeds_closes_it(clock):
    fail(SETTINGS.breaker_failures)
    pass_span(clock)
    assert breaker.allows(LEG)
    breaker.succeeded(LEG)
    assert all(breaker.allows(LEG) for _ in range(4))
    assert breaker.state(LEG)["failures"] == 0
    fail(SETTINGS.breaker_failures - 1)
    assert breaker.allows(LEG)


def test_a_try_that_nobody_reports_on_is_followed_by_another(clock):
    fail(SETTINGS.breaker_failures)
    pass_span(clock)
    assert [breaker.allows(LEG), breaker.allows(LEG)] == [True, False]
    pass_span(clock)
    assert [breaker.allows(LEG), breaker.allows(LEG)] == [True, False]


def test_the_claim_on_the_try_expires_by_itself(monkeypatch):
    given = []
    monkeypatch.setattr(LocMemCache, "add", lambda self, key, value, timeout: given.append(timeout) or True)
    monkeypatch.setattr(shared_cache, "cache", LocMemCache("claims", {}))
    breaker.failed(LEG, conf.ShimSettings(breaker_failures=1, breaker_seconds=7))
    monkeypatch.setattr(breaker, "time", SimpleNamespace(time=lambda: 1_900_000_000.0))
    assert breaker.allows(LEG)
    assert given == [7]


def test_legs_do_not_open_each_other():
    fail(SETTINGS.breaker_failures)
    assert breaker.allows("reverse")
    assert breaker.allows("legacy_rows")


def test_reset_closes_every_leg():
    for leg in breaker.LEGS:
        fail(SETTINGS.breaker_failures, leg)
        assert not breaker.allows(leg)
    breaker.reset()
    assert all(breaker.allows(leg) and not breaker.is_open(leg) for leg in breaker.LEGS)


def test_without_a_cache_it_works_within_the_process(clock, monkeypatch):
    monkeypatch.setattr(shared_cache, "cache", BrokenCache("broken", {}))
    fail(SETTINGS.breaker_failures - 1)
    assert breaker.allows(LEG)
    fail(1)
    assert not breaker.allows(LEG)
    clock.now += SETTINGS.breaker_seconds
    assert [breaker.allows(LEG), breaker.allows(LEG)] == [True, False]
    clock.now += SETTINGS.breaker_seconds
    assert [breaker.allows(LEG), breaker.allows(LEG)] == [True, False]
    breaker.succeeded(LEG)
    assert breaker.allows(LEG)


def test_what_it_knew_survives_the_loss_of_the_cache(monkeypatch):
    fail(SETTINGS.breaker_failures)
    monkeypatch.setattr(shared_cache, "cache", BrokenCache("broken", {}))
    assert not breaker.allows(LEG)


@pytest.mark.django_db
def test_it_costs_no_query():
    with CaptureQueriesContext(connection) as queries:
        fail(SETTINGS.breaker_failures)
        breaker.allows(LEG)
        breaker.is_open(LEG)
        breaker.succeeded(LEG)
        breaker.reset()
    assert [query["sql"] for query in queries] == []


def test_another_process_sees_it_open_and_closes_it():
    """Through the cache that the LMS's processes share."""
    breaker.failed(LEG, conf.ShimSettings(breaker_failures=1, breaker_seconds=3600))
    code = (
        "import django; django.setup()\n"
        "from migration_shim.copies import breaker\n"
        f"print(breaker.state({LEG!r})['failures'], breaker.is_open({LEG!r}), breaker.is_open('reverse'))\n"
        f"breaker.succeeded({LEG!r})\n"
    )
    env = os.environ | {"DJANGO_SETTINGS_MODULE": "sandbox.lms.settings"}
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT_ROOT, env=env, capture_output=True, text=True, check=True
    )
    assert told.stdout.split() == ["1", "True", "False"]
    assert not breaker.is_open(LEG)
