"""What a submit through the Python door asks of the LMS's database. Every statement is a part of a learner's wait."""

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext

from migration_shim import copy_tasks, publish
from tests.lms import platform, platform_tables  # noqa: F401
from tests.load import course as route

pytestmark = [
    pytest.mark.django_db(databases=["default", "xqueue"], transaction=True),
    pytest.mark.usefixtures("course"),
]


@pytest.fixture
def published(monkeypatch):
    """The nudges handed to the broker: there is one, and each is sent."""
    sent = []
    monkeypatch.setattr(copy_tasks, "is_eager", lambda: False)
    monkeypatch.setattr(copy_tasks, "send", lambda settings, after: sent.append(after))
    monkeypatch.setattr(publish, "EVERY", 0.0)
    return sent


def statements(sent):
    """The statements of one submission by alias, with what django-waffle caches across requests warm."""
    assert route.send(route.submission(999))[0] == 0
    with (
        CaptureQueriesContext(connections["default"]) as default,
        CaptureQueriesContext(connections["xqueue"]) as legacy,
    ):
        assert route.send(sent)[0] == 0
    return [query["sql"][:200] for query in default], [query["sql"][:200] for query in legacy]


def listed(found):
    return f"{len(found)} statements:\n" + "\n".join(found)


def test_in_shadow_with_deferred_copies_a_submit_makes_at_most_6_statements(published):
    route.start_in("shadow")
    default, legacy = statements(route.submission(1))
    assert len(published) == 2
    assert len(default) <= 6, listed(default)
    assert legacy == []


def test_in_live_a_submit_asks_xqueues_database_nothing(published):
    route.start_in("live")
    _, legacy = statements(route.submission(1))
    assert len(published) == 2
    assert legacy == []


def test_in_legacy_a_submit_makes_at_most_4_statements(published):
    route.start_in("legacy")
    default, legacy = statements(route.submission(1))
    assert published == []
    assert len(default) <= 4, listed(default)
    assert legacy == []


def test_a_flag_costs_a_statement_in_every_request(published):
    """The bound is not bought by keeping a flag from one request to the next: a flip counts at once."""
    route.start_in("shadow")
    default, _ = statements(route.submission(1))
    assert sum("flagoverride" in text for text in default) == 1, listed(default)
    assert sum("courseph" in text for text in default) == 1, listed(default)
    route.start_in("legacy")
    nudges = len(published)
    assert route.send(route.submission(2))[0] == 0
    assert len(published) == nudges


@pytest.mark.parametrize(("phase", "bound"), [("shadow", 7), ("legacy", 5)])
@pytest.mark.usefixtures("platform")
def test_inside_an_lms_each_flag_is_one_more_question(published, phase, bound):
    """The platform has no question about two flags: it is asked about each, and about no other course."""
    route.start_in(phase)
    default, _ = statements(route.submission(1))
    assert sum("waffle_utils" in text for text in default) == 2, listed(default)
    assert not [text for text in default if "flagoverride" in text]
    assert len(default) <= bound, listed(default)
