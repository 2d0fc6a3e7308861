"""Grave divergences: no reconcile ends them, no register excuses them, and a signed cure is on record in the log."""

from datetime import timedelta

import pytest
from django.db import DatabaseError, InterfaceError, connection
from django.test.utils import CaptureQueriesContext
from django.utils.connection import ConnectionDoesNotExist
from submissions.models import StudentItem

from migration_shim import api, toggles
from migration_shim.comparison import legacy_outcomes, results
from migration_shim.comparison.candidates import Fingerprints
from migration_shim.core.data import GRAVE, Comparison, DivergenceClass, PairStatus, Phase
from migration_shim.core.errors import IllegalStep, ShimError
from migration_shim.cutover import invariants, overrides
from migration_shim.cutover.overrides import Request
from migration_shim.legacy import open_rows
from migration_shim.legacy import rows as legacy_rows
from migration_shim.models import CoursePhase, Divergence, LedgerEntry, LegacySubmission, PhaseChange
from tests.builders import rows
from tests.builders.overrides import step_past_gate
from tests.builders.rows import COURSE, clean_course, entries, fresh  # noqa: F401
from tests.ledger.counters.oracle import forget_counters
from tests.schemas import validate

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
LEAK, DOUBLE, LOST = (DivergenceClass(name) for name in ("fence_leak", "double_authority", "lost"))


def cure(klass=LEAK, reason="the row is fenced again"):
    return api.cure(klass, course_id=COURSE, reason=reason, by="ada")


def verdict():
    return api.gate(COURSE).content["verdict"]


def leak(number=1):
    """Take the learner's half of the fence off some shadows; the way back."""
    items = list(StudentItem.objects.order_by("pk")[:number])
    for item in items:
        StudentItem.objects.filter(pk=item.pk).update(student_id=item.student_id.removeprefix("shadow:"))
    return lambda: [item.save() for item in items]


@pytest.fixture
def shadowed():
    """Two submissions with their shadows, reconciled."""
    rows.legacy_row(7)
    rows.legacy_row(8)
    rows.backfill(courses=frozenset([COURSE]))
    rows.in_phase("shadow")
    toggles.force_flags(COURSE, True, False)
    rows.reconcile()


def leaks():
    return api.gate(COURSE).content["evidence"]["fence_leaks"]


@pytest.mark.parametrize("reconciled", [False, True])
def test_no_override_passes_a_leak_that_is_there(shadowed, reconciled):
    leak()
    if reconciled:
        rows.reconcile()
    with pytest.raises(IllegalStep, match="1 fence leak "):
        step()
    assert CoursePhase.objects.get().phase == Phase.SHADOW


def step(**options):
    wanted = {"reason": "trust me", "execute": True, "user": "ops", "login": None, "override": Request()}
    return api.cutover(COURSE, Phase.LIVE, **(wanted | options))


@pytest.mark.parametrize("error", [DatabaseError, InterfaceError, ConnectionDoesNotExist])
def test_no_override_passes_what_nobody_can_tell(shadowed, monkeypatch, error):
    """XQueue's database says no, its driver has lost it, or its alias is gone."""

    def silent(*args):
        raise error

    monkeypatch.setattr(open_rows, "count_naming", silent)
    with pytest.raises(IllegalStep, match="It cannot be told"):
        step()


def test_no_override_passes_rows_of_the_targets_own_that_nobody_has_looked_at(shadowed):
    LedgerEntry.objects.filter(pk=LedgerEntry.objects.earliest("pk").pk).update(authority="target")
    forget_counters()
    rows.in_phase("shadow", since=CoursePhase.objects.get().since)
    assert invariants.double_authority_count(COURSE) == 0  # the reconcile has looked
    rows.in_phase("shadow", since=rows.now())
    with pytest.raises(IllegalStep, match="No reconcile has checked"):
        step()
    LedgerEntry.objects.update(double_authority=True)
    with pytest.raises(IllegalStep, match="2 submissions that both"):
        step()


def test_no_override_passes_what_was_mended_and_not_signed_for(shadowed):
    mend = leak()
    rows.reconcile()
    mend()
    rows.reconcile()
    with pytest.raises(IllegalStep, match="1 fence leak "):
        step()
    cure()
    rows.reconcile()
    assert step_past_gate(COURSE, Phase.LIVE).content["overridden"]


def test_a_leak_ends_with_a_signature_and_not_with_its_mending(shadowed):
    mend = leak()
    rows.reconcile()
    assert leaks() == 1
    with pytest.raises(ShimError, match="mend that first"):
        cure()
    mend()
    rows.reconcile()
    assert leaks() == 1
    content = cure().content
    validate(content)
    [signed] = content["cures"]
    assert (signed["class"], signed["number"], signed["by"]) == ("fence_leak", 1, "ada")
    rows.reconcile()
    assert leaks() == 0
    entry = PhaseChange.objects.latest("id")
    assert (entry.step_from, entry.step_to, entry.changed_by, entry.reason) == (
        "shadow",
        "shadow",
        "ada",
        "the row is fenced again",
    )
    assert entry.evidence == {"cured": {"class": "fence_leak", "number": 1}}
    assert api.audit([COURSE]).content["broken"] == 0
    with pytest.raises(ShimError, match="nothing of class"):
        cure()


def test_a_cure_takes_a_permit_away(clean):
    verdict()
    assert CoursePhase.objects.get().permit == "live"
    CoursePhase.objects.update(fence_leaks=1)
    cure()
    assert CoursePhase.objects.get().permit == ""


def test_what_is_lost_counts_until_it_is_signed_for(clean):
    entries(2, result="diverged", divergences="lost", item_id=rows.usage_key("b"))
    content = api.gate(COURSE).content
    assert (content["verdict"], content["cause"], content["evidence"]["lost"]) == ("FAIL", "lost", 2)
    cure(LOST, "both learners were asked to send it again")
    content = api.gate(COURSE).content
    assert (content["verdict"], content["evidence"]["lost"]) == ("PASS", 0)
    assert set(LedgerEntry.objects.exclude(known="").values_list("result", "known")) == {("known", "cured")}


def test_no_override_passes_what_is_lost_until_it_is_signed_for(clean):
    """A step signed with the code ``lost`` would be a cure without its number, its class and its place in the log."""
    toggles.force_flags(COURSE, True, False)
    entries(2, result="diverged", divergences="lost", item_id=rows.usage_key("b"))
    with pytest.raises(IllegalStep, match=r"2 submissions or scores that are lost.*no override passes that, a cure"):
        step_past_gate(COURSE, Phase.LIVE)
    assert CoursePhase.objects.get().phase == Phase.SHADOW
    cure(LOST, "both learners were asked to send it again")
    assert step_past_gate(COURSE, Phase.LIVE).content["executed"]


def test_what_is_lost_in_another_phase_counts_too(clean):
    entries(1, result="diverged", divergences="lost", authority="target", phase="live")
    assert api.gate(COURSE).content["evidence"]["lost"] == 1


def test_a_handoff_that_saw_both_alive_is_signed_for(clean):
    LedgerEntry.objects.filter(pk=LedgerEntry.objects.latest("pk").pk).update(double_authority=True)
    assert api.gate(COURSE).content["cause"] == "double_authority"
    cure(DOUBLE, "legacy's row was retired by hand, the learner's grade is right")
    assert not LedgerEntry.objects.filter(double_authority=True).exists()
    assert verdict() == "PASS"


def double():
    """A submission that both systems grade for real: the target's by the ledger, and alive on legacy; its row."""
    row = rows.legacy_row(7)
    rows.backfill(courses=frozenset([COURSE]))
    LedgerEntry.objects.update(authority="target")
    rows.in_phase("live")
    toggles.force_flags(COURSE, True, True)
    rows.reconcile()
    return row


def found():
    return list(Divergence.objects.filter(klass=DOUBLE, cured_at=None).values_list("klass", flat=True))


def test_found_again_of_a_row_that_is_alive_it_counts_again():
    double()
    assert found() == [DOUBLE]
    cure(DOUBLE)
    assert found() == []
    rows.reconcile()
    assert found() == [DOUBLE]


def test_found_again_of_a_row_that_is_over_it_is_the_one_that_was_signed_for():
    row = double()
    rows.change([row], **rows.graded())
    rows.grade_target()
    rows.reconcile()
    cure(DOUBLE)
    rows.reconcile(full=True)
    assert Divergence.objects.filter(klass=DOUBLE).exclude(cured_at=None).count() == 1
    assert found() == []
    assert rows.reconcile()[1] == []


def test_what_is_not_found_any_more_stays_until_it_is_signed_for():
    row = double()
    rows.change([row], retired=True)
    rows.reconcile()
    assert found() == [DOUBLE]
    assert LedgerEntry.objects.get().result == "diverged"
    cure(DOUBLE)
    rows.reconcile()
    assert not Divergence.objects.filter(klass=DOUBLE).exists()


def test_what_stays_on_record_takes_no_lock_of_the_course_behind_those_of_entries():
    """A gate or a cure has the course's lock, and waits for the entries': it would wait for ever."""
    double()
    [entry] = LedgerEntry.objects.all()
    gone = legacy_outcomes.vanished_side(entry)
    equal = Comparison(status=PairStatus.EQUAL, divergences={})
    one = results.PairResult(
        entry=entry, result=equal, legacy=gone, target=gone, seen=Fingerprints("x", "", ""), payload_at=None
    )
    with CaptureQueriesContext(connection) as captured:
        results.store_results([one], [], rows.now(), timedelta(minutes=7))
    assert found() == [DOUBLE]
    table = CoursePhase._meta.db_table
    assert not [query["sql"] for query in captured if table in query["sql"]]


@pytest.mark.parametrize("klass", sorted(set(DivergenceClass) - GRAVE))
def test_what_can_be_registered_is_not_cured(clean, klass):
    with pytest.raises(ShimError, match="register it"):
        cure(klass)


def test_a_course_that_nobody_knows_is_not_cured():
    with pytest.raises(ShimError, match="knows no course"):
        cure()


# What is on the wrong side


@pytest.fixture
def astray():
    """A submission that reached legacy in the days of live, and waits there; its row."""
    rows.in_phase("live")
    toggles.force_flags(COURSE, True, True)
    row = rows.legacy_row(7)
    rows.reconcile()
    return row


def wrong():
    return api.gate(COURSE).content["evidence"]["wrong_side"]


def test_nobody_signs_for_what_still_waits_on_the_wrong_side(astray, monkeypatch):
    with pytest.raises(ShimError, match="1 submission"):
        cure(DivergenceClass.WRONG_SIDE)

    def silent(*args):
        raise DatabaseError

    monkeypatch.setattr(legacy_rows, "existing", silent)
    with pytest.raises(ShimError, match="It cannot be told"):
        cure(DivergenceClass.WRONG_SIDE)
    assert (wrong(), invariants.wrong_side_count(COURSE)) == (1, 1)
    with pytest.raises(IllegalStep, match="1 submission on legacy"):
        overrides.refuse_unpassable(COURSE)


def test_a_signature_ends_what_legacy_has_graded(astray):
    rows.change([astray], **rows.graded())
    rows.reconcile()
    cure(DivergenceClass.WRONG_SIDE)
    rows.reconcile()
    assert (wrong(), invariants.wrong_side_count(COURSE)) == (0, 0)


def test_what_has_vanished_from_the_wrong_side_ends_with_a_signature(astray):
    LegacySubmission.objects.all().delete()
    rows.reconcile()
    assert wrong() == 1
    cure(DivergenceClass.WRONG_SIDE, "the learner was asked to send it again")
    rows.reconcile(full=True)
    rows.reconcile(full=True)
    assert (wrong(), invariants.wrong_side_count(COURSE)) == (0, 0)
