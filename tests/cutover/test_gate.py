"""The gate over stored evidence: only a whole, fresh and clean record is a PASS, and only a PASS is a permit."""

from datetime import timedelta

import pytest
from django.core.management import call_command
from django.utils.timezone import now

from migration_shim import api, toggles
from migration_shim.core.data import ExitCode, Leg, PairStatus, Phase, Verdict
from migration_shim.cutover import gate as cutover_gate
from migration_shim.management.commands.xqueue_gate import Command
from migration_shim.models import CoursePhase, LedgerEntry, Run
from tests.builders import rows
from tests.builders.rows import COURSE, clean_course, entries, fresh, reconciled  # noqa: F401

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
CLOSED = ExitCode.DIFFERENCES | ExitCode.STALE


def gate():
    document = api.gate(COURSE)
    return document.content["verdict"], document


def test_a_clean_record_passes_and_permits_the_next_step_until_it_is_stale(clean):
    verdict, document = gate()
    assert (verdict, document.content["reasons"], document.exit_code) == (Verdict.PASS, [], ExitCode.OK)
    course = CoursePhase.objects.get()
    assert course.permit == Phase.LIVE
    assert course.permit_run == Run.objects.get(kind="gate")
    assert course.permit_run.document == document.content
    assert course.permit_until - now() == pytest.approx(timedelta(days=1), abs=timedelta(minutes=1))


def test_a_permit_does_not_outlive_its_evidence(clean):
    Run.objects.filter(pk=clean[1].pk).update(finished_at=now() - timedelta(hours=20))
    gate()
    assert CoursePhase.objects.get().permit_until - now() == pytest.approx(timedelta(hours=4), abs=timedelta(minutes=1))


def test_one_pair_less_is_inconclusive(clean):
    LedgerEntry.objects.all()[:1].get().delete()
    verdict, document = gate()
    assert verdict == Verdict.INCONCLUSIVE
    assert document.content["needed"] == ["1 more graded pair without a divergence"]
    assert document.exit_code == CLOSED


MISSING = {
    "no reconcile": lambda reconcile, preflight: reconcile.delete(),
    "no preflight": lambda reconcile, preflight: preflight.delete(),
    "a preflight that did not finish": lambda reconcile, preflight: Run.objects.filter(pk=preflight.pk).update(
        complete=False
    ),
    "a newer reconcile that was stopped": lambda reconcile, preflight: reconciled(complete=False),
    "a newer reconcile that failed": lambda reconcile, preflight: reconciled(complete=False, document={}),
    "a newer reconcile still at work": lambda reconcile, preflight: reconciled(complete=False, finished_at=None),
    "no entries": lambda reconcile, preflight: LedgerEntry.objects.all().delete(),
    "entries not compared": lambda reconcile, preflight: LedgerEntry.objects.update(
        result=PairStatus.NONE, graded_pair=False
    ),
    "entries that wait": lambda reconcile, preflight: LedgerEntry.objects.update(
        result=PairStatus.WAITING, graded_pair=False
    ),
    "history only": lambda reconcile, preflight: LedgerEntry.objects.update(history=True),
    "no copy wanted": lambda reconcile, preflight: LedgerEntry.objects.update(target_leg=Leg.NONE),
    "known differences only": lambda reconcile, preflight: LedgerEntry.objects.update(
        result=PairStatus.KNOWN, graded_pair=False
    ),
    "another course's": lambda reconcile, preflight: LedgerEntry.objects.update(course_id="course-v1:ExU+py1+2026"),
    "one overdue": lambda reconcile, preflight: entries(1, result=PairStatus.OVERDUE, graded_pair=False),
    "a queue without a grader": lambda reconcile, preflight: entries(
        4, queue_name="other", result=PairStatus.WAITING, graded_pair=False
    ),
    "a thin problem that carries much": lambda reconcile, preflight: entries(
        40, item_id=rows.usage_key("b"), result=PairStatus.WAITING, graded_pair=False
    ),
}


@pytest.mark.parametrize("change", MISSING.values(), ids=MISSING)
def test_missing_evidence_is_never_a_pass(clean, change):
    change(*clean)
    verdict, document = gate()
    assert verdict == Verdict.INCONCLUSIVE
    assert document.content["reasons"]
    assert document.exit_code == CLOSED
    assert CoursePhase.objects.get().permit == ""


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(("age", "verdict"), [(timedelta(hours=23), "PASS"), (timedelta(hours=25), "STALE")])
def test_old_evidence_is_stale(clean, which, age, verdict):
    Run.objects.filter(pk=clean[which].pk).update(finished_at=now() - age)
    found, document = gate()
    assert found == verdict
    assert document.exit_code == (ExitCode.OK if verdict == "PASS" else CLOSED)
    assert CoursePhase.objects.get().permit == (Phase.LIVE if verdict == "PASS" else "")


FAILING = {
    "a fence leak": lambda reconcile, preflight: reconciled(document={"fence_leaks": 1}),
    "double authority": lambda reconcile, preflight: reconciled(document={"double_authority": 1}),
    "a missing copy": lambda reconcile, preflight: entries(
        1, result=PairStatus.DIVERGED, divergences="presence", graded_pair=False, target_leg=Leg.MISSING
    ),
    "a copy that failed": lambda reconcile, preflight: entries(
        1, result=PairStatus.DIVERGED, divergences="presence", graded_pair=False, target_leg=Leg.FAILED
    ),
    "a difference in state": lambda reconcile, preflight: entries(1, result=PairStatus.DIVERGED, divergences="state"),
    "a blocker": lambda reconcile, preflight: Run.objects.filter(pk=preflight.pk).update(
        document={"findings": [{"code": "random_seed", "severity": "blocker", "rows": 3}]}
    ),
    "one problem that is wrong": lambda reconcile, preflight: entries(
        20, item_id=rows.usage_key("b"), result=PairStatus.DIVERGED, divergences="correctness,score"
    ),
}


@pytest.mark.parametrize("change", FAILING.values(), ids=FAILING)
def test_what_is_wrong_fails(clean, change):
    change(*clean)
    verdict, document = gate()
    assert verdict == Verdict.FAIL
    assert document.exit_code == ExitCode.DIFFERENCES
    assert CoursePhase.objects.get().permit == ""


def test_a_warning_is_no_blocker(clean):
    findings = [{"code": "unreadable", "severity": "warning", "rows": 3}]
    Run.objects.filter(pk=clean[1].pk).update(document={"findings": findings})
    assert gate()[0] == Verdict.PASS


def test_a_failure_outranks_what_is_old_or_missing(clean):
    entries(1, result=PairStatus.DIVERGED, divergences="state")
    Run.objects.filter(pk=clean[0].pk).update(finished_at=now() - timedelta(days=2))
    Run.objects.filter(pk=clean[1].pk).update(complete=False)
    verdict, document = gate()
    assert verdict == Verdict.FAIL
    assert len(document.content["reasons"]) == 4  # the failure, the age, the preflight that is not there, and the rate


def test_a_divergence_costs_pairs_and_does_not_fail(clean):
    entries(1, result=PairStatus.DIVERGED, divergences="score")
    verdict, document = gate()
    assert verdict == Verdict.INCONCLUSIVE
    (needed,) = document.content["needed"]
    assert 100 < int(needed.split()[0]) < 400
    entries(int(needed.split()[0]) - 1)
    assert gate()[0] == Verdict.INCONCLUSIVE
    entries(1)
    assert gate()[0] == Verdict.PASS


def test_a_verdict_takes_an_older_permit_away(clean):
    gate()
    assert CoursePhase.objects.get().permit == Phase.LIVE
    entries(1, result=PairStatus.DIVERGED, divergences="state")
    gate()
    course = CoursePhase.objects.get()
    assert (course.permit, course.permit_until, course.permit_run) == ("", None, None)


@pytest.mark.parametrize(
    ("phase", "permit"), [("legacy", ""), ("shadow", "live"), ("live", "complete"), ("complete", "")]
)
def test_a_pass_permits_the_next_step_and_no_other(clean, phase, permit):
    CoursePhase.objects.update(phase=phase)
    LedgerEntry.objects.update(authority=Phase(phase).authority)
    assert gate()[0] == Verdict.PASS
    assert CoursePhase.objects.get().permit == permit


@pytest.mark.parametrize(("phase", "other"), [("shadow", "target"), ("live", "legacy")])
def test_pairs_of_the_other_authority_say_nothing_of_the_next_step(clean, phase, other):
    """That shadows were right is no evidence for the grades that the target gives for real, nor the other way round."""
    CoursePhase.objects.update(phase=phase)
    LedgerEntry.objects.update(authority=other)
    verdict, document = gate()
    assert verdict == Verdict.INCONCLUSIVE
    assert document.content["evidence"]["problems"] == []


def test_a_permit_moves_the_course_when_the_flags_ask_for_it(clean):
    toggles.force_flags(COURSE, True, True)
    assert toggles.phase_of(COURSE).phase is Phase.SHADOW
    gate()
    toggles.new_work_cycle()
    assert toggles.phase_of(COURSE).phase is Phase.LIVE


def test_the_thresholds_are_the_settings(clean, settings):
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"EVIDENCE_MAX_AGE_SECONDS": 10}
    Run.objects.update(finished_at=now() - timedelta(seconds=20))
    assert gate()[0] == Verdict.STALE
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"EVIDENCE_MAX_AGE_SECONDS": 60, "GATE_THRESHOLD": 0.005}
    assert gate()[0] == Verdict.INCONCLUSIVE


def test_the_evidence_in_the_document_is_what_is_stored(clean):
    entries(3, item_id=rows.usage_key("b"), result=PairStatus.DIVERGED, divergences="score")
    entries(2, item_id=rows.usage_key("b"), queue_name="other", result=PairStatus.OVERDUE, graded_pair=False)
    found = api.gate(COURSE).content["evidence"]
    counts = ("name", "entries", "graded_pairs", "diverged", "deterministic")
    assert [tuple(problem[key] for key in counts) for problem in found["problems"]] == [
        (rows.usage_key("a"), 449, 449, 0, 0),
        (rows.usage_key("b"), 5, 3, 3, 0),
    ]
    assert [(queue["name"], queue["entries"]) for queue in found["queues"]] == [(rows.QUEUE, 452), ("other", 2)]
    assert (found["overdue"], found["missing"]) == (2, 0)


def test_a_course_of_which_nothing_is_known_is_inconclusive():
    verdict, document = gate()
    assert verdict == Verdict.INCONCLUSIVE
    assert {"a reconcile", "a preflight"} < set(document.content["needed"])


def test_problems_that_differ_in_case_only_are_two(clean):
    """MariaDB's usual collations would add them up."""
    entries(2, item_id=rows.usage_key("A"))
    names = [problem["name"] for problem in api.gate(COURSE).content["evidence"]["problems"]]
    assert sorted(names) == sorted([rows.usage_key("a"), rows.usage_key("A")])


@pytest.mark.parametrize(("change", "code"), [(None, 0), ("state", 2), ("nothing", 10)])
def test_the_commands_exit_codes(clean, change, code, capsys):
    if change == "state":
        entries(1, result=PairStatus.DIVERGED, divergences="state")
    if change == "nothing":
        LedgerEntry.objects.all().delete()
    command = Command()
    call_command(command, "--course", COURSE)
    assert command.exit_code == code
    assert capsys.readouterr().out.split()[0] in {0: ["PASS"], 2: ["FAIL"], 10: ["INCONCLUSIVE"]}[code]


def test_the_gates_own_evidence_is_one_query_a_kind(clean, django_assert_max_num_queries):
    """Cost follows problems and queues, not submissions: everything is counted in the database."""
    with django_assert_max_num_queries(28):
        cutover_gate.evaluate_course(COURSE)
