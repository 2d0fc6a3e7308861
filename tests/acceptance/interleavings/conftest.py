"""The stage on which two operations meet. It needs MariaDB: SQLite lets one writer in at a time."""

import time

import pytest
from django.db import connections

from tests.acceptance.interleavings.scheduler import ALIASES, Stage

needs_mariadb = pytest.mark.skipif(
    any(connections[alias].vendor != "mysql" for alias in ALIASES),
    reason="needs row locks and two sessions that write at once: MariaDB",
)


@pytest.fixture
def stage(transactional_db, legacy_rows, monkeypatch):
    """Two players, for one test."""
    # A connection for each statement that comes after an error would be most of the time of a schedule.
    for alias in ALIASES:
        monkeypatch.setitem(connections[alias].settings_dict, "CONN_MAX_AGE", None)
        connections[alias].close()
    # Nobody waits: what a pause is for, the other operation does in its own turns.
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    stage = Stage()
    yield stage
    stage.close()
    for alias in ALIASES:
        connections[alias].close()
