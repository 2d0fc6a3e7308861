"""An override by a person at a terminal of 80 columns: a process of its own, from the plan to the reports."""

import json
import os
import re
import socket
from pathlib import Path

import pytest
from django.contrib.auth import get_user_model
from submissions.models import ExternalGraderDetail

from migration_shim import toggles
from migration_shim.core.data import ExitCode
from migration_shim.core.evidence import Cause
from migration_shim.models import CoursePhase, GateOverride, PhaseChange
from migration_shim.runs import owner
from tests.builders import rows
from tests.builders.overrides import signer
from tests.builders.rows import COURSE, fresh  # noqa: F401
from tests.builders.terminals import Terminal
from tests.commands import manage

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"], transaction=True)
REASON = "graders are switched off tonight, and the course team has looked at what differs with us"
STEP = ("xqueue_cutover", "--course", COURSE, "--to", "live", "--reason", REASON)
OVERRIDE = (*STEP, "--override", "--user", "ada", "--execute")
CODES, ID = "Codes of all that you pass: ", "Type the course's id to confirm: "
#: A line of the log goes to whatever keeps logs; here it comes to the terminal too.
LOG = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ WARNING ")
#: Where the text of a session is kept, for whoever wants to read one.
TRANSCRIPT = "OVERRIDE_TRANSCRIPT"


@pytest.fixture(autouse=True)
def a_course_in_shadow():
    toggles.force_flags(COURSE, True, False)
    rows.in_phase("shadow")
    signer()


def nothing_changed(terminal):
    assert "Traceback" not in terminal.text
    assert (GateOverride.objects.count(), PhaseChange.objects.count()) == (0, 0)
    return CoursePhase.objects.get().phase == "shadow" and toggles.flags_for(COURSE) == (True, False)


def fits(terminal):
    """What is to be seen, without the log; no line of it is wider than the terminal."""
    lines = [line for line in terminal.lines() if not LOG.match(line)]
    assert [line for line in lines if len(line) > 80] == []
    return "\n".join(lines)


def looked_at(*words):
    """What a command says at a terminal, in one line."""
    with Terminal(*words) as terminal:
        terminal.ends()
        keep(words, terminal)
        return " ".join(fits(terminal).split())


def keep(words, terminal):
    if TRANSCRIPT in os.environ:
        quoted = [f'"{word}"' if " " in word else word for word in words]
        with Path(os.environ[TRANSCRIPT]).open("a") as file:
            file.write(f"$ manage.py {' '.join(quoted)}\n" + "\n".join(terminal.lines()) + "\n")


def test_a_whole_session(tmp_path):
    with Terminal(*OVERRIDE) as terminal:
        terminal.reads(CODES)
        assert "passed: stale, needs_pairs" in terminal.text and ID not in terminal.text
        terminal.types("stale,needs_pairs\n")
        terminal.reads(ID)
        assert nothing_changed(terminal)
        terminal.types(f"{COURSE}\n")
        assert terminal.ends() == ExitCode.OK
        keep(OVERRIDE, terminal)
    plan, _, done = fits(terminal).partition(CODES)
    assert plan.startswith("Plan. ") and f"\nDone. {COURSE}: shadow -> live\n" in done
    assert "signed by ada" in done
    [logged] = [line for line in terminal.lines() if LOG.match(line) and "override_signed" in line]
    who = f"signed by ada, run by {owner.system_user()} on {socket.gethostname()}"
    assert logged.endswith(f"past a gate that says INCONCLUSIVE (stale, needs_pairs), {who}")

    [override], [change] = GateOverride.objects.all(), PhaseChange.objects.all()
    assert override.used_at == override.expires_at and not override.proposal
    assert change.evidence["override"]["signed_by"] == "ada"
    assert f"OVERRIDE of stale, needs_pairs, signed by ada on {socket.gethostname()}" in looked_at(
        "xqueue_audit", "--course", COURSE
    )
    for words in (("xqueue_status",), ("xqueue_status", "--course", COURSE), ("xqueue_gate", "--course", COURSE)):
        assert "override to live by ada" in looked_at(*words).replace("OVERRIDE", "override")
    reports = [tmp_path / f"report.{ending}" for ending in ("html", "json", "md", "txt", "overrides.csv")]
    manage("xqueue_reconcile", "--course", COURSE, *(word for path in reports for word in ("--report", str(path))))
    assert [path.name for path in reports if "needs_pairs" not in path.read_text()] == []

    # It has ended: the next step is as closed as if there had been none.
    again = ("xqueue_cutover", "--course", COURSE, "--to", "complete", "--reason", "on", "--execute")
    assert looked_at(*again).startswith(f"NOT PERMITTED. {COURSE}: live -> complete")
    assert CoursePhase.objects.get().phase == "live"


def test_every_code_fits_behind_its_question():
    passed = [one for one in Cause if one not in ("leak", "double_authority", "undelivered", "wrong_side")]
    named = ",".join(one for one in passed if one not in ("ready", "moved"))
    assert len(CODES + named) <= 80


@pytest.mark.parametrize("typed", ["stale\n", "\x04", "stale needs_pairs differs\n"])
def test_codes_that_are_not_those_end_it_before_the_id_is_asked_for(typed):
    with Terminal(*OVERRIDE) as terminal:
        terminal.reads(CODES)
        terminal.types(typed)
        assert terminal.ends() == ExitCode.ERROR
    assert ID not in terminal.text
    assert "--override-reasons stale,needs_pairs" in " ".join(fits(terminal).split())
    assert nothing_changed(terminal)


def test_codes_in_the_command_that_are_not_those_end_it_before_anything_is_asked():
    with Terminal(*OVERRIDE, "--override-reasons", "stale") as terminal:
        assert terminal.ends() == ExitCode.ERROR
    assert CODES not in terminal.text and ID not in terminal.text
    assert nothing_changed(terminal)


@pytest.mark.parametrize(
    ("account", "said"), [({"is_staff": False}, "is not staff"), ({"is_active": False}, "is not active")]
)
def test_an_account_that_cannot_sign_ends_it_before_anything_is_asked(account, said):
    get_user_model().objects.filter(username="ada").update(**account)
    with Terminal(*OVERRIDE) as terminal:
        assert terminal.ends() == ExitCode.ERROR
    assert said in terminal.text and CODES not in terminal.text
    assert nothing_changed(terminal)


@pytest.mark.parametrize("typed", [f"{COURSE.upper()}\n", "\x04", "\x03"])
def test_any_other_id_and_ctrl_c_change_nothing(typed):
    with Terminal(*OVERRIDE, "--override-reasons", "stale,needs_pairs") as terminal:
        terminal.reads(ID)
        terminal.types(typed)
        assert terminal.ends() != ExitCode.OK
    assert CODES not in terminal.text  # they were named
    assert nothing_changed(terminal)


def test_json_comes_alone_on_stdout_though_a_person_is_asked(tmp_path):
    """The plan and the questions are on the terminal, the document goes where stdout goes."""
    with (tmp_path / "out").open("w") as out, Terminal(*OVERRIDE, "--format", "json", stdout=out) as terminal:
        terminal.reads(CODES)
        terminal.types("stale,needs_pairs\n")
        terminal.reads(ID)
        terminal.types(f"{COURSE}\n")
        assert terminal.ends() == ExitCode.OK
    assert json.loads((tmp_path / "out").read_text())["executed"]


def test_a_leak_that_comes_while_the_person_types_is_passed_by_nobody():
    rows.legacy_row(7)
    rows.backfill()
    with Terminal(*OVERRIDE, "--override-reasons", "stale,needs_pairs") as terminal:
        terminal.reads(ID)
        assert ExternalGraderDetail.objects.update(queue_name=rows.QUEUE) == 1
        terminal.types(f"{COURSE}\n")
        assert terminal.ends() == ExitCode.ERROR
    assert "1 fence leak and" in fits(terminal) and "no override passes that" in " ".join(fits(terminal).split())
    assert nothing_changed(terminal)


def test_of_two_terminals_one_takes_the_step():
    signer("grace")
    words = (*STEP, "--override", "--override-reasons", "stale,needs_pairs", "--execute")
    with Terminal(*words, "--user", "ada") as one, Terminal(*words, "--user", "grace") as other:
        for terminal in (one, other):
            terminal.reads(ID)
        for terminal in (one, other):
            terminal.types(f"{COURSE}\n")
        assert sorted((one.ends(), other.ends())) == [ExitCode.OK, ExitCode.ERROR]
    assert "is in phase live already" in " ".join((one.text + other.text).split())
    assert (GateOverride.objects.count(), PhaseChange.objects.count()) == (1, 1)
