"""Moving a course: legal steps only, past the gate only with a PASS, all of a step or nothing of it, one at a time."""

import threading
from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import connections
from django.utils.timezone import now

from migration_shim import api, toggles
from migration_shim.core.data import ExitCode, Phase
from migration_shim.core.errors import ConfigurationError, IllegalStep, ShimError
from migration_shim.core.phases import allowed_steps, flags_of, needs_permit
from migration_shim.cutover import steps as cutover
from migration_shim.models import CoursePhase, FlagOverride, LedgerEntry, PhaseChange, Run
from migration_shim.runs import records as runs
from tests.builders import rows
from tests.builders.rows import COURSE, clean_course, entries, fresh  # noqa: F401

BOTH = ["default", "xqueue"]
pytestmark = pytest.mark.django_db(databases=BOTH)
shared = pytest.mark.django_db(databases=BOTH, transaction=True)

STEPS = {
    Phase.LEGACY: {Phase.SHADOW},
    Phase.SHADOW: {Phase.LEGACY, Phase.LIVE},
    Phase.LIVE: {Phase.LEGACY, Phase.SHADOW, Phase.COMPLETE},
    Phase.COMPLETE: {Phase.LEGACY, Phase.LIVE},
}
GATED = {(Phase.SHADOW, Phase.LIVE), (Phase.LIVE, Phase.COMPLETE)}
EVERY = [(start, to) for start in Phase for to in Phase]


def step(to, execute=True, reason="because", login=None):
    return api.cutover(COURSE, to, reason=reason, execute=execute, user="ada", login=login)


def stand(phase):
    """Put the course into a phase with its flags, and let its pairs be pairs of that phase."""
    LedgerEntry.objects.update(authority=phase.authority)
    rows.enter(phase)


def everything():
    """All that a step may change."""
    models = (CoursePhase, FlagOverride, PhaseChange)
    return [list(model.objects.order_by("pk").values_list()) for model in models]


def phase():
    toggles.new_work_cycle()
    return toggles.phase_of(COURSE).phase


def test_the_table_of_steps_is_the_phase_machines():
    assert {start: set(allowed_steps(start)) for start in Phase} == STEPS
    assert {pair for pair in EVERY if pair[1] in STEPS[pair[0]] and needs_permit(*pair)} == GATED


@pytest.mark.usefixtures("clean")
@pytest.mark.parametrize(("start", "to"), EVERY)
def test_legal_steps_are_taken_and_the_others_refused(start, to):
    stand(start)
    if to not in STEPS[start]:
        before = everything()
        with pytest.raises(IllegalStep, match=f"phase {to} already" if to is start else f"not to {to}"):
            step(to)
        assert everything() == before
        assert phase() is start
        return
    document = step(to)
    assert document.exit_code == ExitCode.OK
    assert document.content["executed"] is True
    assert document.content["gated"] == ((start, to) in GATED)
    assert document.content["verdict"] == ("PASS" if (start, to) in GATED else None)
    assert phase() is to
    toggles.new_work_cycle()
    assert toggles.flags_for(COURSE) == flags_of(to)


@pytest.mark.parametrize(("start", "to"), sorted(GATED))
def test_without_a_pass_the_target_does_not_become_authoritative(start, to):
    stand(start)
    before = everything()
    document = step(to)
    assert document.exit_code == ExitCode.DIFFERENCES | ExitCode.STALE
    content = document.content
    assert (content["executed"], content["permitted"], content["verdict"]) == (False, False, "INCONCLUSIVE")
    assert content["reasons"]
    assert content["needed"]
    assert everything() == before
    assert phase() is start


@pytest.mark.usefixtures("clean")
def test_a_fail_and_stale_evidence_do_not_open_it_either():
    stand(Phase.SHADOW)
    before = everything()
    Run.objects.update(finished_at=now() - timedelta(days=2))
    assert step(Phase.LIVE).exit_code == ExitCode.DIFFERENCES | ExitCode.STALE
    Run.objects.update(finished_at=now())
    entries(1, result="diverged", divergences="state")
    assert step(Phase.LIVE).exit_code == ExitCode.DIFFERENCES
    assert everything() == before


@pytest.mark.usefixtures("clean")
def test_a_verdict_of_yesterday_is_not_asked_but_the_evidence_of_now():
    stand(Phase.SHADOW)
    assert api.gate(COURSE).content["verdict"] == "PASS"
    entries(1, result="diverged", divergences="state")
    assert CoursePhase.objects.get().permit == "live"
    assert step(Phase.LIVE).exit_code == ExitCode.DIFFERENCES


@pytest.mark.usefixtures("clean")
@pytest.mark.parametrize(("start", "to"), [pair for pair in EVERY if pair[1] in STEPS[pair[0]]])
def test_a_plan_writes_nothing(start, to):
    stand(start)
    before = everything()
    document = step(to, execute=False)
    assert everything() == before
    assert document.content["executed"] is False
    assert document.content["flags_before"] == dict(zip(toggles.FLAGS, flags_of(start), strict=True))
    assert document.content["flags_after"] == dict(zip(toggles.FLAGS, flags_of(to), strict=True))
    assert document.content["authoritative_after"] == to.authority
    assert phase() is start


@pytest.mark.usefixtures("clean")
def test_who_why_and_on_what_evidence():
    user = get_user_model().objects.create_user("boss")
    stand(Phase.SHADOW)
    known = FlagOverride.objects.count()
    document = step(Phase.LIVE, reason="449 clean pairs", login="boss")
    change = PhaseChange.objects.get()
    assert (change.step_from, change.step_to) == (Phase.SHADOW, Phase.LIVE)
    assert (change.changed_by, change.reason) == ("ada", "449 clean pairs")
    planned = {name: value for name, value in document.content.items() if name != "executed"}
    settings = change.evidence.pop("settings")
    assert change.evidence == {
        "digest": runs.digest(planned),
        "verdict": "PASS",
        "overridden": False,
        "login": "boss",
    }
    assert settings["gate_threshold"] == 0.01
    assert not {"legacy_password", "submit_users"} & set(settings)
    written = FlagOverride.objects.order_by("id")[known:]
    assert [(row.flag, row.force, row.note, row.changed_by) for row in written] == [
        (flag, True, "449 clean pairs", user) for flag in toggles.FLAGS
    ]
    assert CoursePhase.objects.get().since == pytest.approx(now(), abs=timedelta(minutes=1))


def test_an_lms_user_who_is_not_there_cannot_sign():
    before = everything()
    with pytest.raises(ShimError, match="no LMS user 'nobody'"):
        step(Phase.SHADOW, login="nobody")
    assert everything() == before


@shared
@pytest.mark.usefixtures("clean")
@pytest.mark.parametrize("fails", ["force_flags", "record_step"])
def test_a_step_is_taken_whole_or_not_at_all(fails, monkeypatch):
    stand(Phase.SHADOW)
    before = everything()
    original = getattr(toggles, fails)

    def broken(*args, **kwargs):
        original(*args, **kwargs)
        raise OSError("the connection is gone")

    monkeypatch.setattr(cutover.toggles, fails, broken)
    with pytest.raises(OSError, match="gone"):
        step(Phase.LIVE)
    assert everything() == before
    assert phase() is Phase.SHADOW
    monkeypatch.undo()
    assert step(Phase.LIVE).content["executed"]


@pytest.mark.parametrize("start", [Phase.LIVE, Phase.COMPLETE])
def test_the_way_back_waits_for_no_gate(start):
    """No evidence at all, and a reconcile that says the worst."""
    stand(start)
    Run.objects.create(
        kind="reconcile", scope=COURSE, finished_at=now(), complete=True, document={"double_authority": 3}
    )
    document = step(Phase.LEGACY, reason="emergency")
    assert (document.exit_code, document.content["gated"], document.content["executed"]) == (0, False, True)
    assert phase() is Phase.LEGACY
    assert PhaseChange.objects.get().reason == "emergency"


def test_the_way_back_takes_a_permit_away():
    stand(Phase.LIVE)
    CoursePhase.objects.update(permit="complete", permit_until=now() + timedelta(hours=1))
    step(Phase.LEGACY)
    assert CoursePhase.objects.get().permit == ""


def test_flags_that_ask_for_too_much_can_be_put_back():
    """Drift: the course is where it was, and a step to that phase sets its flags right again."""
    stand(Phase.SHADOW)
    toggles.force_flags(COURSE, True, True)
    assert phase() is Phase.SHADOW
    document = step(Phase.SHADOW)
    assert document.content["flags_before"] == dict.fromkeys(toggles.FLAGS, True)
    toggles.new_work_cycle()
    assert toggles.phase_of(COURSE).drift is False


def test_what_is_in_flight_is_counted_on_both_sides():
    rows.legacy_row(1)
    rows.legacy_row(2, pull_time=now(), pullkey="x")
    rows.legacy_row(3, **rows.graded())
    rows.legacy_row(4, course="course-v1:ExU+ALG2+26T1")
    rows.backfill()
    content = step(Phase.SHADOW, execute=False).content
    assert content["in_flight"]["legacy"] == {"queued": 1, "pulled": 1}
    assert content["in_flight"]["target"] == {}  # shadows are nobody's submission
    assert LedgerEntry.objects.filter(course_id=COURSE).count() == 2


@shared
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("operators", [2, 4])
def test_of_operators_who_take_the_same_step_at_once_one_does(known, operators):
    if known:
        stand(Phase.LEGACY)
    found, start = [], threading.Barrier(operators)

    def work():
        try:
            connections["default"].ensure_connection()
            start.wait(20)
            found.append(step(Phase.SHADOW).content["executed"])
        except Exception as error:
            found.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(operators)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found.count(True) == 1
    told = [error for error in found if error is not True]
    assert [type(error) for error in told] == [IllegalStep] * (operators - 1), told
    assert {str(error) for error in told} == {f"{COURSE} is in phase shadow already."}
    assert PhaseChange.objects.count() == 1
    assert FlagOverride.objects.count() == (4 if known else 2)


def test_the_commands_exit_codes():
    rows.legacy_row()
    words = ("xqueue_cutover", "--course", COURSE, "--reason", "r")
    with pytest.raises(CommandError) as refused:
        call_command(*words, "--to", "complete")
    assert refused.value.returncode == ExitCode.ERROR
    with pytest.raises(CommandError) as refused:
        call_command("xqueue_cutover", "--course", COURSE, "--to", "shadow", "--reason", "  ")
    assert refused.value.returncode == ExitCode.USAGE
    call_command(*words, "--to", "shadow", "--execute", "--format", "json")
    assert phase() is Phase.SHADOW


def test_a_bad_setting_keeps_no_course_from_its_way_back(settings):
    stand(Phase.LIVE)
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"NO_SUCH_SETTING": 1}
    assert step(Phase.LEGACY).content["executed"] is True
    assert toggles.phase_of(COURSE).phase is Phase.LEGACY
    with pytest.raises(ConfigurationError):
        step(Phase.SHADOW)
