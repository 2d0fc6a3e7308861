"""The commands as an operator meets them: stdout, stderr, exit codes, and the files that they write."""

import argparse
import json

import pytest
from django.core.management import CommandError, call_command, get_commands, load_command_class

from migration_shim.core.data import ExitCode
from migration_shim.management.command import ShimCommand
from migration_shim.models import CoursePhase, LedgerEntry, Run
from sandbox import capture
from sandbox.network import free_port
from tests import schemas
from tests.builders import rows
from tests.builders.rows import COURSE, clean_course, fresh  # noqa: F401

BOTH = ["default", "xqueue"]
pytestmark = pytest.mark.django_db(databases=BOTH)
shared = pytest.mark.django_db(databases=BOTH, transaction=True)
COMMANDS = sorted(name for name, app in get_commands().items() if app == "migration_shim")


def run(*words):
    """Run a command in this process; its exit code. A test that needs what it printed asks capsys."""
    command = load_command_class("migration_shim", words[0])
    call_command(command, *words[1:])
    return command.exit_code


def validate(document):
    return schemas.validate(document)


PROCESSES = {
    # what an operator types, and the exit code over captured rows, with an XQueue that does not answer
    "preflight": (("xqueue_preflight", "--course", COURSE), 2),
    "cutover, plan": (("xqueue_cutover", "--course", COURSE, "--to", "shadow", "--reason", "a first look"), 0),
    "backfill": (("xqueue_backfill", "--mode", "shadow", "--all", "--execute"), 4),
    "reconcile": (("xqueue_reconcile", "--all"), 0),
    "gate": (("xqueue_gate", "--course", COURSE), 2),
    "cutover, refused": (("xqueue_cutover", "--course", COURSE, "--to", "live", "--reason", "r", "--execute"), 1),
    "known": (("xqueue_known", "--add", "score", "--reason", "the grader rounds"), 0),
    "watch": (("xqueue_watch", "--once"), 0),
    "audit": (("xqueue_audit",), 0),
    "campaign": (("xqueue_campaign", "status"), 0),
    "fail": (("xqueue_fail", "--course", COURSE, "--reason", "kills its grader"), 0),
    "undelivered": (("xqueue_undelivered", "--course", COURSE), 0),
    "status": (("xqueue_status",), 0),
}


@shared
def test_json_is_one_document_on_stdout_and_nothing_else():
    """In real processes, one after the other, as the migration of a course goes."""
    capture.load_capture(rows.DATA)
    nowhere = f"http://127.0.0.1:{free_port()}"
    seen = {}
    for name, (words, code) in PROCESSES.items():
        ran = rows.manage(*words, "--format", "json", MIGRATION_SHIM_XQUEUE_URL=nowhere)
        assert ran.returncode == code, (name, ran.stderr)
        if code == 1:
            error = validate(json.loads(ran.stdout))
            assert (error["code"], error["exit_code"]) == ("refused", 1)
            assert error["message"] == "From legacy a course can go to shadow, not to live."
            assert ran.stderr.startswith("Error: From legacy a course can go to shadow")
            continue
        seen[name] = validate(json.loads(ran.stdout))
        assert ran.stdout.endswith("}\n")
        # Progress is for terminals; the log may complain of XQueue.
        assert [line for line in ran.stderr.splitlines() if "XQueue cannot be reached" not in line] == []
    assert {document["schema"].split(".")[1].split("/")[0] for document in seen.values()} == {
        name
        for name in COMMANDS
        if name != "xqueue_learners"  # it takes an account of the LMS; see tests/reports
    }
    assert LedgerEntry.objects.count() == seen["backfill"]["written"] == seen["reconcile"]["of"]


USAGE = {
    "no course": ("xqueue_gate",),
    "a course without a name": ("xqueue_gate", "--course", " "),
    "a state that is not there": ("xqueue_gate", "--state", "fine"),
    "no way to forget and to step at once": (
        *("xqueue_cutover", "--course", COURSE, "--to", "shadow", "--forget"),
        *("--reason", "r"),
    ),
    "no step, no adoption": ("xqueue_cutover", "--course", COURSE, "--reason", "r"),
    "an adoption of a course": ("xqueue_cutover", "--course", COURSE, "--adopt", "a.example", "--reason", "r"),
    "an override of nothing": ("xqueue_cutover", "--course", COURSE, "--forget", "--override", "--reason", "r"),
    "a queue and its course": ("xqueue_backfill", "--mode", "shadow", "--queue", "q", "--course", COURSE),
    "a queue and an organisation": ("xqueue_backfill", "--mode", "shadow", "--queue", "q", "--org", "ExU"),
    "all and an organisation": ("xqueue_backfill", "--mode", "shadow", "--all", "--org", "ExU"),
    "a queue in a state": ("xqueue_backfill", "--mode", "shadow", "--queue", "q", "--state", "ready"),
    "an option that is not there": ("xqueue_gate", "--course", COURSE, "--no-such-option"),
    "a format that is not there": ("xqueue_gate", "--course", COURSE, "--format", "xml"),
    "no mode": ("xqueue_backfill", "--all"),
    "a mode that is not there": ("xqueue_backfill", "--mode", "move", "--all"),
    "history to hand off": ("xqueue_backfill", "--mode", "handoff", "--all", "--history"),
    "collided rows to give back": ("xqueue_backfill", "--mode", "return", "--all", "--collided"),
    "a sample to hand off": ("xqueue_backfill", "--mode", "handoff", "--all", "--unsampled"),
    "workers for a handoff": ("xqueue_backfill", "--mode", "handoff", "--all", "--workers", "celery"),
    "workers that are not there": ("xqueue_backfill", "--mode", "shadow", "--all", "--workers", "threads"),
    "a shadow that waits for the drain": ("xqueue_backfill", "--mode", "shadow", "--all", "--wait-drain"),
    "rows a problem without history": ("xqueue_backfill", "--mode", "shadow", "--all", "--per-problem", "5"),
    "a limit over workers": ("xqueue_backfill", "--mode", "shadow", "--all", "--workers", "celery", "--limit", "5"),
    "no scope": ("xqueue_backfill", "--mode", "shadow"),
    "two scopes": ("xqueue_backfill", "--mode", "shadow", "--all", "--course", COURSE),
    "a batch of nothing": ("xqueue_backfill", "--mode", "shadow", "--all", "--batch-size", "0"),
    "a negative limit": ("xqueue_backfill", "--mode", "shadow", "--all", "--limit", "-1"),
    "a limit in words": ("xqueue_backfill", "--mode", "shadow", "--all", "--limit", "ten"),
    "a limit in other digits": ("xqueue_backfill", "--mode", "shadow", "--all", "--limit", "\u0663"),
    "no phase": ("xqueue_cutover", "--course", COURSE, "--reason", "r"),
    "a phase that is not there": ("xqueue_cutover", "--course", COURSE, "--to", "done", "--reason", "r"),
    "no reason": ("xqueue_cutover", "--course", COURSE, "--to", "shadow"),
    "an empty reason": ("xqueue_cutover", "--course", COURSE, "--to", "shadow", "--reason", " "),
    "a report without a format": ("xqueue_reconcile", "--all", "--report", "report.pdf"),
    "no scope to reconcile": ("xqueue_reconcile",),
    "two courses to look at at once": ("xqueue_preflight", COURSE),
}


@pytest.mark.parametrize("words", USAGE.values(), ids=USAGE)
def test_a_wrong_call_from_python_is_told_apart(words, capsys):
    with pytest.raises(CommandError) as error:
        call_command(*words)
    assert error.value.returncode == ExitCode.USAGE
    assert capsys.readouterr().out == ""
    assert not Run.objects.exists()


@pytest.mark.parametrize("words", USAGE.values(), ids=USAGE)
def test_a_wrong_call_from_the_command_line_exits_with_64_and_shows_the_usage(words, capsys):
    command = load_command_class("migration_shim", words[0])
    with pytest.raises(SystemExit) as left:
        command.run_from_argv(["manage.py", *words])
    assert left.value.code == 64
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"usage: manage.py {words[0]}")
    assert "error: " in printed.err


def test_a_wrong_call_of_a_real_process():
    ran = rows.manage(*USAGE["a state that is not there"])
    assert ran.returncode == 64
    assert ran.stdout == ""
    assert ran.stderr.startswith("usage: ")
    assert "invalid choice: 'fine'" in ran.stderr


def test_a_name_of_no_course_ends_a_real_process_too():
    ran = rows.manage("xqueue_gate", "--course", "PY1")
    assert (ran.returncode, ran.stdout) == (64, "")
    said = "Error: 'PY1' is no course key and short for no course."
    assert ran.stderr.splitlines() == [said, "  See: docs/runbook/errors.md#the-command-is-refused (usage)"]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_both_formats(name, capsys):
    command = load_command_class("migration_shim", name)
    assert isinstance(command, ShimCommand)
    assert len(command.help) > 20
    with pytest.raises(SystemExit) as left:
        command.run_from_argv(["manage.py", name, "--help"])
    assert left.value.code == 0
    assert capsys.readouterr().out
    parser = command.create_parser("manage.py", name)
    for action in parser._actions:
        assert action.help, action.option_strings
    below = [action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for one in below[0].values() if below else [parser]:
        assert "--format {text,json" in one.format_help()
        assert all(action.help for action in one._actions)


# Exit codes of what goes wrong


@shared
def test_an_error_of_ours_exits_with_1_and_one_message(capsys):
    rows.in_phase("legacy")
    command = load_command_class("migration_shim", "xqueue_cutover")
    words = ["--course", COURSE, "--to", "complete", "--reason", "r", "--execute"]
    with pytest.raises(SystemExit) as left:
        command.run_from_argv(["manage.py", "xqueue_cutover", *words])
    assert left.value.code == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    said, see = printed.err.splitlines()
    assert said == "Error: From legacy a course can go to shadow, not to complete."
    assert see == "  See: docs/runbook/errors.md#the-command-is-refused (refused)"


@pytest.mark.parametrize("setting", [{"GATE_THRESHOLD": 2}, {"NO_SUCH_KEY": 1}, {"OVERLAP_SECONDS": "60"}])
@pytest.mark.parametrize(
    "words",
    [
        ("xqueue_gate", "--course", COURSE),
        ("xqueue_preflight", "--course", COURSE),
        ("xqueue_reconcile", "--course", COURSE),
        ("xqueue_backfill", "--mode", "shadow", "--all"),
        ("xqueue_backfill", "--mode", "shadow", "--all", "--execute"),
    ],
)
def test_settings_that_are_not_usable_are_named_and_exit_with_1(settings, setting, words, capsys):
    rows.in_phase("legacy")
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | setting
    with pytest.raises(CommandError, match=next(iter(setting))) as error:
        call_command(*words)
    assert error.value.returncode == ExitCode.ERROR
    assert capsys.readouterr().out == ""


@shared
def test_exit_codes_are_flags_that_add_up():
    rows.legacy_row(1)
    rows.legacy_row(2, xqueue_body="{")
    words = ("xqueue_backfill", "--mode", "shadow", "--all", "--execute")
    assert run(*words) == ExitCode.LEFT_BEHIND
    with pytest.raises(SystemExit) as left:
        load_command_class("migration_shim", words[0]).run_from_argv(["manage.py", *words])
    assert left.value.code == 4
    LedgerEntry.objects.update(target_leg="missing", target_submission_id=None)
    assert run("xqueue_reconcile", "--course", COURSE) == ExitCode.DIFFERENCES


# Texts and files


def test_text_is_for_reading(capsys):
    rows.legacy_row()
    run("xqueue_backfill", "--mode", "shadow", "--all")
    assert capsys.readouterr().out.splitlines()[0].startswith("Backfill (shadow): 1 row read, nothing written")


@pytest.mark.parametrize("explain", [(), ("--explain",)])
def test_explain_shows_the_arithmetic(clean, explain, capsys):
    assert run("xqueue_gate", "--course", COURSE, *explain) == ExitCode.OK
    assert ("449 pairs" in capsys.readouterr().out) == bool(explain)


def test_reports_and_divergences_are_written(tmp_path, capsys):
    row = rows.legacy_row(7)
    rows.backfill()
    rows.change([row], **rows.graded(rows.RIGHT))
    rows.grade_target(rows.WRONG)
    report, plain, lines = tmp_path / "report.json", tmp_path / "report.txt", tmp_path / "divergences.jsonl"
    words = ("--report", str(report), "--report", str(plain), "--divergences", str(lines), "--format", "json")
    assert run("xqueue_reconcile", "--course", COURSE, *words) == ExitCode.DIFFERENCES
    document = json.loads(capsys.readouterr().out)
    written = validate(json.loads(report.read_text(encoding="utf-8")))
    assert written.pop("report")["gates"].keys() == {COURSE}
    assert written == validate(document)
    assert COURSE in plain.read_text(encoding="utf-8")
    found = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    assert [(item["class"], item["legacy_id"]) for item in found] == [("correctness", row.pk), ("score", row.pk)]
    assert rows.anonymous_id(7) not in report.read_text() + plain.read_text() + lines.read_text()


@pytest.mark.parametrize("option", ["--report", "--divergences"])
def test_a_report_that_cannot_be_written_is_said_before_the_run(option, tmp_path):
    with pytest.raises(CommandError, match="no-such-folder") as error:
        call_command("xqueue_reconcile", "--course", COURSE, option, str(tmp_path / "no-such-folder" / "report.json"))
    assert error.value.returncode == ExitCode.USAGE
    assert not Run.objects.exists()


def test_the_register_is_listed_added_to_and_withdrawn_from_as_typed(capsys):
    assert run("xqueue_known") == 0
    assert capsys.readouterr().out.startswith("No known differences.")
    assert run("xqueue_known", "--add", "score", "--reason", "random tests", "--format", "json") == 0
    [entry] = validate(json.loads(capsys.readouterr().out))["known_differences"]
    assert (entry["class"], entry["course"], entry["state"]) == ("score", "", "in force")
    assert run("xqueue_known", "--withdraw", str(entry["id"])) == 0
    assert "withdrawn" in capsys.readouterr().out


def test_a_cure_is_signed_as_typed_and_needs_a_course_and_a_reason(capsys):
    rows.in_phase("shadow")
    rows.entries(1, result="diverged", divergences="lost")
    assert run("xqueue_known", "--cure", "lost", "--course", COURSE, "--reason", "sent again", "--user", "ada") == 0
    assert f"cured: 1 lost of {COURSE}" in capsys.readouterr().out
    for words in (("--course", COURSE), ("--reason", "r")):
        with pytest.raises(CommandError, match="--cure needs") as error:
            call_command("xqueue_known", "--cure", "lost", *words)
        assert error.value.returncode == ExitCode.USAGE
    with pytest.raises(CommandError, match="invalid choice"):
        call_command("xqueue_known", "--cure", "score", "--course", COURSE, "--reason", "r")


def test_a_course_key_is_taken_in_its_canonical_form(capsys):
    run("xqueue_gate", "--course", "Org/Course/Run", "--new", "--format", "json")
    assert json.loads(capsys.readouterr().out)["course"] == "Org/Course/Run"
    assert CoursePhase.objects.get().course_id == "Org/Course/Run"


def test_a_command_for_one_course_does_not_pass_over_another_that_was_named():
    """The last one alone would be answered for, as if the others had been looked at."""
    other = COURSE.replace("ExU", "Other")

    with pytest.raises(CommandError, match=r"was given as .* and as") as refused:
        run("xqueue_known", "--add", "score", "--reason", "r", "--course", other, "--course", COURSE)

    assert refused.value.returncode == ExitCode.USAGE
    assert not Run.objects.exists()
