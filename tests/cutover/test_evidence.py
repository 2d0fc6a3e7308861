"""What the gate is told: each figure of the evidence, out of the ledger."""

from datetime import timedelta

import pytest
from django.utils.timezone import now

from migration_shim import api
from migration_shim.core.data import PairStatus, State
from migration_shim.models import LedgerEntry, Run
from tests.builders import rows
from tests.builders.rows import COURSE, clean_course, entries, fresh, usage_key  # noqa: F401

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
B = usage_key("b")


def gate():
    content = api.gate(COURSE).content
    return content["verdict"], content


def one(**fields):
    """One entry more, of a problem of its own."""
    entries(1, item_id=B, **fields)


REASONS = {
    # what there is once: the verdict, and a part of the reason, which names the problem
    "lost": ("FAIL", f"problem {B}: 1 divergence in lost"),
    "fence_leak": ("FAIL", f"problem {B}: 1 divergence in fence_leak"),
    "double_authority": ("FAIL", f"problem {B}: 1 divergence in double_authority"),
    "undelivered": ("FAIL", f"problem {B}: 1 divergence in undelivered"),
    "wrong_side": ("FAIL", f"problem {B}: 1 divergence in wrong_side"),
    "files": ("FAIL", f"problem {B}: 1 divergence in files"),
    "presence": ("FAIL", f"problem {B}: 1 divergence in presence"),
    "stuck": ("INCONCLUSIVE", B),
    "score": ("FAIL", f"problem {B}: 1 of 1 pairs diverge"),
}


@pytest.mark.parametrize(("klass", "expected"), REASONS.items(), ids=REASONS)
def test_one_divergence_closes_the_gate_and_the_problem_is_named(clean, klass, expected):
    verdict, text = expected
    one(result=PairStatus.DIVERGED, divergences=klass)
    found, content = gate()
    assert found == verdict
    assert any(text in reason for reason in content["reasons"])


@pytest.mark.parametrize("klass", ["fence_leak", "double_authority", "undelivered", "wrong_side", "lost", "stuck"])
def test_what_has_a_count_of_its_own_says_nothing_of_the_rate(clean, klass):
    one(result=PairStatus.DIVERGED, divergences=klass)
    arithmetic = gate()[1]["evidence"]["arithmetic"]
    assert arithmetic["diverged"] == 0


@pytest.mark.parametrize("result", [PairStatus.EQUAL, PairStatus.WAITING, PairStatus.OVERDUE])
@pytest.mark.parametrize("klass", ["fence_leak", "lost", "stuck"])
def test_an_alarm_on_a_pair_that_does_not_diverge_hides_none_that_does(clean, klass, result):
    one(result=PairStatus.DIVERGED, divergences="score")
    one(result=result, divergences=klass)
    assert gate()[1]["evidence"]["arithmetic"]["diverged"] == 1


def test_one_with_an_ordinary_difference_as_well_does(clean):
    one(result=PairStatus.DIVERGED, divergences="score,stuck")
    assert gate()[1]["evidence"]["arithmetic"]["diverged"] == 1


def test_a_divergence_without_a_record_counts_all_the_same(clean):
    one(result=PairStatus.DIVERGED)
    assert gate()[1]["evidence"]["arithmetic"]["diverged"] == 1


def test_a_payload_that_was_not_compared_holds_the_gate(clean):
    one(payload_compared_at=None)
    verdict, content = gate()
    assert (verdict, content["reasons"]) == ("INCONCLUSIVE", [f"problem {B}: the payloads of 0 of 1 are compared"])


@pytest.mark.parametrize("side", ["target_state", "legacy_state"])
def test_a_copy_that_is_on_its_way_has_none_yet(clean, side):
    one(payload_compared_at=None, graded_pair=False, result=PairStatus.WAITING, **{side: State.MISSING})
    assert gate()[0] == "PASS"


def test_what_arrived_after_the_reconcile_is_for_the_next_one(clean):
    one(payload_compared_at=None, compared_at=None, result=PairStatus.NONE, graded_pair=False)
    assert gate()[0] == "PASS"
    LedgerEntry.objects.filter(item_id=B).update(created_at=now() - timedelta(minutes=5))
    assert gate()[0] == "INCONCLUSIVE"  # the reconcile should have seen it


def test_a_queue_asks_for_pairs_that_a_real_grader_pulled_from_the_seam(clean):
    LedgerEntry.objects.update(leases=0)
    verdict, content = gate()
    assert verdict == "INCONCLUSIVE"
    assert content["reasons"] == [f"queue {rows.QUEUE}: 0 pairs graded on both sides"]
    assert content["evidence"]["queues"][0]["elsewhere"] == 449


def test_a_queue_with_side_effects_is_exempt_and_the_verdict_says_so(clean, settings):
    LedgerEntry.objects.update(echo=True)
    assert gate()[0] == "INCONCLUSIVE"
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"SIDE_EFFECT_QUEUES": [rows.QUEUE]}
    verdict, content = gate()
    assert verdict == "PASS"
    assert any("declared to have side effects" in note for note in content["notes"])
    assert any("449 of 449 graded pairs are echoes" in note for note in content["notes"])


def test_a_target_that_is_too_slow_fails(clean):
    assert gate()[1]["evidence"]["latency"] == {"timed": 449, "legacy": 19.957, "target": 30.248}
    for seconds, verdict in ((99, "PASS"), (101, "FAIL")):  # twice legacy's 20 s, and 60 s
        LedgerEntry.objects.filter(pk__gt=LedgerEntry.objects.earliest("pk").pk + 400).update(target_seconds=seconds)
        assert gate()[0] == verdict


def test_a_few_slow_ones_do_not(clean):
    LedgerEntry.objects.filter(pk__lt=LedgerEntry.objects.earliest("pk").pk + 20).update(target_seconds=9999)
    assert gate()[0] == "PASS"


def test_without_times_nothing_is_known_of_the_latency(clean):
    LedgerEntry.objects.update(legacy_seconds=None)
    verdict, content = gate()
    assert (verdict, content["reasons"]) == ("INCONCLUSIVE", ["only 0 pairs tell how long either system takes"])


def test_a_handoff_that_met_both_systems_is_heard_of_at_once(clean):
    LedgerEntry.objects.filter(pk=LedgerEntry.objects.earliest("pk").pk).update(double_authority=True)
    verdict, content = gate()
    assert (verdict, content["evidence"]["double_authority"]) == ("FAIL", 1)


def test_a_leak_that_a_stopped_run_found_is_heard_of(clean):
    one(result=PairStatus.DIVERGED, divergences="fence_leak")
    Run.objects.create(kind="reconcile", scope=COURSE, complete=False, finished_at=now())
    assert gate()[1]["evidence"]["fence_leaks"] == 1


@pytest.mark.parametrize(("authority", "leg"), [("legacy", "target_leg"), ("target", "legacy_leg")])
def test_copies_that_are_owed_for_long_are_overdue(clean, authority, leg):
    """A worker that fails at each of one kind owes them for ever; that is no evidence that the target can have them."""
    LedgerEntry.objects.update(authority=authority)
    rows.in_phase("shadow" if authority == "legacy" else "live")
    owed = {"authority": authority, leg: "failed", "copy_due": now(), "result": PairStatus.WAITING, "known": "owed"}
    owed |= {f"{leg[:6]}_state": "missing", "graded_pair": False, "payload_compared_at": None}
    entries(3, **owed, created_at=now() - timedelta(minutes=50))
    assert gate()[0] == "PASS"
    LedgerEntry.objects.filter(known="owed").update(created_at=now() - timedelta(minutes=70))
    verdict, content = gate()
    assert (verdict, content["reasons"]) == ("INCONCLUSIVE", ["3 submissions are overdue on one side"])


def test_a_small_course_is_told_its_ways_out(clean):
    LedgerEntry.objects.filter(pk__gt=LedgerEntry.objects.earliest("pk").pk + 99).delete()
    verdict, content = gate()
    assert verdict == "INCONCLUSIVE"
    assert content["ways_out"] == ["a larger threshold for small courses (5%: 88 pairs)", "a signed override"]
    assert any(line.startswith("course: 0 unexplained") for line in content["evidence"]["explained"])
