"""Settings under which a handoff takes no minutes, and a course whose target is authoritative."""

import pytest

from migration_shim import toggles
from tests.builders import rows
from tests.builders.rows import fresh  # noqa: F401

SETTLE, DELAY = 0.04, 0.08


@pytest.fixture
def shim(settings):
    """Change settings of the shim: ``shim(HANDOFF_SETTLE_SECONDS=1)``."""

    def change(**values):
        settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | values

    change(HANDOFF_SETTLE_SECONDS=SETTLE, PROCESSING_DELAY_SECONDS=DELAY, HOLD_SECONDS=0)
    return change


@pytest.fixture
def live(shim):
    """The course is live."""
    rows.in_phase("live")
    toggles.force_flags(rows.COURSE, True, True)
    return rows.COURSE
