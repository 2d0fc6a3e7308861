"""Rows of another LMS on the same XQueue, with the same course ids: nothing of ours touches or counts them."""

import pytest
from submissions.models import ExternalGraderDetail

from migration_shim import toggles
from migration_shim.models import LedgerEntry, LegacySubmission
from tests import rows
from tests.handoff import world as handoff
from tests.rows import COURSE, fresh  # noqa: F401

from . import world

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "xqueue"])


@pytest.fixture
def live(settings):
    """A course in live, and a handoff that settles at once."""
    quick = {"HANDOFF_SETTLE_SECONDS": 0.04, "PROCESSING_DELAY_SECONDS": 0.08, "HOLD_SECONDS": 0}
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | quick
    rows.in_phase("live")
    toggles.force_flags(COURSE, True, True)


def test_a_handoff_leaves_another_lmss_rows_to_its_graders(live):
    mine, other = rows.legacy_row(7), world.staging()
    before = LegacySubmission.objects.filter(pk=other.pk).values().get()
    document = handoff.run()
    assert document.content["classes"]["imported"] == 1
    assert document.content["classes"]["out_of_scope"] == 1
    assert LegacySubmission.objects.filter(pk=other.pk).values().get() == before
    mine.refresh_from_db()
    assert mine.retired
    assert ExternalGraderDetail.objects.count() == LedgerEntry.objects.count() == 1
