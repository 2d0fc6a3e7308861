"""Installed again after a removal that left shadows on the target: nothing is imported on top of them."""

import pytest
from submissions.models import ExternalGraderDetail, StudentItem, Submission

from migration_shim import api, toggles
from migration_shim.core.data import ExitCode, Phase
from migration_shim.core.phases import flags_of
from migration_shim.models import CoursePhase, LedgerEntry
from migration_shim.reports import terminal
from tests.builders import rows
from tests.builders.in_flight import give_back_all, hand_off
from tests.builders.rows import fresh  # noqa: F401

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])


def step(to, **options):
    return api.cutover(rows.COURSE, Phase(to), reason="again", user="ops", login=None, **options)


def test_shadows_of_an_earlier_installation_are_said_and_can_be_removed_in_legacy():
    rows.in_phase("shadow")
    rows.graded_pairs(3)
    LedgerEntry.objects.all().delete()  # with the tables
    CoursePhase.objects.all().delete()
    toggles.force_flags(rows.COURSE, *flags_of(Phase.LEGACY))
    for execute in (False, True):
        refused = step("shadow", execute=execute)
        assert refused.exit_code & ExitCode.DIFFERENCES and not refused.content["executed"]
        assert "without a ledger entry" in terminal.render(refused.content)
    assert toggles.phase_of(rows.COURSE).phase is Phase.LEGACY
    removed = api.remove_shadows(rows.COURSE, execute=True, progress=rows.ignore).content
    assert (removed["shadows"], removed["removed"]) == (3, 3)
    assert not Submission.objects.exists() and not StudentItem.objects.exists()
    assert step("shadow", execute=True).content["executed"]
    assert rows.backfill(history=True).content["written"] == 3
    document, found = rows.reconcile()
    assert (document.content["diverged"], found) == (0, [])


def test_shadows_that_an_entry_knows_are_in_nobodys_way():
    rows.graded_pairs(2)
    toggles.force_flags(rows.COURSE, *flags_of(Phase.LEGACY))
    assert step("shadow", execute=True).content["executed"]


def test_a_shadow_that_a_return_has_forgotten_is_in_nobodys_way():
    """A handoff retires the ungraded shadow and sets it aside; a return gives the row back and names it no more."""
    row = rows.legacy_row()
    rows.in_phase("shadow")
    rows.backfill()
    shadow = LedgerEntry.objects.get()
    identity, copy = shadow.identity, shadow.target_submission_id
    shadow.delete()
    entry = hand_off(row, shadow=copy)
    LedgerEntry.objects.filter(pk=entry.pk).update(identity=identity)
    ExternalGraderDetail.objects.filter(submission_id=copy).update(status="retired")
    give_back_all()
    toggles.force_flags(rows.COURSE, *flags_of(Phase.LEGACY))
    assert step("shadow", execute=True).content["executed"]
    assert rows.backfill().content["written"] == 1
    _, found = rows.reconcile()
    assert [row for row in found if row["class"] == "duplicate"] == []
