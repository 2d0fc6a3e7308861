"""The age of evidence: clean pairs grow old, divergences do not, and a step back from the target is for cause."""

from datetime import timedelta

import pytest
from django.utils.timezone import now

from migration_shim import api, toggles
from migration_shim.comparison import scan
from migration_shim.core.data import PairStatus, Phase
from migration_shim.core.phases import flags_of
from migration_shim.models import CoursePhase, LedgerEntry, Run
from tests.builders import rows
from tests.builders.rows import COURSE, RIGHT, clean_course, entries, fresh, usage_key  # noqa: F401
from tests.ledger.counters.oracle import forget_counters

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
OLD = timedelta(days=31)
IN_LIVE = {"authority": "target", "phase": "live", "result": PairStatus.DIVERGED, "divergences": "correctness"}


def gate():
    return api.gate(COURSE).content


def verdict():
    return gate()["verdict"]


def age(number=None, days=31, **which):
    """Let pairs have been sent and graded so many days ago."""
    ids = list(LedgerEntry.objects.filter(**which).values_list("pk", flat=True)[:number])
    then = now() - timedelta(days=days)
    LedgerEntry.objects.filter(pk__in=ids).update(arrived_at=then, target_graded_at=then)


def step(to, **options):
    wanted = {"reason": "r", "execute": True, "user": "ada", "login": None}
    return api.cutover(COURSE, to, **(wanted | options))


@pytest.fixture(autouse=True)
def in_shadow():
    toggles.force_flags(COURSE, True, False)


def test_old_pairs_do_not_count_and_are_noted(clean):
    age(days=400)
    content = gate()
    assert (content["verdict"], content["cause"]) == ("INCONCLUSIVE", "needs_pairs")
    assert "449 more graded pairs without a divergence" in content["needed"]
    assert "449 graded pairs are older than 30 days and do not count any more" in content["notes"]


def test_one_pair_that_is_too_old_is_one_too_few(clean, settings):
    age(1, days=29)  # in whole days: of the day that the window begins in nobody knows the hour
    assert verdict() == "PASS"
    age(1, days=30.1)
    assert gate()["needed"] == ["1 more graded pair without a divergence"]
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"EVIDENCE_DAYS": 32}
    assert verdict() == "PASS"


def test_a_pair_counts_from_when_the_target_graded_or_echoed_it(clean):
    """History that is as old as can be, echoed just now, beside a grader's pairs."""
    LedgerEntry.objects.update(arrived_at=now() - timedelta(days=900))
    entries(5)
    assert verdict() == "PASS"


def test_a_pair_of_which_nobody_knows_when_it_was_graded_does_not_count(clean):
    LedgerEntry.objects.update(target_graded_at=None)
    assert "449 more graded pairs without a divergence" in gate()["needed"]


def test_a_reconcile_writes_down_when_the_target_graded():
    [row] = rows.graded_pairs(1)
    rows.in_phase("shadow")
    rows.reconcile()
    # The tests' grader answers half a minute after the row came.
    assert LedgerEntry.objects.get().target_graded_at == row.arrival_time + timedelta(seconds=30)


def test_after_an_upgrade_the_next_reconcile_writes_it_down_of_settled_pairs_too(monkeypatch):
    rows.graded_pairs(1)
    rows.in_phase("shadow")
    rows.reconcile()
    entry = LedgerEntry.objects.get()
    assert entry.settled_at
    with monkeypatch.context() as before:
        before.setattr(scan, "JUDGED_BY", scan.JUDGED_BY[:-1])
        LedgerEntry.objects.update(seen="", settled_at=None)
        rows.reconcile()
    LedgerEntry.objects.update(target_graded_at=None)
    forget_counters()  # that release had none
    assert LedgerEntry.objects.get().settled_at
    for run in Run.objects.filter(kind="reconcile"):
        del run.settings["evidence_days"]  # a run of the release before does not know it
        run.save()
    rows.reconcile()
    assert LedgerEntry.objects.get().target_graded_at == entry.target_graded_at


def test_a_divergence_does_not_age(clean):
    entries(8, item_id=usage_key("b"), result=PairStatus.DIVERGED, divergences="correctness")
    entries(12, item_id=usage_key("b"))
    assert verdict() == "FAIL"
    age(item_id=usage_key("b"), days=400)
    content = gate()
    assert content["verdict"] == "FAIL"
    assert f"problem {usage_key('b')}: 8 of 8 pairs diverge" in content["reasons"]


def test_newer_pairs_of_the_same_problem_outweigh_it(clean):
    entries(1, result=PairStatus.DIVERGED, divergences="correctness")
    age(days=400, result=PairStatus.DIVERGED)
    assert verdict() == "INCONCLUSIVE"
    entries(400)
    assert verdict() == "PASS"


def test_a_queue_without_arrivals_is_idle_and_asks_nothing(clean):
    entries(3, queue_name="other")
    assert any(reason.startswith("queue other: 3 pairs") for reason in gate()["reasons"])
    age(queue_name="other")
    content = gate()
    assert content["verdict"] == "PASS"
    assert "idle, no submission in 30 days: other; nothing is asked of them" in content["notes"]


def test_a_queue_is_not_idle_because_its_submissions_came_in_another_phase(clean):
    """They came in live, before the course was taken back: that its graders work is to be shown anew."""
    assert verdict() == "PASS"
    entries(6, queue_name="other")
    age(queue_name="other")
    step(Phase.LIVE)
    entries(40, queue_name="other", authority="target", phase="live")
    step(Phase.LEGACY, reason="the target grades wrong")
    step(Phase.SHADOW)
    entries(10)
    content = gate()
    assert content["verdict"] == "INCONCLUSIVE"
    assert "queue other: 0 pairs graded on both sides since it was taken back" in content["reasons"]


def test_a_queue_that_only_the_target_has_seen_is_asked_for_its_graders(clean):
    """An assignment that was opened in live: in shadow nobody has submitted to it since the step back."""
    step(Phase.LIVE)
    entries(40, queue_name="other", authority="target", phase="live")
    step(Phase.LEGACY, reason="the target grades wrong")
    step(Phase.SHADOW)
    entries(10)
    content = gate()
    assert content["verdict"] == "INCONCLUSIVE"
    assert "queue other: 0 pairs graded on both sides since it was taken back" in content["reasons"]
    assert "5 more graded pairs in queue other" in content["needed"]
    age(queue_name="other")
    assert verdict() == "PASS"


def test_where_every_queue_is_idle_nobody_has_seen_a_grader(clean):
    LedgerEntry.objects.update(arrived_at=now() - OLD, echo=True)
    assert gate()["reasons"] == ["no queue of the course had a submission in the last 30 days"]


def test_what_failed_in_live_counts_against_going_live_again(clean):
    assert verdict() == "PASS"
    step(Phase.LIVE)
    entries(60, **IN_LIVE)
    step(Phase.LEGACY, reason="the target grades wrong")
    step(Phase.SHADOW)
    content = gate()
    assert (content["verdict"], content["cause"]) == ("FAIL", "differs")
    assert f"problem {usage_key('a')}: 60 of 509 pairs diverge" in content["reasons"]


def test_clean_pairs_of_live_say_nothing_in_shadow_and_the_other_way_round(clean):
    LedgerEntry.objects.update(authority="target", phase="live")
    assert "449 more graded pairs without a divergence" in gate()["needed"]
    entries(1, result=PairStatus.DIVERGED, divergences="state")
    rows.in_phase("live")
    assert verdict() == "PASS"


def test_a_submission_of_live_that_still_waits_keeps_the_course_from_live(clean):
    late = IN_LIVE | {"result": PairStatus.OVERDUE, "divergences": "", "graded_pair": False, "target_graded_at": None}
    entries(1, **late, target_state="queued", legacy_state="graded")
    assert gate()["reasons"] == ["1 submission is overdue on one side"]
    # Its copy on legacy is another matter: nobody polls the reverse-shadow queue any more.
    LedgerEntry.objects.filter(result=PairStatus.OVERDUE).update(target_state="graded", legacy_state="queued")
    assert verdict() == "PASS"


@pytest.mark.parametrize("to", [Phase.LEGACY, Phase.SHADOW])
def test_every_step_back_is_for_cause(clean, to):
    """Whatever reason was given: that a grader of each queue works is to be shown anew."""
    verdict()
    step(Phase.LIVE)
    step(to)
    if to is Phase.LEGACY:
        step(Phase.SHADOW)
    content = gate()
    assert content["reasons"] == ["queue exu-py1: 0 pairs graded on both sides since it was taken back"]
    assert content["evidence"]["taken_back"] is True
    CoursePhase.objects.update(permit="")
    entries(5)
    assert verdict() == "PASS"


def test_a_step_by_hand_is_for_cause_too(clean):
    rows.in_phase("live")
    toggles.force_flags(COURSE, *flags_of(Phase.SHADOW))
    assert toggles.phase_of(COURSE).phase is Phase.SHADOW
    assert "since it was taken back" in gate()["reasons"][0]


def test_a_step_from_shadow_to_legacy_is_none(clean):
    step(Phase.LEGACY)
    step(Phase.SHADOW)
    assert verdict() == "PASS"


@pytest.mark.parametrize("key", ["fence_leaks", "double_authority"])
def test_what_a_reconcile_does_not_say_is_unknown(clean, key):
    document = {"fence_leaks": 0, "double_authority": 0}
    del document[key]
    Run.objects.filter(kind="reconcile").update(document=document)
    content = gate()
    assert content["verdict"] == "INCONCLUSIVE"
    assert content["evidence"][key] is None
    assert content["reasons"][0].startswith("nobody has looked for")


def test_a_preflight_that_does_not_tell_its_findings_is_none(clean):
    Run.objects.filter(kind="preflight").update(document={})
    assert gate()["reasons"] == ["there was no preflight"]
