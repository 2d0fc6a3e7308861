"""Databases for all tests: both aliases real, prepared as an operator's sandbox is, shared with child processes."""

import pytest
from django.db import connections
from django.test import TransactionTestCase
from hypothesis import HealthCheck, settings

from tests import databases

# How long a machine that does other work takes is no finding.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


@pytest.fixture(scope="session")
def databases_ready(django_test_environment, django_db_blocker):
    """Both databases, with their schema, for the whole session; the environment names them for child processes."""
    # Imported late: it needs Django set up.
    from sandbox import schema

    with django_db_blocker.unblock():
        databases.create()
        try:
            schema.prepare()
            yield
        finally:
            databases.drop()


@pytest.fixture(scope="session")
def django_db_setup(databases_ready):
    """Stand in for pytest-django's own: Django must neither rename the databases nor migrate the alias ``xqueue``."""


@pytest.fixture(scope="session", autouse=True)
def _flush_what_tests_fill():
    """After a test that commits, empty what tests fill; Django empties what migrate fills too, and fills it again."""

    def flush(self):
        for alias in self._databases_names(include_mirrors=False):
            databases.empty(alias)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", flush)
        yield


@pytest.fixture(autouse=True)
def _counters_equal_counts(request):
    """
    After each test that asks a database: the counters over the ledger say what a count of its entries says.

    A test that writes to entries what no part of the app would write (columns that a comparison has counted) is marked
    ``by_hand``.
    """
    marker = request.node.get_closest_marker("django_db")
    asked = () if marker is None else marker.kwargs.get("databases") or ("default",)
    if "default" not in asked or request.node.get_closest_marker("by_hand"):
        yield
        return
    request.getfixturevalue("_django_db_helper")  # torn down after this
    yield
    if connections["default"].needs_rollback:
        return
    from tests.ledger.counters import oracle

    oracle.assert_counters_equal_counts()


@pytest.fixture
def legacy_rows(databases_ready, django_db_blocker):
    """Start the test without legacy rows; Django's flush leaves them, ``queue_submission`` being no managed table."""
    with django_db_blocker.unblock(), connections["xqueue"].cursor() as cursor:
        cursor.execute("DELETE FROM queue_submission")


@pytest.fixture(autouse=True)
def _no_legacy_rows_in_transactional_tests(request):
    """Give `legacy_rows` to each test that commits on the alias ``xqueue``, so that none can forget it."""
    marker = request.node.get_closest_marker("django_db")
    if marker is None or not marker.kwargs.get("transaction"):
        return
    named = marker.kwargs.get("databases") or []
    if named == "__all__" or "xqueue" in named:
        request.getfixturevalue("legacy_rows")
