"""What the tests of several LMSs share: nothing that the door has noted outlives a test."""

import pytest

from migration_shim.ledger import hosts


@pytest.fixture(autouse=True)
def _forget():
    hosts._noted.clear()
    hosts._not_before = 0.0
    yield
    hosts._noted.clear()
    hosts._not_before = 0.0
