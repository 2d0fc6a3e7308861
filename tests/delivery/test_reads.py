"""What the pages and the counts read: an index, whose size is bounded by what is asked for."""

import pytest
from django.db import connection

from migration_shim.models import LedgerEntry
from tests.builders import rows
from tests.builders.rows import COURSE, fresh  # noqa: F401

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])


def plan(query):
    """How the database would answer a query, in its own words."""
    return query.explain()


def test_who_is_to_be_asked_is_found_by_an_index():
    if connection.vendor == "mysql" and not connection.mysql_is_mariadb:
        pytest.skip("of thirty rows MySQL takes any index; counters/test_growth.py counts what it reads")
    rows.entries(30)
    query = LedgerEntry.objects.filter(course_id=COURSE, learner_settled_at=None, id__gt=3).order_by("id")
    text = plan(query.values_list("id")[:200])
    assert "shim_ledger_asked" in text
    assert "filesort" not in text and "TEMP B-TREE" not in text
