"""What the pages and the counts read: an index, whose size is bounded by what is asked for."""

import pytest
from django.db import connection

from migration_shim import conf, learners
from migration_shim.models import LedgerEntry
from tests import rows
from tests.rows import COURSE, fresh  # noqa: F401

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])


def plan(query):
    """How the database would answer a query, in its own words."""
    return query.explain()


def test_who_is_to_be_asked_is_found_by_an_index():
    rows.entries(30)
    query = LedgerEntry.objects.filter(course_id=COURSE, learner_settled_at=None, id__gt=3).order_by("id")
    text = plan(query.values_list("id")[:200])
    assert "shim_ledger_learner" in text
    assert "filesort" not in text and "TEMP B-TREE" not in text


@pytest.mark.skipif(connection.vendor != "sqlite", reason="MariaDB's plans depend on statistics of thirty rows")
def test_counting_reads_nothing_but_an_index():
    rows.entries(30)
    assert "COVERING INDEX shim_ledger_learner" in plan(
        LedgerEntry.objects.filter(course_id=COURSE).exclude(learner_said="").order_by().values_list("learner_said")
    )
    found = learners.counted(COURSE, conf.load())
    assert found["third_side"]["compared"] == 0
