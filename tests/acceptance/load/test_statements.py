"""What a submit through the Python door asks of the LMS's database. Every statement is a part of a learner's wait."""

import pytest
from django.db import connections, transaction
from django.test.utils import CaptureQueriesContext
from submissions.api import create_external_grader_detail

from migration_shim.copies import publish
from migration_shim.runs import broker
from tests.builders import routed_course as route
from tests.builders.platform import platform, platform_tables  # noqa: F401

pytestmark = [
    pytest.mark.django_db(databases=["default", "xqueue"], transaction=True),
    pytest.mark.usefixtures("course"),
]


@pytest.fixture
def published(monkeypatch):
    """The nudges handed to the broker: there is one, and each is sent."""
    sent = []
    monkeypatch.setattr(broker, "is_eager", lambda: False)
    monkeypatch.setattr(broker, "send", lambda settings, after: sent.append(after))
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
    return [query["sql"][:2000] for query in default], [query["sql"][:200] for query in legacy]


def listed(found):
    return f"{len(found)} statements:\n" + "\n".join(found)


def test_in_shadow_with_deferred_copies_a_submit_makes_2_statements(published):
    """One asks for phase, flags and kill switch; the entry's INSERT is its own transaction."""
    route.start_in("shadow")
    default, legacy = statements(route.submission(1))
    assert len(published) == 2
    assert len(default) == 2, listed(default)
    assert default[0].startswith("SELECT") and default[1].startswith("INSERT"), listed(default)
    assert legacy == []


@pytest.mark.parametrize("phase", ["live", "complete"])
@pytest.mark.parametrize("returns", [True, False])
def test_where_the_target_is_authoritative_two_statements_come_to_upstreams(published, monkeypatch, phase, returns):
    """
    The look-up and the entry, whose INSERT says whether the StudentItem is the very one; the transaction's ends are in
    both. Where an INSERT returns nothing (MySQL) that is a third one.
    """
    returns = returns and connections["default"].features.can_return_columns_from_insert
    monkeypatch.setattr(connections["default"].features, "can_return_columns_from_insert", returns)
    route.start_in(phase)
    default, legacy = statements(route.submission(1))
    assert len(published) == 2
    with CaptureQueriesContext(connections["default"]) as upstream, transaction.atomic():
        item = {"student_id": "s" * 32, "course_id": "c", "item_id": "i", "item_type": "problem"}
        create_external_grader_detail(item, "answer", queue_name="q", queue_key="k")
    assert len(default) - len(upstream) == 3 - returns, listed(default)
    assert legacy == []


def test_in_legacy_a_submit_makes_2_statements(published):
    route.start_in("legacy")
    default, legacy = statements(route.submission(1))
    assert published == []
    assert len(default) == 2, listed(default)
    assert legacy == []


def test_a_flag_costs_a_statement_in_every_request(published):
    """The bound is not bought by keeping a flag from one request to the next: a flip counts at once."""
    route.start_in("shadow")
    default, _ = statements(route.submission(1))
    for table in ("flagoverride", "courseph", "waffle_switch"):
        assert sum(table in text for text in default) == 1, listed(default)
    route.start_in("legacy")
    nudges = len(published)
    assert route.send(route.submission(2))[0] == 0
    assert len(published) == nudges


@pytest.mark.parametrize(("phase", "bound"), [("shadow", 4), ("legacy", 4)])
@pytest.mark.usefixtures("platform")
def test_inside_an_lms_each_flag_is_one_more_question(published, phase, bound):
    """The platform has no question about two flags: it is asked about each, and about no other course."""
    route.start_in(phase)
    default, _ = statements(route.submission(1))
    assert sum("waffle_utils" in text for text in default) == 2, listed(default)
    assert not [text for text in default if "flagoverride" in text]
    assert len(default) == bound, listed(default)
