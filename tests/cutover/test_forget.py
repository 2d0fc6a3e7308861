"""The removal of a course's record: only of a course without any past, and never at the cost of a log."""

import json

import pytest
from django.core.management import CommandError, call_command, load_command_class
from django.utils.timezone import now

from migration_shim import api, toggles
from migration_shim.core.data import DivergenceClass, ExitCode, Phase
from migration_shim.core.phases import flags_of
from migration_shim.cutover.forget import forget
from migration_shim.models import Campaign, CampaignCourse, CoursePhase, GateOverride, PhaseChange, Run
from tests.builders import rows
from tests.builders.rows import COURSE, fresh  # noqa: F401
from tests.schemas import validate

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])


def run(*words):
    command = load_command_class("migration_shim", "xqueue_cutover")
    call_command(command, "--forget", "--reason", "mistyped", *words)
    return command.exit_code


def reasons():
    plan = forget(COURSE, reason="r", user="ada", execute=False)
    done = forget(COURSE, reason="r", user="ada", execute=True)
    assert done.content["reasons"] == plan.content["reasons"]
    assert (plan.content["executed"], done.content["executed"]) == (False, not plan.content["reasons"])
    assert plan.exit_code == done.exit_code == (ExitCode.DIFFERENCES if plan.content["reasons"] else ExitCode.OK)
    return plan.content["reasons"]


def test_a_mistyped_course_is_removed_once_it_is_said(capsys):
    call_command("xqueue_gate", "--course", COURSE, "--new")  # it made the record
    call_command("xqueue_preflight", "--course", COURSE)
    call_command("xqueue_reconcile", "--course", COURSE)
    capsys.readouterr()
    assert run("--course", COURSE) == ExitCode.OK
    assert "Next: the same command with --execute" in capsys.readouterr().out
    assert CoursePhase.objects.filter(course_id=COURSE).exists()
    assert run("--course", "PY1", "--execute", "--format", "json") == ExitCode.OK
    content = validate(json.loads(capsys.readouterr().out))
    assert content["executed"]
    assert not CoursePhase.objects.filter(course_id=COURSE).exists()
    kept = Run.objects.get(kind="forget", scope=COURSE)
    assert kept.complete
    assert kept.document == content
    assert kept.document["reason"] == "mistyped"
    assert api.audit([]).content["whole"]
    # It is a course like any other again.
    with pytest.raises(CommandError, match="No course"):
        run("--course", COURSE)
    api.cutover(COURSE, Phase.SHADOW, reason="it is no typo", execute=True, user="ada", login=None)
    assert api.audit([COURSE]).content["whole"]


def stepped():
    api.cutover(COURSE, Phase.SHADOW, reason="r", execute=True, user="ada", login=None)
    api.cutover(COURSE, Phase.LEGACY, reason="r", execute=True, user="ada", login=None)


def in_a_campaign(held):
    campaign = Campaign.objects.create(name="one", to="live", canary=COURSE, reason="r", started_by="ada")
    CampaignCourse.objects.create(campaign=campaign, course_id=COURSE, place=0, held=held)


def flag_was_on():
    toggles.force_flags(COURSE, *flags_of(Phase.SHADOW))
    toggles.force_flags(COURSE, False, False)


PAST = {
    "in shadow": (lambda: rows.in_phase("shadow"), ["it is in shadow"]),
    "an entry": (lambda: rows.entries(1), ["the ledger has entries of it: 1"]),
    "a log": (stepped, ["it has a log, which is never removed; its entries: 2", "a flag was on for it"]),
    "a flag": (
        lambda: toggles.force_flags(COURSE, *flags_of(Phase.SHADOW)),
        ["a flag is on for it, by its own override, its organisation's, or for everyone"],
    ),
    "a flag in the past": (flag_was_on, ["a flag was on for it"]),
    "a preflight of rows": (
        lambda: (rows.legacy_row(), call_command("xqueue_preflight", "--course", COURSE)),
        ["a preflight has seen submissions of it: 1"],
    ),
    "a reconcile of rows": (
        lambda: rows.reconciled(document={"of": 3}),
        ["a reconcile has seen submissions of it: 3"],
    ),
    "a leak": (lambda: CoursePhase.objects.update(fence_leaks=1), ["fence leaks are on record: 1"]),
    "released": (
        lambda: CoursePhase.objects.update(released_at=now()),
        ["it was released to the platform's own path"],
    ),
    "a campaign": (
        lambda: in_a_campaign(True),
        ["it is in campaign one, which would put it on record again"],
    ),
    "an override": (
        lambda: GateOverride.objects.create(
            course_id=COURSE, step_to="live", reason="r", signed_by="ada", expires_at=now()
        ),
        ["it is named by a gate override; there are 1"],
    ),
    "a known difference": (
        lambda: api.add_known_difference(DivergenceClass.SCORE, reason="r", owner="ada", days=1, course_id=COURSE),
        ["it is named by a known difference; there are 1"],
    ),
}


@pytest.mark.parametrize(("make", "said"), PAST.values(), ids=PAST)
def test_a_course_with_a_past_keeps_its_record_and_says_why(make, said, capsys):
    rows.in_phase("legacy")
    make()
    before = PhaseChange.objects.count()
    assert reasons() == said
    assert CoursePhase.objects.filter(course_id=COURSE).exists()
    assert PhaseChange.objects.count() == before
    capsys.readouterr()
    assert run("--course", COURSE, "--execute") == ExitCode.DIFFERENCES
    printed = capsys.readouterr().out
    assert printed.startswith(f"NOT PERMITTED. The record of {COURSE} stays.\n")
    assert f"  because {said[0]}" in printed


def test_a_campaign_that_has_ended_keeps_no_record():
    rows.in_phase("legacy")
    in_a_campaign(None)
    assert reasons() == []


def test_what_has_no_record_cannot_be_removed():
    rows.legacy_row()  # XQueue knows it
    assert reasons() == ["the shim has no record of it"]


def test_one_at_a_time():
    rows.in_phase("legacy")
    with pytest.raises(CommandError, match="--forget goes with one --course") as error:
        run("--org", "ExU")
    assert error.value.returncode == ExitCode.USAGE
