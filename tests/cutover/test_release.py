"""The platform's own flag: on only for a course that needs nothing of the shim, and off before anything else."""

import itertools
import json
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils.timezone import now
from waffle import get_waffle_flag_model

from migration_shim import api, toggles
from migration_shim.core.data import ExitCode, Phase
from migration_shim.core.errors import IllegalStep, ShimError
from migration_shim.core.phases import flags_of
from migration_shim.cutover import release
from migration_shim.cutover.overrides import Request
from migration_shim.lms import flags
from migration_shim.models import CoursePhase, GateOverride, LedgerEntry, PhaseChange, Run
from migration_shim.reports import terminal
from migration_shim.runs import records as runs
from tests.builders import rows
from tests.builders.overrides import signer, step_past_gate
from tests.builders.rows import COURSE, fresh  # noqa: F401
from tests.schemas import validate

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
KEY = "course-v1:ExU+PY1+2026"


@pytest.fixture(name="complete")
def a_complete_course(platform):
    """A course that went all the way, with an old preflight that found nothing but what legacy's end brings."""
    for phase in (Phase.SHADOW, Phase.LIVE, Phase.COMPLETE):
        step_past_gate(COURSE, phase)
    preflighted()
    return platform


def preflighted(*findings, ago=timedelta(0), **changes):
    found = [finding("reverse_queue_not_polled", severity="blocker", rows=0), *findings]
    document = {"findings": found, "versions": runs.versions(), "queues": [rows.QUEUE]} | changes
    Run.objects.create(kind="preflight", scope=COURSE, finished_at=now() - ago, complete=True, document=document)


def finding(code, severity="note", rows=3, seam=False):
    return {"code": code, "severity": severity, "rows": rows, "seam": seam, "queue": "q", "problem": "p"}


def let_go(execute=True, override=False, login="ada", confirmed=COURSE, codes=None):
    """One call; an override names all that an operator may answer for, if the test names nothing else."""
    toggles.new_work_cycle()
    how = {"reason": "over", "user": "ada", "login": None}
    if override:
        plan = api.release(COURSE, **how, execute=False, override=Request()).content
        causes = frozenset(plan["accepted"] if codes is None else codes)
        how |= {"login": login, "override": Request(causes=causes, confirmed=confirmed)}
    document = api.release(COURSE, **how, execute=execute)
    validate(document.content)
    assert terminal.render(document.content)
    return document


def entry(**fields):
    """A submission of a course whose target is authoritative, as the ledger keeps it; it needs no seam."""
    info = {"anonymous_student_id": rows.anonymous_id(3), "submission_time": "", "random_seed": 1}
    kept = {
        "raw_header": rows.header(3, "a" * 32, "k"),
        "grader_payload": rows.PAYLOAD,
        "student_info": json.dumps(info),
    }
    rows.entries(1, authority="target", **(kept | fields))


@pytest.mark.parametrize(("course", "org", "all_courses"), list(itertools.product([None, False, True], repeat=3)))
def test_the_flag_is_read_as_the_platform_reads_it(platform, course, org, all_courses):
    if all_courses is not None:
        get_waffle_flag_model().objects.create(name=release.FLAG, everyone=all_courses)
    for model, scope, value in (("Course", {"course_id": KEY}, course), ("Org", {"org": "ExU"}, org)):
        if value is not None:
            choice = "on" if value else "off"
            platform[model].objects.create(waffle_flag=release.FLAG, override_choice=choice, enabled=True, **scope)
    expected = next((value for value in (course, org, all_courses) if value is not None), False)
    assert flags.submission_flag_on(COURSE) is expected
    assert toggles.bypasses_shim(COURSE) is expected


def test_on_for_some_learners_is_on(platform):
    flag = get_waffle_flag_model().objects.create(name=release.FLAG, superusers=True)
    assert flags.submission_flag_on(COURSE) is False
    flag.percent = 5
    flag.save()
    assert flags.submission_flag_on(COURSE) is True


def test_the_flags_of_the_shim_go_through_the_platform_too(platform):
    api.cutover(COURSE, Phase.SHADOW, reason="r", execute=True, user="ada", login=None)
    written = platform["Course"].objects.order_by("id").values_list("waffle_flag", "override_choice", "enabled")
    assert list(written) == [(toggles.DUAL_WRITE_FLAG, "on", True), (toggles.TARGET_PRIMARY_FLAG, "off", True)]
    assert toggles.flags_for(COURSE) == (True, False)


def test_a_release_and_the_way_back(complete):
    entry()
    plan = let_go(execute=False)
    assert (plan.exit_code, plan.content["permitted"], plan.content["executed"]) == (0, True, False)
    assert not flags.submission_flag_on(COURSE)
    done = let_go()
    assert (done.exit_code, done.content["executed"]) == (0, True)
    assert flags.submission_flag_on(COURSE)
    assert not toggles.bypasses_shim(COURSE)
    logged = PhaseChange.objects.latest("id")
    assert (logged.step_from, logged.step_to, logged.changed_by) == ("complete", "complete", "ada")
    assert logged.evidence["platform_flag"] == "on"
    with pytest.raises(IllegalStep, match="released already"):
        let_go()
    back = api.cutover(COURSE, Phase.LIVE, reason="r", execute=True, user="ada", login=None)
    assert back.content["platform_flag_before"] is True
    assert not flags.submission_flag_on(COURSE)
    assert PhaseChange.objects.latest("id").evidence["platform_flag"] == "off"
    newest = complete["Course"].objects.order_by("-id").values_list("waffle_flag", flat=True)[:3]
    assert list(newest) == [toggles.TARGET_PRIMARY_FLAG, toggles.DUAL_WRITE_FLAG, release.FLAG]  # off first
    assert CoursePhase.objects.get().released_at is None
    assert api.audit([COURSE]).content["broken"] == 0


@pytest.mark.parametrize("to", [Phase.LEGACY, Phase.LIVE])
def test_a_flag_that_was_turned_on_past_the_shim_is_turned_off(complete, to):
    complete["Org"].objects.create(waffle_flag=release.FLAG, org="ExU", override_choice="on", enabled=True)
    assert toggles.bypasses_shim(COURSE)
    with pytest.raises(IllegalStep, match="past the shim"):
        api.cutover(COURSE, Phase.COMPLETE, reason="r", execute=True, user="ada", login=None)
    assert "on -> off, first" in terminal.render(step(to, execute=False).content)
    assert flags.submission_flag_on(COURSE)
    step(to)
    assert not flags.submission_flag_on(COURSE)
    assert flags.submission_flag_on("course-v1:ExU+other+1")


def step(to, execute=True):
    document = api.cutover(COURSE, to, reason="r", execute=execute, user="ada", login=None)
    validate(document.content)
    return document


def test_legacy_itself_can_turn_it_off(platform):
    """The course is in legacy, and its submissions go past the shim: no step, and yet something to do."""
    get_waffle_flag_model().objects.create(name=release.FLAG, everyone=True)
    with pytest.raises(IllegalStep, match="past the shim"):
        step(Phase.SHADOW)
    step(Phase.LEGACY)
    assert not flags.submission_flag_on(COURSE)
    with pytest.raises(IllegalStep, match="already"):
        step(Phase.LEGACY)


@pytest.mark.parametrize(
    "finding",
    [
        finding("payload_extra_keys", seam=True),
        finding("random_seed", seam=True),
        finding("matlab_plot", severity="warning"),
        finding("answer_over_limit", severity="blocker"),
        finding("of_a_later_release", severity="blocker"),
    ],
    ids=lambda item: item["code"],
)
def test_what_the_seam_would_take_care_of_keeps_a_course(complete, finding):
    preflighted(finding)
    document = let_go(override=True)
    assert document.exit_code == ExitCode.DIFFERENCES
    assert [item["code"] for item in document.content["findings"]] == [finding["code"]]
    assert finding["code"] in terminal.render(document.content)
    assert not flags.submission_flag_on(COURSE)
    assert PhaseChange.objects.latest("id").evidence.get("platform_flag") is None


@pytest.mark.parametrize(
    "finding",
    [finding("collided", severity="warning"), finding("score_rounded"), finding("random_seed", rows=0, seam=True)],
)
def test_what_is_only_legacys_or_harmless_does_not(complete, finding):
    preflighted(finding)
    assert let_go().content["executed"]


@pytest.mark.parametrize(
    "fields",
    [
        {"grader_payload": '{"grader": "a", "limit": 3}'},
        {"grader_payload": None},
        {"grader_payload": "no json"},
        {"extra_body": '{"token": 1}'},
        {"student_info": json.dumps({"anonymous_student_id": "a" * 32, "submission_time": "", "random_seed": 7})},
    ],
)
def test_what_learners_sent_since_counts_as_well(complete, fields):
    """Legacy never saw it, so no preflight has."""
    entry()
    entry(**fields)
    document = let_go(override=True)
    assert document.exit_code == ExitCode.DIFFERENCES
    assert {(item["rows"], item["side"]) for item in document.content["findings"]} == {(1, "target")}
    assert LedgerEntry.objects.count() == 2


def test_what_an_operator_may_answer_for_needs_a_signature(complete):
    preflighted(finding("submission_time_format", seam=True))
    entry(student_info="", raw_header="")  # purged
    document = let_go()
    assert document.exit_code == ExitCode.DIFFERENCES
    assert "--override" in terminal.render(document.content)
    document = let_go(override=True)
    assert document.content["accepted"] == ["residue_purged", "submission_time_format"]
    assert document.content["executed"]
    assert PhaseChange.objects.latest("id").evidence["accepted"] == ["residue_purged", "submission_time_format"]


@pytest.mark.parametrize(
    ("how", "match"),
    [
        ({"login": None}, "needs a person"),
        ({"confirmed": ""}, "confirmed by the course's id"),
        ({"codes": ["submission_time_format", "residue_purged"]}, "answer for it: residue_purged"),
        ({"codes": []}, "were not named: submission_time_format"),
    ],
)
def test_and_that_signature_names_person_codes_and_course(complete, how, match):
    preflighted(finding("submission_time_format", seam=True))
    signed = GateOverride.objects.count()
    with pytest.raises(IllegalStep, match=match):
        let_go(override=True, **how)
    assert not flags.submission_flag_on(COURSE) and GateOverride.objects.count() == signed


def test_and_can_need_a_second_person(complete, settings):
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"OVERRIDE_NEEDS_SECOND": True}
    preflighted(finding("submission_time_format", seam=True))
    signer("grace")
    first = let_go(override=True)
    assert (first.exit_code, first.content["executed"]) == (ExitCode.LEFT_BEHIND, False)
    assert "PROPOSED. Release" in terminal.render(first.content) and not flags.submission_flag_on(COURSE)
    second = let_go(override=True, login="grace")
    assert second.content["executed"] and flags.submission_flag_on(COURSE)
    assert PhaseChange.objects.latest("id").evidence["override"]["seconded_by"] == "grace"


def test_without_fresh_evidence_nothing_is_released(complete):
    preflighted(ago=timedelta(days=2))
    assert let_go().exit_code == ExitCode.DIFFERENCES | ExitCode.STALE
    preflighted(versions={})
    assert let_go().content["reasons"] == ["the preflight was made with other versions than those installed"]
    Run.objects.all().delete()
    document = let_go(override=True)
    assert document.content["reasons"] == ["there is no preflight of the course on record"]
    assert "Next: xqueue_preflight" in terminal.render(document.content)
    assert not flags.submission_flag_on(COURSE)


@pytest.mark.parametrize("phase", [Phase.LEGACY, Phase.SHADOW, Phase.LIVE])
def test_only_a_complete_course_is_released(complete, phase):
    rows.in_phase(phase)
    toggles.force_flags(COURSE, *flags_of(phase))
    with pytest.raises(IllegalStep, match="Only a course in complete"):
        let_go()


def test_a_login_that_is_not_there_and_drift(complete):
    with pytest.raises(ShimError, match="no LMS user 'nobody'"):
        api.release(COURSE, reason="r", execute=True, user="ada", login="nobody")
    get_waffle_flag_model().objects.create(name=toggles.DUAL_WRITE_FLAG, everyone=True)
    complete["Course"].objects.create(
        waffle_flag=toggles.TARGET_PRIMARY_FLAG, course_id=KEY, override_choice="off", enabled=True
    )
    with pytest.raises(IllegalStep, match="Only a course in complete"):
        let_go()


def test_steps_that_do_not_go_together_are_a_wrong_call():
    words = ["xqueue_cutover", "--course", COURSE, "--reason", "r"]
    for wrong in (
        ["--to", "live", "--release"],
        ["--to", "complete", "--release", "--remove-shadows"],
        ["--to", "complete", "--release", "--course", "course-v1:ExU+other+1"],
    ):
        with pytest.raises(CommandError) as refused:
            call_command(*words, *wrong)
        assert refused.value.returncode == ExitCode.USAGE
