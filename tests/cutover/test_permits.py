"""A permit holds for what it was given for: runs judge where they end, and what speaks against it takes it at once."""

import threading
import time
from datetime import timedelta

import pytest
from django.db import connection, connections
from django.utils.timezone import now

from migration_shim import api, toggles
from migration_shim.comparison import legacy_outcomes, results
from migration_shim.comparison.candidates import Fingerprints
from migration_shim.core.data import DETERMINISTIC, Comparison, DivergenceClass, PairStatus, Phase
from migration_shim.core.phases import flags_of
from migration_shim.cutover import gate
from migration_shim.ledger import known_differences, permits
from migration_shim.models import CoursePhase, Divergence, KnownDifference, LedgerEntry, LegacySubmission, PhaseChange
from migration_shim.runs import records as runs
from tests.builders import rows
from tests.builders.rows import COURSE, WRONG, clean_course, fresh, graded  # noqa: F401

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])


def permit():
    return CoursePhase.objects.get(course_id=COURSE).permit


def tick(phase=Phase.LIVE):
    """Tick the boxes of a phase by hand, and send a submission."""
    toggles.force_flags(COURSE, *flags_of(phase))
    return toggles.phase_of(COURSE).phase


def preflight():
    """A preflight that finds nothing, run as the command runs it."""
    with runs.running("preflight", COURSE, judge=gate.review_permit) as record:
        record.document, record.complete = {"findings": []}, True


def reconcile(*, complete=True, **said):
    """A reconcile that compares nothing, run as the command runs it."""
    with runs.running("reconcile", COURSE, judge=gate.review_permit) as record:
        record.document = {"fence_leaks": 0, "double_authority": 0} | said
        record.complete = complete


def store_one(klass):
    """Store what a reconcile has found of the newest entry, and die with the batch."""
    entry = LedgerEntry.objects.latest("pk")
    gone = legacy_outcomes.vanished_side(entry)
    result = Comparison(status=PairStatus.DIVERGED, divergences={klass: "text"})
    found = results.PairResult(
        entry=entry, result=result, legacy=gone, target=gone, seen=Fingerprints("x", "", ""), payload_at=None
    )
    with runs.running("reconcile", COURSE):
        results.store_results([found], known_differences.of_course(COURSE, now()), now(), timedelta(minutes=7))
        raise KeyboardInterrupt


@pytest.fixture(name="permitted")
def permitted_course(clean):
    toggles.force_flags(COURSE, True, False)
    assert api.gate(COURSE).content["verdict"] == "PASS"
    assert permit() == "live"


def test_a_permit_opens_the_step_and_the_log_says_on_what_it_rests(permitted):
    record = CoursePhase.objects.get()
    assert tick() is Phase.LIVE
    proof = PhaseChange.objects.get().evidence
    assert proof == {"permit_of_run": record.permit_run_id, "basis": record.permit_basis}
    record.refresh_from_db()
    assert (record.permit, record.permit_basis) == ("", "")


def test_a_reconcile_that_finds_otherwise_takes_it_away():
    rows.graded_pairs(460)
    rows.in_phase("shadow")
    toggles.force_flags(COURSE, True, False)
    rows.preflighted()
    rows.reconcile()
    assert api.gate(COURSE).content["verdict"] == "PASS"
    for number in range(40):
        rows.legacy_row(900 + number, answer=f"y = {number}\n", problem=f"{number % 2:032x}")
    rows.backfill(courses=frozenset([COURSE]))
    rows.change(LegacySubmission.objects.filter(retired=False), **graded())
    rows.grade_target(WRONG, status="pending")
    assert rows.reconcile()[0].content["diverged"] == 40
    assert permit() == ""
    assert tick() is Phase.SHADOW


@pytest.mark.parametrize("run", [reconcile, preflight])
def test_a_run_renews_it_and_never_gives_one(permitted, run):
    before = CoursePhase.objects.get().permit_basis
    run()
    assert CoursePhase.objects.get().permit_basis not in ("", before)
    assert tick() is Phase.LIVE
    run()
    assert permit() == ""


def test_a_run_does_not_renew_what_has_ended(permitted):
    CoursePhase.objects.update(permit_until=now() - timedelta(seconds=1))
    reconcile()
    assert tick() is Phase.SHADOW


def test_a_run_without_a_permit_gives_none(clean):
    reconcile()
    assert permit() == ""


def test_a_preflight_with_a_blocker_takes_it_away(permitted):
    with runs.running("preflight", COURSE, judge=gate.review_permit) as record:
        blocker = {"code": "x", "severity": "blocker", "rows": 1, "queue": "", "problem": ""}
        record.document, record.complete = {"findings": [blocker]}, True
    assert permit() == ""


def test_a_reconcile_that_is_stopped_takes_it_away(permitted):
    reconcile(complete=False)
    assert permit() == ""


@pytest.mark.parametrize("kind", ["reconcile", "preflight"])
def test_asking_while_a_run_is_at_work_takes_nothing_away(permitted, kind):
    with runs.running(kind, COURSE, judge=gate.review_permit) as record:
        content = api.gate(COURSE).content
        assert content["verdict"] == ("INCONCLUSIVE" if kind == "reconcile" else "PASS")
        assert permit() == "live"
        record.document, record.complete = {"findings": [], "fence_leaks": 0, "double_authority": 0}, True
    assert permit() == "live"
    assert tick() is Phase.LIVE


def test_what_speaks_against_the_course_counts_beside_a_run_at_work(permitted):
    with runs.running("reconcile", COURSE):
        rows.entries(20, item_id=rows.usage_key("b"), result=PairStatus.DIVERGED, divergences="correctness")
        assert api.gate(COURSE).content["verdict"] == "FAIL"
        assert permit() == ""


CHANGES = {
    "a newer reconcile": lambda settings: rows.reconciled(),
    "a newer preflight": lambda settings: rows.preflighted(),
    "a threshold": lambda settings: having(settings, GATE_THRESHOLD=0.005),
    "a setting": lambda settings: having(settings, GRADING_DEADLINE_SECONDS=60),
    "whose receivers deliver": lambda settings: having(settings, SCORE_RECEIVERS=["another_lms"]),
    "whom somebody vouched for": lambda settings: having(settings, LEGACY_PRIMARY="db:3306"),
    "the sample": lambda settings: having(settings, SAMPLE_PERCENT={COURSE: 50}),
    "settings that are not usable": lambda settings: having(settings, NO_SUCH=1),
    "the register": lambda settings: known_differences.add(DivergenceClass.SCORE, reason="r", owner="o", days=3),
    "its end": lambda settings: KnownDifference.objects.update(expires_at=now()),
    "no basis, by a release before": lambda settings: CoursePhase.objects.update(permit_basis=""),
}
NO_CHANGES = {
    "nothing": lambda settings: None,
    "a container's own": lambda settings: having(settings, PAUSE_FILE="/tmp/no", LEGACY_READ_TIMEOUT=3.0),
    "what the register has hit": lambda settings: KnownDifference.objects.update(hits=7),
    "another course's register": lambda settings: known_differences.add(
        DivergenceClass.SCORE, reason="r", owner="o", days=3, course_id="course-v1:O+C+1"
    ),
    "a reconcile that did not finish": lambda settings: rows.reconciled(complete=False),
}


def having(settings, **changes):
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | changes


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_it_does_not_hold_for_other_evidence(clean, settings, change):
    known_differences.add(DivergenceClass.STATE, reason="r", owner="o", days=3)
    toggles.force_flags(COURSE, True, False)
    api.gate(COURSE)
    change(settings)
    assert tick() is Phase.SHADOW
    assert permit() == "live"  # another process may still think otherwise; only a verdict takes it away


@pytest.mark.parametrize("change", NO_CHANGES.values(), ids=NO_CHANGES)
def test_it_holds_whatever_else_changes(clean, settings, change):
    known_differences.add(DivergenceClass.STATE, reason="r", owner="o", days=3)
    toggles.force_flags(COURSE, True, False)
    api.gate(COURSE)
    change(settings)
    assert tick() is Phase.LIVE


def test_a_course_in_drift_is_asked_about_once_a_minute(permitted, settings, monkeypatch, django_assert_num_queries):
    with django_assert_num_queries(2):
        toggles.new_work_cycle()
        assert not toggles.phase_of(COURSE).drift
    having(settings, GATE_THRESHOLD=0.005)
    asked = []
    holds = permits.holds
    monkeypatch.setattr(permits, "holds", lambda record: asked.append(record) or holds(record))
    toggles.force_flags(COURSE, True, True)
    for _ in range(3):
        toggles.new_work_cycle()
        assert toggles.phase_of(COURSE).drift
    assert len(asked) == 1
    with django_assert_num_queries(2):
        toggles.new_work_cycle()
        toggles.phase_of(COURSE)
    clock = toggles.time.monotonic
    monkeypatch.setattr(toggles.time, "monotonic", lambda: clock() + 61)
    settings.MIGRATION_SHIM = {key: value for key, value in settings.MIGRATION_SHIM.items() if key != "GATE_THRESHOLD"}
    assert toggles.phase_of(COURSE).phase is Phase.LIVE


def test_a_new_permit_is_asked_about_at_once(permitted, settings):
    having(settings, GATE_THRESHOLD=0.012)
    assert tick() is Phase.SHADOW
    api.gate(COURSE)
    toggles.new_work_cycle()
    assert toggles.phase_of(COURSE).phase is Phase.LIVE


@pytest.mark.parametrize("klass", sorted(DETERMINISTIC))
def test_what_a_run_stores_takes_it_away_though_the_run_never_ends(permitted, klass):
    rows.legacy_row(7)
    rows.backfill(courses=frozenset([COURSE]))
    with pytest.raises(KeyboardInterrupt):
        store_one(klass)
    assert klass in Divergence.objects.values_list("klass", flat=True)
    assert permit() == ""
    assert tick() is Phase.SHADOW


def test_what_is_registered_takes_nothing_away(clean):
    known_differences.add(DivergenceClass.STATE, reason="r", owner="o", days=3)
    toggles.force_flags(COURSE, True, False)
    api.gate(COURSE)
    rows.legacy_row(7)
    rows.backfill(courses=frozenset([COURSE]))
    with pytest.raises(KeyboardInterrupt):
        store_one(DivergenceClass.STATE)
    assert LedgerEntry.objects.filter(result=PairStatus.KNOWN).count() == 1
    assert permit() == "live"


@pytest.mark.django_db(transaction=True, databases=["default", "xqueue"])
def test_what_is_stored_while_a_verdict_is_made_takes_its_permit_away(clean, monkeypatch):
    if not connection.features.has_select_for_update_nowait:
        pytest.skip("SQLite's transactions take turns as a whole")
    rows.legacy_row(7)
    rows.backfill(courses=frozenset([COURSE]))
    judged, verdict, evaluate = threading.Event(), [], gate.evaluate_course

    def slowly(course_id, away):
        found = evaluate(course_id, away)
        judged.set()
        time.sleep(0.5)
        return found

    def ask():
        try:
            verdict.append(api.gate(COURSE).content["verdict"])
        finally:
            connections.close_all()

    monkeypatch.setattr(gate, "evaluate_course", slowly)
    asking = threading.Thread(target=ask)
    asking.start()
    assert judged.wait(60)
    with pytest.raises(KeyboardInterrupt):
        store_one(DivergenceClass.PAYLOAD)
    asking.join()
    assert verdict == ["PASS"]
    assert permit() == ""


def test_a_run_whose_verdict_fails_has_ended_for_all_that(permitted):
    def fails(run):
        raise RuntimeError("no verdict")

    with pytest.raises(RuntimeError), runs.running("reconcile", COURSE, judge=fails) as record:
        record.document, record.complete = {"fence_leaks": 0, "double_authority": 0}, True
    record.refresh_from_db()
    assert record.finished_at is not None
    assert tick() is Phase.SHADOW
