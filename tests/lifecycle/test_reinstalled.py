"""Installed again after a removal that left shadows on the target: nothing is imported on top of them."""

import pytest
from submissions.models import StudentItem, Submission

from migration_shim import api, toggles
from migration_shim.core.phases import flags_of
from migration_shim.data import ExitCode, Phase
from migration_shim.models import CoursePhase, LedgerEntry
from migration_shim.reports import text
from tests import rows
from tests.rows import fresh  # noqa: F401

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
        assert "no entry knows" in text.render(refused.content)
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
