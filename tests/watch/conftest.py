"""A site on which a round takes no waiting, with no stored contents, and an XQueue that nobody runs."""

import shutil

import pytest
from submissions.models import get_storage

from migration_shim.copies import breaker
from sandbox.network import free_port
from tests.builders.rows import QUEUE, fresh  # noqa: F401


@pytest.fixture(autouse=True)
def shim(fresh, settings):  # noqa: F811
    """Change settings of the shim: ``shim(WATCH_STEP_BACK=True)``."""
    for suffix in ("", ".shadow", ".echo"):
        shutil.rmtree(get_storage().path(QUEUE + suffix), ignore_errors=True)

    def change(**values):
        settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | values

    change(
        LEGACY_URL=f"http://127.0.0.1:{free_port()}",
        LEGACY_USERNAME="lms",
        LEGACY_PASSWORD="lms-password",
        HANDOFF_SETTLE_SECONDS=0,
        PROCESSING_DELAY_SECONDS=0,
        GRADING_DEADLINE_SECONDS=600,
    )
    breaker.reset()
    yield change
    breaker.reset()
