"""``xqueue_cutover --override``: what it asks for on a terminal, and what has to be said where there is none."""

import io
import json
import os
import pwd
import socket
import sys

import pytest
from django.core.management import CommandError, call_command, load_command_class

from migration_shim import toggles
from migration_shim.core.data import ExitCode, Phase
from migration_shim.management import passing_a_gate
from migration_shim.models import CoursePhase, GateOverride, PhaseChange
from tests.builders import rows
from tests.builders.overrides import signer, step_past_gate
from tests.builders.rows import COURSE, fresh  # noqa: F401

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
OPEN = "stale,needs_pairs"


class Terminal(io.StringIO):
    """Standard input of a person at a terminal."""

    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def a_course_in_shadow():
    toggles.force_flags(COURSE, True, False)
    rows.in_phase("shadow")
    signer()


def run(*words, typed=None):
    """One call; (what went to stdout, what went to stderr). ``typed`` is what a person types; None: no terminal."""
    stdin, out, err = sys.stdin, io.StringIO(), io.StringIO()
    sys.stdin = io.StringIO("") if typed is None else Terminal(typed) if isinstance(typed, str) else typed
    call = ["--course", COURSE, "--to", "live", "--reason", "exam", *words]
    try:
        call_command("xqueue_cutover", *call, stdout=out, stderr=err, skip_checks=True)
    finally:
        sys.stdin = stdin
    return out.getvalue(), err.getvalue()


def refused(match, *words, **options):
    with pytest.raises(CommandError, match=match) as error:
        run(*words, **options)
    assert not GateOverride.objects.exists()
    assert CoursePhase.objects.get().phase == "shadow"
    return error.value.returncode


def done():
    return GateOverride.objects.count(), CoursePhase.objects.get().phase


FULL = ("--override", "--override-reasons", OPEN, "--user", "ada", "--confirm", COURSE, "--execute")


def test_without_a_terminal_everything_is_said_in_options():
    out, err = run(*FULL)
    assert out.startswith("Done.") and err == ""
    assert done() == (1, "live")


@pytest.mark.parametrize(
    ("left_out", "match"),
    [
        ("--override-reasons", "were not named: stale, needs_pairs"),
        ("--user", "name an active user with --user LOGIN"),
        ("--confirm", f"otherwise with --confirm {COURSE}".replace("+", r"\+")),
    ],
)
def test_whatever_is_left_out_is_asked_for_by_name(left_out, match):
    place = FULL.index(left_out)
    assert refused(match, *FULL[:place], *FULL[place + 2 :]) == ExitCode.ERROR


def test_on_a_terminal_the_plan_is_shown_and_codes_and_id_are_typed():
    words = ("--override", "--user", "ada", "--execute", "--format", "json")
    out, err = run(*words, typed=f"needs_pairs, stale\n{COURSE}\n")
    assert json.loads(out)["executed"]  # the document alone
    assert err.index("the gate: there was no reconcile") < err.index("Codes of all") < err.index("Type the course")
    assert "Next:" not in err
    assert done() == (1, "live")


@pytest.mark.parametrize(
    "typed", ["", "\n\n", f"stale\n{COURSE}\n", f"{OPEN}\n", f"{OPEN}\ny\n", f"{OPEN}\nyes {COURSE}\n"]
)
def test_anything_else_that_is_typed_is_refused(typed):
    refused("were not named|confirmed by the course's id", "--override", "--user", "ada", "--execute", typed=typed)


@pytest.mark.parametrize("typed", ["", "\n", "stale\n", "everything\n", f"{OPEN},differs\n", f"{COURSE}\n"])
def test_codes_that_are_not_those_are_noticed_before_the_id_is_asked_for(typed, monkeypatch):
    asked = []
    monkeypatch.setattr(passing_a_gate, "_say", lambda command, text: asked.append(text))
    refused("were not named|nobody can answer for it", "--override", "--user", "ada", "--execute", typed=typed)
    assert [text for text in asked if "course's id" in text] == []


def test_on_a_terminal_the_id_is_typed_though_the_option_names_it():
    """The last command of a shell's history has the option."""
    refused("confirmed by the course's id", *FULL, typed="\n")
    run(*FULL, typed=f"{COURSE}\n")
    assert done() == (1, "live")


def test_a_plan_asks_for_nothing():
    out, err = run("--override", typed="")
    assert "--override-reasons stale,needs_pairs" in out and err == ""
    assert done() == (0, "shadow")


@pytest.mark.parametrize(
    "words",
    [
        ("--override-reasons", OPEN),
        ("--confirm", COURSE),
        ("--override", "--course", "course-v1:ExU+PY2+2026", "--new"),
        ("--override", "--override-reasons", " , "),
    ],
)
def test_wrong_usage_is_told_apart(words):
    assert refused("go with --override|goes with one course|names no code", *words) == ExitCode.USAGE


def test_a_proposal_has_an_exit_code_of_its_own(settings):
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"OVERRIDE_NEEDS_SECOND": True}
    command = load_command_class("migration_shim", "xqueue_cutover")
    words = ["--course", COURSE, "--to", "live", "--reason", "exam", *FULL]
    call_command(command, *words, stdout=io.StringIO(), skip_checks=True)
    assert command.exit_code == ExitCode.LEFT_BEHIND
    assert done() == (1, "shadow")


def test_a_step_that_a_colleague_takes_meanwhile_is_not_undone():
    """From complete the same command would be a step back, which asks no gate and takes no notice of an override."""

    class Slow(Terminal):
        def readline(self, *args):
            if CoursePhase.objects.get().phase == "shadow":
                for to in (Phase.LIVE, Phase.COMPLETE):
                    toggles.new_work_cycle()
                    step_past_gate(COURSE, to, login="grace")
            return super().readline(*args)

    with pytest.raises(CommandError, match="is in complete by now, no longer in shadow: look again"):
        run("--override", "--user", "ada", "--execute", typed=Slow(f"{OPEN}\n{COURSE}\n"))
    assert (CoursePhase.objects.get().phase, PhaseChange.objects.count()) == ("complete", 2)


def test_who_runs_it_is_told_by_the_process_and_not_by_its_environment(monkeypatch):
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "grace")
    run(*FULL)
    override = GateOverride.objects.get()
    assert override.evidence["by"] == pwd.getpwuid(os.geteuid()).pw_name != "grace"
    assert override.evidence["host"] == socket.gethostname()
