"""Waves: a canary, no more in flight than allowed, a stop at the first that fails; and the same call goes on."""

import json
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db.models import F
from django.utils.timezone import now

from migration_shim import api, toggles
from migration_shim.core.data import ExitCode, Phase
from migration_shim.core.errors import RunLocked, ShimError
from migration_shim.cutover import steps as cutover
from migration_shim.models import CoursePhase, PhaseChange, Run
from migration_shim.reports import terminal
from tests.builders import rows
from tests.builders.overrides import step_past_gate
from tests.builders.rows import fresh  # noqa: F401
from tests.schemas import validate

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
A, B, C, D, E = COURSES = [f"course-v1:ExU+{name}+2026" for name in "ABCDE"]
BAD = "course-v1:Other+Z+1"


def wave(to=Phase.SHADOW, courses=COURSES, execute=True, limit=2, **how):
    """One call; (exit code, where each course stands, the document)."""
    toggles.new_work_cycle()
    options = {"reason": "term over", "user": "ada", "login": None} | how
    document = api.cutover_wave(list(courses), to, execute=execute, limit=limit, **options)
    content = validate(document.content)
    assert terminal.render(content)
    return document.exit_code, {course["course"]: course["state"] for course in content["courses"]}, content


def reconciled(*courses, ago=timedelta(0), graded=1, **document):
    """What a reconcile that began after the step leaves, and so many grades that it saw."""
    found = {"fence_leaks": 0, "double_authority": 0, "learners": {"applies": True}} | document
    for course in courses:
        rows.entries(graded, course_id=course, target_state="graded")
        run = Run.objects.create(kind="reconcile", scope=course, complete=True, document=found)
        Run.objects.filter(pk=run.pk).update(started_at=now() - ago, finished_at=now() - ago)


def phases():
    toggles.new_work_cycle()
    return [toggles.phase_of(course).phase.value for course in COURSES]


def test_a_whole_wave():
    states = ["moved", "waits", "waits", "waits", "waits"]
    code, stands, content = wave()
    assert (code, list(stands.values())) == (ExitCode.LEFT_BEHIND, states)
    assert content["next"] == [f"xqueue_reconcile --course {A}"]
    assert "Then: the same command again" in terminal.render(content)
    # Again at once: nothing has shown the canary healthy.
    code, stands, content = wave()
    assert (code, list(stands.values())) == (ExitCode.LEFT_BEHIND, ["watched", *states[1:]])
    assert phases() == ["shadow"] + ["legacy"] * 4
    reconciled(A)
    code, stands, content = wave()
    assert (code, list(stands.values())) == (ExitCode.LEFT_BEHIND, ["done", "moved", "moved", "waits", "waits"])
    # One of the two is healthy, so one more may go.
    reconciled(C)
    code, stands, content = wave()
    assert list(stands.values()) == ["done", "watched", "done", "moved", "waits"]
    reconciled(B, D)
    assert list(wave()[1].values()) == ["done"] * 4 + ["moved"]
    reconciled(E)
    code, stands, content = wave()
    assert (code, set(stands.values()), content["next"]) == (ExitCode.OK, {"done"}, [])
    assert phases() == ["shadow"] * 5
    assert PhaseChange.objects.count() == 5
    assert set(PhaseChange.objects.values_list("reason", flat=True)) == {"term over"}


def test_a_plan_moves_nobody_and_says_who_would_go():
    _code, stands, content = wave(execute=False)
    assert list(stands.values()) == ["planned"] + ["waits"] * 4
    assert (content["executed"], phases()) == (False, ["legacy"] * 5)
    assert not Run.objects.exists()
    assert "Next: the same command with --execute" in terminal.render(content)


@pytest.mark.parametrize(
    ("document", "said"),
    [({"fence_leaks": 1}, "1 fence leaks"), ({"double_authority": 2}, "2 double authority")],
)
def test_a_course_that_fails_stops_the_wave_wherever_it_stands(document, said):
    wave(courses=[A])
    reconciled(A)
    wave(courses=[A, E])
    reconciled(E, **document)
    code, stands, content = wave()
    assert stands == {A: "done", B: "waits", C: "waits", D: "waits", E: "failed"}
    assert code == ExitCode.DIFFERENCES | ExitCode.LEFT_BEHIND
    assert content["stopped"] == f"{E} is not well in shadow"
    assert said in content["courses"][4]["reasons"]
    assert content["next"] == [f"xqueue_gate --course {E} --explain"]
    assert "STOPPED" in terminal.render(content)
    assert phases() == ["shadow", "legacy", "legacy", "legacy", "shadow"]


def test_outcomes_that_are_overdue_or_differ_stop_it_too():
    wave(courses=[A])
    reconciled(A)
    for fields in ({"result": "overdue"}, {"result": "diverged", "divergences": "payload"}):
        rows.entries(1, course_id=A, **fields)
        assert wave()[1][A] == "failed"
        rows.LedgerEntry.objects.latest("id").delete()
    assert wave()[1][A] == "done"


def test_evidence_of_before_the_step_or_too_old_does_not_count():
    reconciled(A, ago=timedelta(minutes=1))
    wave(courses=[A])
    assert wave()[1][A] == "watched"
    reconciled(A)
    assert wave(execute=False)[1][A] == "done"
    CoursePhase.objects.update(since=F("since") - timedelta(days=3))
    Run.objects.filter(kind="reconcile").update(finished_at=now() - timedelta(days=2))
    _code, stands, content = wave(courses=[A])
    assert stands == {A: "watched"}
    assert content["courses"][0]["reasons"] == ["its last reconcile is too old"]


def test_shadow_asks_for_no_readiness_for_live():
    """Five courses without a fault stopped a wave: nobody had submitted yet, and live was still blocked."""
    Run.objects.create(
        kind="preflight",
        complete=True,
        finished_at=now(),
        scope=A,
        document={"findings": [{"severity": "blocker", "code": "push_queue", "rows": 0, "queue": "q", "problem": ""}]},
    )
    wave(limit=5)
    for course in COURSES:
        reconciled(course, graded=0)
    for _ in range(2):
        code, stands, content = wave(limit=5)
        reconciled(*COURSES[1:], graded=0)
    assert (code, set(stands.values()), content["stopped"]) == (ExitCode.OK, {"done"}, None)


def test_in_shadow_an_alarm_still_stops_it():
    wave(courses=[A])
    reconciled(A, graded=0)
    rows.entries(1, course_id=A, result="overdue", target_state="queued", graded_pair=False)
    _code, stands, content = wave(courses=[A, B])
    assert stands == {A: "failed", B: "waits"}
    assert "1 overdue" in content["courses"][0]["reasons"]


def test_in_live_a_shadow_shows_nothing():
    """The graders of the shadow queue, or an echo, go on with what was sent before the step."""
    wave(courses=[A])
    step_past_gate(A, Phase.LIVE)
    reconciled(A)
    # Of an earlier stay in live, compared once more.
    before = now() - timedelta(days=1)
    rows.entries(1, course_id=A, target_state="graded", authority="target", phase="live", target_graded_at=before)
    _code, stands, content = wave(Phase.LIVE, courses=[A])
    assert stands == {A: "watched"}
    assert content["courses"][0]["reasons"] == ["no reconcile has seen a grade of the target since its step"]
    rows.entries(1, course_id=A, target_state="graded", authority="target", phase="live")
    assert wave(Phase.LIVE, courses=[A])[1] == {A: "done"}


def test_refused_courses_are_listed_with_reasons_and_the_others_go_on():
    for course in (A, C):
        api.cutover(course, Phase.SHADOW, reason="r", execute=True, user="ada", login=None)
    step_past_gate(A, Phase.LIVE)
    reconciled(A)
    rows.entries(1, course_id=A, target_state="graded", authority="target", phase="live")
    code, stands, content = wave(Phase.LIVE, courses=[A, D, C, B], limit=9)
    assert stands == {A: "done", B: "refused", C: "refused", D: "refused"}
    assert code == ExitCode.ERROR | ExitCode.DIFFERENCES | ExitCode.STALE
    by_course = {course["course"]: course for course in content["courses"]}
    assert "not to live" in by_course[B]["reasons"][0]
    assert by_course[C]["needed"]
    assert content["next"] == [f"xqueue_gate --course {C} --explain"]


def test_an_override_is_for_one_course(tmp_path):
    path = tmp_path / "courses.txt"
    path.write_text(A)
    for course in (A, B):
        rows.in_phase("legacy", course)
    for which in (["--course", A, "--course", B], ["--file", str(path)]):
        with pytest.raises(CommandError, match="--override goes with one course") as refused:
            command(*which, "--override", "--execute")
        assert refused.value.returncode == ExitCode.USAGE
    assert phases() == ["legacy"] * 5


def test_a_canary_that_is_refused_keeps_all_where_they_are():
    rows.in_phase("shadow", B)
    toggles.force_flags(B, True, False)
    code, stands, _content = wave(Phase.LIVE, courses=[B, A])
    assert stands == {B: "refused", A: "waits"}
    assert code == ExitCode.DIFFERENCES | ExitCode.STALE | ExitCode.LEFT_BEHIND


def test_the_way_back_knows_neither_canary_nor_limit():
    for course in COURSES[1:]:
        rows.in_phase("live", course)
        toggles.force_flags(course, True, True)
    code, stands, _content = wave(Phase.LEGACY, limit=1)
    assert stands == {A: "done", B: "moved", C: "moved", D: "moved", E: "moved"}
    assert code == ExitCode.OK
    assert phases() == ["legacy"] * 5


def test_a_course_named_twice_counts_once_and_drift_is_set_right():
    wave(courses=[A, A], limit=5)
    toggles.force_flags(A, True, True)
    _code, stands, _content = wave(courses=[A, A], limit=5)
    assert stands == {A: "moved"}
    toggles.new_work_cycle()
    assert toggles.flags_for(A) == (True, False)


def test_a_wave_that_dies_in_the_middle_goes_on(monkeypatch):
    wave()
    reconciled(A)
    real = cutover.run

    def fails(course, *args, **kwargs):
        if course == C:
            raise OSError("the connection is gone")
        return real(course, *args, **kwargs)

    monkeypatch.setattr(cutover, "run", fails)
    with pytest.raises(OSError, match="gone"):
        wave(limit=4)
    assert phases() == ["shadow", "shadow", "legacy", "legacy", "legacy"]
    monkeypatch.undo()
    assert list(wave(limit=4)[1].values()) == ["done", "watched", "moved", "moved", "moved"]


def test_two_waves_at_once_take_turns():
    Run.objects.create(kind="wave", scope="")
    with pytest.raises(RunLocked):
        wave()
    assert next(iter(wave(execute=False)[1].values())) == "planned"
    assert phases() == ["legacy"] * 5


def test_a_signer_who_is_not_there_stops_it_at_once():
    with pytest.raises(ShimError, match="no LMS user 'nobody'"):
        wave(login="nobody")
    assert phases() == ["legacy"] * 5


def command(*words):
    toggles.new_work_cycle()
    return call_command("xqueue_cutover", "--to", "shadow", "--reason", "r", "--format", "json", *words)


def test_courses_from_a_file_and_of_an_organisation(tmp_path, capsys):
    path = tmp_path / "courses.txt"
    path.write_text(f"# the canary first\n{B}  # small\n\n{A}\n")
    for course in (A, B):
        rows.legacy_row(course=course)
    command("--file", str(path))
    document = json.loads(capsys.readouterr().out)
    assert ([course["course"] for course in document["courses"]], document["canary"]) == ([B, A], B)
    for course in (C, B, BAD):
        rows.in_phase("legacy", course)
    command("--org", "ExU", "--wave", "3")
    document = json.loads(capsys.readouterr().out)
    assert ([course["course"] for course in document["courses"]], document["limit"]) == ([B, C], 3)
    command("--course", A, "--course", BAD, "--execute")
    assert json.loads(capsys.readouterr().out)["courses"][0]["state"] == "moved"


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"course-v1:a+b\n", b"\xff\xfe"])
def test_a_file_that_names_no_courses_is_a_wrong_call(tmp_path, content):
    path = tmp_path / "courses.txt"
    path.write_bytes(content)
    for words in (["--file", str(path)], ["--file", str(tmp_path / "none")], ["--org", "Nobody"], []):
        with pytest.raises(CommandError) as refused:
            command(*words)
        assert refused.value.returncode == ExitCode.USAGE
