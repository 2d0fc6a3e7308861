"""Several courses in one call: one document, exit codes added up, and one summary with one next command."""

import json
import re

import pytest
from django.core.management import CommandError, call_command, load_command_class

from migration_shim.core.data import ExitCode, Leg
from migration_shim.core.errors import LegacyNotReadable
from migration_shim.delivery import ungradable
from migration_shim.models import LedgerEntry
from migration_shim.preflight import site
from migration_shim.runs import records
from tests.builders import rows
from tests.builders.rows import COURSE, clean_course, fresh  # noqa: F401
from tests.schemas import validate

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
OTHER = "course-v1:ExU+OTHER+2026"
THIRD = "course-v1:ExU+THIRD+2026"
COMMANDS = {
    "xqueue_preflight": (),
    "xqueue_gate": (),
    "xqueue_undelivered": (),
    "xqueue_fail": ("--reason", "r"),
}


def run(*words):
    command = load_command_class("migration_shim", words[0])
    call_command(command, *words[1:])
    return command.exit_code


def document(capsys, *words):
    code = run(*words, "--format", "json")
    return validate(json.loads(capsys.readouterr().out)), code


@pytest.mark.parametrize("name", COMMANDS)
def test_one_course_keeps_its_document_and_several_have_one_of_their_own(name, capsys):
    for course in (COURSE, OTHER):
        rows.in_phase("legacy", course)
    one, _ = document(capsys, name, *COMMANDS[name], "--course", COURSE)
    assert (one["schema"], one["course"]) == (f"migration_shim.{name}/1", COURSE)
    twice, _ = document(capsys, name, *COMMANDS[name], "--course", COURSE, "--course", "PY1")
    assert twice["schema"] == one["schema"]
    for words, wanted in (
        (("--course", OTHER, "--course", COURSE), [OTHER, COURSE]),
        (("--org", "ExU"), [OTHER, COURSE]),
        # One today; what a script gets must not depend on how many there are tomorrow.
        (("--course", "ExU+PY*"), [COURSE]),
        (("--state", "legacy", "--course", COURSE), [COURSE]),
    ):
        many, _ = document(capsys, name, *COMMANDS[name], *words)
        assert many["schema"] == f"migration_shim.{name}_courses/1"
        assert [course["course"] for course in many["courses"]] == wanted
        assert {course["schema"] for course in many["courses"]} == {one["schema"]}
        assert many["problems"] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_a_screen_of_many_ends_with_one_summary_and_one_next_command(name, capsys):
    courses = [f"course-v1:ExU+C{number:02}+2026" for number in range(12)]
    for course in courses:
        rows.in_phase("legacy", course)
    run(name, *COMMANDS[name], "--all")
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("Next: ") for line in lines) <= 1
    summary = next(line for line in reversed(lines) if not line.startswith("Next: "))
    assert "12 courses" in summary
    assert all(len(line) <= 80 for line in lines)


def test_exit_codes_are_added_up_and_the_worst_comes_next(clean, capsys):
    rows.in_phase("shadow", OTHER)
    rows.in_phase("shadow", THIRD)
    rows.entries(3, course_id=THIRD, result="diverged", divergences="payload")
    assert run("xqueue_gate", "--course", COURSE) == ExitCode.OK
    assert run("xqueue_gate", "--course", THIRD) == ExitCode.DIFFERENCES
    capsys.readouterr()
    many, code = document(capsys, "xqueue_gate", "--all")
    assert code == ExitCode.DIFFERENCES | ExitCode.STALE
    causes = {course["course"]: course["cause"] for course in many["courses"]}
    assert causes == {COURSE: "ready", OTHER: "stale", THIRD: "differs"}
    assert list(many["counts"].items()) == [("differs", 1), ("stale", 1), ("ready", 1)]
    assert many["next"] == f"xqueue_gate --course {THIRD} --explain"
    run("xqueue_gate", "--all")
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == ["3 courses: 1 differs, 1 stale, 1 ready", f"Next: {many['next']}"]
    assert [line.split()[:3] for line in lines if COURSE in line] == [["PASS", "ready", COURSE]]
    assert re.search(rf"^FAIL +differs +{re.escape(THIRD)}\n    \S", "\n".join(lines), re.M)


def test_gate_and_status_say_of_the_same_courses_the_same(clean, capsys):
    for course in (OTHER, THIRD):
        rows.entries(3, course_id=course, result="diverged", divergences="payload")
    for course in (COURSE, OTHER, THIRD):
        rows.enter("shadow", course)
    many, _ = document(capsys, "xqueue_gate", "--all")
    status, _ = document(capsys, "xqueue_status")
    assert (many["counts"], status["counts"]) == ({"differs": 2, "ready": 1},) * 2
    run("xqueue_gate", "--all")
    assert "3 courses: 2 differ, 1 ready\n" in capsys.readouterr().out
    run("xqueue_status")
    assert "3 courses: 1 ready, 2 differ\n" in capsys.readouterr().out


def test_a_reconcile_of_many_courses_is_a_line_each_unless_more_is_asked_for(capsys):
    courses = [f"course-v1:ExU+C{number:02}+2026" for number in range(6)]
    for course in courses:
        rows.in_phase("shadow", course)
        rows.entries(1, course_id=course)
    rows.entries(2, course_id=courses[3], result="diverged", divergences="payload")

    def screen(*words):
        run("xqueue_reconcile", *words)
        return capsys.readouterr().out.splitlines()

    lines = screen("--all")
    assert [line.partition(": ")[0] for line in lines[:6]] == [courses[3], *courses[:3], *courses[4:]]
    assert "diverged" in lines[0] and "diverged" not in "".join(lines[1:6])
    assert len(lines) <= 12
    assert "All there is on each course: --verbose, or --report PATH" in lines
    assert "  problem by problem:" in screen("--all", "--verbose")
    assert "  problem by problem:" in screen(*(word for one in courses[:5] for word in ("--course", one)))
    whole, _ = document(capsys, "xqueue_reconcile", "--all")
    assert len(whole["courses"]) == 6
    assert "brief" not in whole


def test_where_all_may_move_the_first_is_next(clean, capsys):
    many, code = document(capsys, "xqueue_gate", "--all")
    assert code == ExitCode.OK
    assert many["next"] == f"xqueue_cutover --course {COURSE} --to live --reason TEXT"


def test_one_bad_course_does_not_stop_the_others(capsys):
    for course in (COURSE, OTHER):
        rows.in_phase("legacy", course)
    with records.running("gate", COURSE):
        many, code = document(capsys, "xqueue_gate", "--course", COURSE, "--course", OTHER)
    assert [course["course"] for course in many["courses"]] == [OTHER]
    [problem] = many["problems"]
    assert problem["course"] == COURSE
    assert problem["said"].startswith("RunLocked: xqueue_gate run ")
    assert code == ExitCode.LOCKED | ExitCode.DIFFERENCES | ExitCode.STALE


def test_one_cause_of_many_is_said_once(monkeypatch, capsys):
    courses = [f"course-v1:ExU+C{number:02}+2026" for number in range(5)]
    for course in courses:
        rows.in_phase("legacy", course)

    def fails():
        raise LegacyNotReadable("XQueue's database does not answer")

    monkeypatch.setattr(site, "check_readable", fails)
    assert run("xqueue_preflight", "--all") == ExitCode.ERROR
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "NOT DONE for 5 courses: LegacyNotReadable: XQueue's database does not answer"
    assert lines[1:6] == [f"    {course}" for course in courses]
    assert lines[-1] == "5 courses: 0 blocked, 0 clear, 5 not done"


def test_unusable_settings_are_one_error(settings):
    for course in (COURSE, OTHER):
        rows.in_phase("legacy", course)
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"NO_SUCH_KEY": 1}
    with pytest.raises(CommandError, match="NO_SUCH_KEY") as error:
        call_command("xqueue_gate", "--all")
    assert error.value.returncode == ExitCode.ERROR


def test_a_submission_is_failed_in_one_course_only(monkeypatch, capsys):
    for course in (COURSE, OTHER):
        rows.in_phase("legacy", course)
    with pytest.raises(CommandError, match="--submission goes with one --course") as error:
        call_command("xqueue_fail", "--org", "ExU", "--submission", "3", "--reason", "r")
    assert error.value.returncode == ExitCode.USAGE
    found = [{"submission": 3, "queue": "q\x1b", "leases": 15, "arrived_at": "2026-11-01T00:00:00+00:00"}]
    monkeypatch.setattr(ungradable, "_found", lambda course, *_: found if course == OTHER else [])
    many, _ = document(capsys, "xqueue_fail", "--all", "--reason", "r")
    assert many["counts"] == {"to_fail": 1, "failed": 0}
    assert many["next"] == f"xqueue_fail --course {OTHER} --reason TEXT --execute"
    run("xqueue_fail", "--all", "--reason", "r")
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [f"{OTHER}: 1 submission", r"    3  q\x1b  handed out 15 times"]
    assert COURSE not in "".join(lines)


def test_a_reconcile_of_several_ends_with_one_summary_too(capsys):
    rows.graded_pairs(1)
    rows.graded_pairs(1, OTHER)
    LedgerEntry.objects.filter(course_id=OTHER).update(target_leg=Leg.MISSING, target_submission_id=None)
    assert run("xqueue_reconcile", "--org", "ExU") == ExitCode.DIFFERENCES
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == ["2 courses: 2 compared, 1 of them with unexplained differences", "Next: xqueue_gate --all"]
    assert sum(line.startswith("Next: ") for line in lines) == 1
