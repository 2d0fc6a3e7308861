"""Which courses a command is about: the same options on every command, and a mistyped id is refused."""

import io
import json
from types import SimpleNamespace

import pytest
from django.core.management import CommandError, call_command, get_commands, load_command_class
from django.db import OperationalError
from django.utils.timezone import now

from migration_shim import toggles
from migration_shim.core.data import ExitCode, Phase
from migration_shim.core.phases import flags_of
from migration_shim.ledger import site_courses
from migration_shim.legacy import course_rows
from migration_shim.lms import catalogue
from migration_shim.management import queue_users, selection, several
from migration_shim.management.commands import xqueue_backfill
from migration_shim.management.failures import Failed
from migration_shim.models import CoursePhase, LedgerEntry, PhaseChange, Run
from migration_shim.status import ranking
from tests.builders import rows
from tests.builders.rows import COURSE, fresh  # noqa: F401
from tests.schemas import validate

BOTH = ["default", "xqueue"]
pytestmark = pytest.mark.django_db(databases=BOTH)
CS1 = "course-v1:ExU+CS101+2026"
CS2 = "course-v1:ExU+CS106+2026"
CS3 = "course-v1:Other+CS106+2025"
TYPO = "course-v1:ExU+CS160+2026"
#: Commands of several courses, with what else they need.
SEVERAL = {
    "xqueue_preflight": (),
    "xqueue_status": (),
    "xqueue_gate": (),
    "xqueue_reconcile": (),
    "xqueue_cutover": ("--to", "shadow", "--reason", "r"),
    "xqueue_watch": ("--once",),
    "xqueue_backfill": ("--mode", "shadow"),
    "xqueue_audit": (),
    "xqueue_undelivered": (),
    "xqueue_fail": ("--reason", "r"),
}
#: Those that have nothing to do for a course without a record, unless it is named.
BEGUN = {"xqueue_gate", "xqueue_reconcile", "xqueue_watch", "xqueue_audit", "xqueue_undelivered", "xqueue_fail"}


def chosen(*words, begun=False, left_out=None):
    """The courses that a command line names."""
    parser = load_command_class("migration_shim", "xqueue_preflight").create_parser("manage.py", "xqueue_preflight")
    return selection.courses(vars(parser.parse_args(words)), begun=begun, left_out=left_out)


def refused(*words, **how):
    """The message and the exit code of a command line that is refused."""
    with pytest.raises(CommandError) as error:
        chosen(*words, **how)
    return str(error.value), error.value.returncode


def run(*words):
    command = load_command_class("migration_shim", words[0])
    call_command(command, *words[1:])
    return command.exit_code


@pytest.fixture(name="three")
def three_courses():
    for course in (CS3, CS2, CS1):
        rows.in_phase("legacy", course)


@pytest.fixture
def away(monkeypatch):
    """XQueue's database does not answer."""

    def fails(*args):
        raise OperationalError("gone")

    monkeypatch.setattr(course_rows, "has_course", fails)
    monkeypatch.setattr(queue_users.open_rows, "our_rows", fails)


# --- what names courses -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("--course", CS2), [CS2]),
        (("--course", CS2, "--course", CS1, "--course", CS2), [CS2, CS1]),
        (("--course", "CS101"), [CS1]),
        (("--course", "Other+CS106", "--course", "CS101"), [CS3, CS1]),
        (("--course", "ExU+CS1*"), [CS1, CS2]),
        (("--course", "*CS106*", "--course", CS1), [CS2, CS3, CS1]),
        (("--org", "ExU"), [CS1, CS2]),
        (("--org", "Other", "--org", "ExU"), [CS1, CS2, CS3]),
        (("--all",), [CS1, CS2, CS3]),
        (("--all", "--course", CS3), [CS3, CS1, CS2]),
        (("--org", "ExU", "--course", "CS101", "--course", CS3), [CS1, CS3, CS2]),
    ],
)
def test_what_names_courses_is_taken_together_in_the_order_given(three, words, found):
    assert chosen(*words) == found


def test_a_file_names_them_line_by_line(three, tmp_path, monkeypatch):
    path = tmp_path / "wave.txt"
    path.write_text(f"\ufeff# the wave\n{CS3}  # the canary\n\nCS101\nExU+CS1*\n{CS3}\n", encoding="utf-8")
    assert chosen("--file", str(path)) == [CS3, CS1, CS2]
    assert chosen("--file", str(path), "--course", CS2) == [CS2, CS3, CS1]
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(path.read_bytes())))
    assert chosen("--file", "-") == [CS3, CS1, CS2]


def test_a_file_that_cannot_be_read_says_why(three, tmp_path, monkeypatch):
    path = tmp_path / "wave.txt"
    assert refused("--file", str(path)) == (
        f"--file: {path} cannot be read: [Errno 2] No such file or directory: '{path}'",
        64,
    )
    path.write_text("# nothing\n\n", encoding="utf-8")
    assert refused("--file", str(path)) == (f"--file: {path} names no course.", 64)
    path.write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in refused("--file", str(path))[0]
    path.write_text(f"{CS1}\n\x1bbiology\n{TYPO}\n", encoding="utf-8")
    message, code = refused("--file", str(path))
    assert code == 64
    first, second = message.splitlines()  # both are told at once
    assert first == r"--file: line 2: '\x1bbiology' is no course key and short for no course."
    assert second.startswith(f"--file: line 3: No course {TYPO!r}: ")
    monkeypatch.setattr(selection, "_FILE_LIMIT", 10)
    assert "it is larger than 10 bytes" in refused("--file", str(path))[0]


def test_a_queue_names_the_courses_that_use_it(three):
    rows.entries(1, course_id=CS1, queue_name="loose")
    rows.entries(1, course_id=CS1, queue_name="LOOSE")
    rows.graded_pairs(1, CS2)
    rows.reconcile(CS2)  # into a bucket
    assert LedgerEntry.objects.get(course_id=CS2).bucket_id
    Run.objects.create(kind="preflight", scope=CS3, complete=True, document={"queues": ["old"]})
    Run.objects.create(kind="preflight", scope=CS3, complete=True, document={"queues": ["seen"]})
    rows.legacy_row(course=CS3, queue="waits")
    rows.legacy_row(course=CS1, queue="waits", retired=True)
    assert chosen("--queue", "loose") == [CS1]
    assert chosen("--queue", rows.QUEUE) == [CS2]
    assert chosen("--queue", "seen") == [CS3]
    assert chosen("--queue", "waits") == [CS3]
    assert chosen("--queue", "waits", "--queue", "loose") == [CS1, CS3]
    assert refused("--queue", "old") == ("No course is known to use the queue 'old'.", 64)


def test_a_queue_is_looked_up_without_xqueue_and_says_so(three, away, capsys):
    rows.entries(1, course_id=CS1, queue_name="q")
    assert chosen("--queue", "q") == [CS1]
    assert (
        capsys.readouterr().err == "XQueue's database does not answer: courses that use 'q' only there are left out.\n"
    )


def test_while_xqueue_is_away_a_queue_that_no_course_on_record_uses_is_not_called_wrong(three, away, capsys):
    with pytest.raises(Failed) as raised:
        chosen("--queue", "q", "--course", CS1)
    failure = raised.value.failure
    assert (failure.code, raised.value.returncode) == ("xqueue_database_other", ExitCode.ERROR)
    assert "the shim does not know the queue 'q', and nobody can say whether XQueue does." in failure.means
    assert "--new" not in failure.do and capsys.readouterr().err == ""
    message, code = refused("--queue", "q", "--course", "biology")
    assert code == 64 and "Whether XQueue has the queue 'q' cannot be asked" in message
    left_out = []
    assert chosen("--queue", "q", "--course", CS1, left_out=left_out) == [CS1]
    assert len(left_out) == 1 and left_out[0].startswith("Whether XQueue has the queue 'q' cannot be asked")
    with pytest.raises(Failed):
        chosen("--queue", "q", left_out=[])


def test_courses_found_in_xqueue_are_among_them_but_for_work_that_needs_a_record(three, monkeypatch):
    new = "course-v1:ExU+CS200+2026"
    monkeypatch.setattr(site_courses, "all_courses", lambda: [CS1, CS2, CS3, new])
    assert chosen("--all") == [CS1, CS2, new, CS3]
    assert chosen("--all", begun=True) == [CS1, CS2, CS3]
    assert chosen("--course", "ExU+*", begun=True) == chosen("--org", "ExU", begun=True) == [CS1, CS2]
    assert chosen("--course", "CS200", begun=True) == chosen("--course", new, begun=True) == [new]


def test_a_caller_from_python_may_give_one_thing_alone(three, capsys):
    call_command("xqueue_gate", course=CS1, format="json")
    assert json.loads(capsys.readouterr().out)["course"] == CS1
    call_command("xqueue_gate", org="ExU", state="leak")
    assert "in the state leak:" in capsys.readouterr().out


# --- and what keeps some of them --------------------------------------------------------------------------------------


@pytest.fixture
def words(monkeypatch):
    said = {CS1: "ready", CS2: "differs", CS3: "ready"}
    monkeypatch.setattr(ranking, "words", lambda courses: {course: said[course] for course in courses})


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (("--state", "ready"), [CS1, CS3]),
        (("--state", "differs"), [CS2]),
        (("--state", "ready", "--state", "differs"), [CS1, CS2, CS3]),
        (("--state", "ready", "--org", "ExU"), [CS1]),
        (("--state", "ready", "--course", CS3, "--course", "ExU+CS10*"), [CS3, CS1]),
        (("--state", "shadow"), [CS2, CS3]),
        (("--state", "shadow", "--state", "legacy"), [CS1, CS2, CS3]),
        (("--state", "shadow", "--state", "ready"), [CS3]),  # ready, and in shadow: never one that is only either
        (("--state", "leak"), []),
        (("--state", "complete", "--all"), []),
    ],
)
def test_a_state_keeps_those_that_stand_there(three, words, options, found):
    rows.in_phase("shadow", CS2)
    rows.in_phase("shadow", CS3)
    assert chosen(*options) == found


def test_every_cause_and_phase_is_a_state():
    causes = json.loads((rows.PROJECT_ROOT / "docs/reference/schemas/xqueue_gate-1.json").read_text(encoding="utf-8"))
    assert list(selection.WORDS) == [*causes["properties"]["cause"]["enum"], "not_begun", *Phase]


def test_the_last_verdict_says_where_a_course_stands(three):
    for cause in ("ready", "differs"):
        Run.objects.create(kind="gate", scope=CS1, complete=True, finished_at=now(), document={"cause": cause})
    Run.objects.create(kind="gate", scope=CS1, document={"cause": "leak"})  # it did not end
    assert chosen("--state", "differs") == [CS1]
    assert chosen("--state", "ready") == []


@pytest.mark.parametrize("name", SEVERAL)
def test_no_course_in_the_state_is_said_and_nothing_is_done(three, name, capsys):
    before = (Run.objects.count(), CoursePhase.objects.count())
    assert run(name, *SEVERAL[name], "--state", "leak") == ExitCode.OK
    assert capsys.readouterr().out == "No course of those is in the state leak: nothing to do.\n"
    assert run(name, *SEVERAL[name], "--state", "leak", "--format", "json") == ExitCode.OK
    assert validate(json.loads(capsys.readouterr().out))["schema"] == "migration_shim.no_courses/1"
    assert (Run.objects.count(), CoursePhase.objects.count()) == before


# --- a name of no course ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("CS106", f"'CS106' may be any of {CS2}, {CS3}: name one in full."),
        ("biology", "'biology' is no course key and short for no course."),
        ("ExU+CS9*", "No course matches 'ExU+CS9*'."),
        ("CS1*", "No course matches 'CS1*': it is matched from the organisation on, and '*+CS1*' fits."),
        ("Course-v1:ExU+CS101", f"'Course-v1:ExU+CS101' is no course key and short for no course. Did you mean {CS1}?"),
    ],
)
def test_a_name_of_several_or_of_none_is_told(three, typed, message):
    assert refused("--course", typed) == (message, 64)
    assert refused("--course", typed, "--new") == (message, 64)  # only a whole id can be new


def test_an_organisation_without_courses_is_told(three):
    message, code = refused("--org", "exu")
    assert (message, code) == ("The shim knows no course of 'exu', and found none in XQueue.", 64)


def test_a_mistyped_id_is_refused_with_what_may_have_been_meant(three):
    message, code = refused("--course", TYPO)
    assert code == 64
    assert message.startswith(f"No course {TYPO!r}: the shim does not know it, XQueue has no row of it. Did you mean ")
    assert CS2 in message
    assert message.endswith("? If the id is right, add --new.")
    assert chosen("--course", TYPO, "--new") == [TYPO]


def test_one_wrong_name_refuses_them_all_and_each_is_told(three):
    message, _ = refused("--course", CS1, "--course", TYPO, "--course", "biology")
    assert len(message.splitlines()) == 2


def test_a_file_of_something_else_is_given_up_early(three, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(course_rows, "has_course", lambda course: asked.append(course) or False)
    path = tmp_path / "wrong"
    path.write_text("".join(f"course-v1:Z+Z{number}+1\nword{number}\n" for number in range(1000)))
    message, code = refused("--file", str(path))
    lines = message.splitlines()
    assert (code, len(lines), len(asked)) == (64, 101, 50)
    assert lines[-1] == "So many names are wrong that the rest was not looked at."
    # A way back goes through all of it: the last line may be the course to step back.
    with path.open("a") as file:
        file.write(f"{CS1}\n")
    assert chosen("--file", str(path), left_out=[]) == [CS1]


def test_what_lets_an_id_pass(monkeypatch):
    assert refused("--course", TYPO)[1] == 64
    row = rows.legacy_row(course=TYPO)
    assert chosen("--course", TYPO) == [TYPO]
    row.delete(using="xqueue")
    assert refused("--course", TYPO)[1] == 64
    toggles.force_flags(TYPO, *flags_of(Phase.SHADOW))
    assert chosen("--course", TYPO) == [TYPO]
    toggles.force_flags(TYPO, False, False)
    assert refused("--course", TYPO)[1] == 64
    monkeypatch.setattr(catalogue, "has_course", lambda course: course == TYPO)
    assert chosen("--course", TYPO) == [TYPO]
    message, _ = refused("--course", CS1)
    assert "XQueue has no row of it, nor has the LMS." in message
    monkeypatch.setattr(catalogue, "has_course", lambda course: None)
    rows.entries(1, course_id=TYPO)
    assert chosen("--course", TYPO) == [TYPO]


def test_while_xqueue_is_away_an_unknown_id_is_refused_as_unknown_and_not_as_wrong(three, away):
    with pytest.raises(Failed) as raised:
        chosen("--course", TYPO)
    failure = raised.value.failure
    assert (failure.code, raised.value.returncode) == ("xqueue_database_other", ExitCode.ERROR)
    assert f"the shim does not know {TYPO}, and nobody can say whether XQueue does. Did you mean {CS2}" in failure.means
    assert failure.do.endswith("Without XQueue: where an id is right, add --new.")
    assert chosen("--course", CS1) == [CS1]  # what has a record is not asked for
    assert chosen("--course", TYPO, "--new") == [TYPO]


def test_while_xqueue_is_away_many_unknown_ids_are_one_message_beside_what_is_wrong_anyway(three, away):
    many = [word for number in range(30) for word in ("--course", f"course-v1:ExU+X{number}+1")]
    with pytest.raises(Failed) as raised:
        chosen(*many)
    assert "course-v1:ExU+X17+1 and 20 more, and nobody can say" in raised.value.failure.means
    message, code = refused("--course", "biology", *many)
    assert code == 64
    assert len(message.splitlines()) == 2
    assert message.splitlines()[1].startswith("Whether XQueue has course-v1:ExU+X0+1, ")
    assert message.endswith("20 more cannot be asked: XQueue's database answered with an error (OperationalError).")


def test_while_xqueue_is_away_a_file_of_something_else_is_given_up_early_too(three, away, tmp_path, monkeypatch):
    looked = []
    monkeypatch.setattr(selection, "_has_left_traces", lambda course: bool(looked.append(course)))
    path = tmp_path / "wrong"
    path.write_text("".join(f"course-v1:Z+Z{number}+1\n" for number in range(1000)))
    with pytest.raises(Failed) as raised:
        chosen("--file", str(path))
    assert (raised.value.failure.code, len(looked)) == ("xqueue_database_other", 100)


def test_an_xqueue_that_hangs_is_said_to_be_silent(three, monkeypatch):
    def hangs(*args):
        raise TimeoutError

    monkeypatch.setattr(course_rows, "has_course", hangs)
    with pytest.raises(Failed) as raised:
        chosen("--course", TYPO)
    assert raised.value.failure.code == "xqueue_database_timeout"


def test_nothing_holds_up_a_way_back(three, away, monkeypatch):
    left_out = []
    assert chosen("--course", CS1, "--course", TYPO, left_out=left_out) == [CS1, TYPO]
    assert left_out == []
    monkeypatch.setattr(course_rows, "has_course", lambda course: False)
    assert chosen("--course", CS1, "--course", TYPO, "--course", "biology", left_out=left_out) == [CS1]
    assert len(left_out) == 2
    assert refused("--course", TYPO, left_out=[])[1] == 64  # a typo alone is told: it was no step back


def test_a_way_back_needs_no_table_of_this_release(three, monkeypatch):
    def fails():
        raise OperationalError("no such table")

    monkeypatch.setattr(site_courses, "all_courses", fails)
    assert chosen("--course", CS1, "--course", TYPO, left_out=[]) == [CS1]
    assert chosen("--course", "CS101", left_out=[]) == [CS1]
    assert chosen("--all", left_out=[]) == [CS1, CS2, CS3]
    with pytest.raises(OperationalError):
        chosen("--all")


def test_a_record_under_no_course_id_holds_up_no_organisation(three):
    CoursePhase.objects.create(course_id="what a caller from Python once named")
    assert chosen("--org", "ExU") == chosen("--org", "ExU", left_out=[]) == [CS1, CS2]


def test_a_way_back_passes_over_a_typo_and_says_it(three, capsys):
    rows.enter("shadow", CS1)
    words = ("xqueue_cutover", "--to", "legacy", "--reason", "r", "--execute", "--course", TYPO, "--course", CS1)
    assert run(*words) == ExitCode.ERROR
    assert CoursePhase.objects.get(course_id=CS1).phase == Phase.LEGACY
    assert f"No course {TYPO!r}" in capsys.readouterr().err
    assert not CoursePhase.objects.filter(course_id=TYPO).exists()


@pytest.mark.parametrize("execute", [(), ("--execute",)])
@pytest.mark.parametrize("name", [*SEVERAL, "xqueue_known"])
def test_no_command_takes_a_mistyped_id(three, name, execute):
    """One of them would put a record of it into the database, and another would say that all is well with it."""
    extra = SEVERAL.get(name, ("--add", "score", "--reason", "r"))
    if execute and name not in ("xqueue_cutover", "xqueue_backfill", "xqueue_fail"):
        pytest.skip("it has no plan")
    with pytest.raises(CommandError) as error:
        call_command(name, *extra, *execute, "--course", TYPO)
    assert error.value.returncode == ExitCode.USAGE
    assert "Did you mean" in str(error.value)
    assert set(CoursePhase.objects.values_list("course_id", flat=True)) == {CS1, CS2, CS3}
    assert not Run.objects.exists()
    assert not PhaseChange.objects.exists()


# --- the same on every command ----------------------------------------------------------------------------------------


def test_every_command_has_the_options():
    names = {name for name, app in get_commands().items() if app == "migration_shim"}
    # Of a campaign, start takes them; the other two are about one course.
    assert names == {*SEVERAL, "xqueue_known", "xqueue_learners", "xqueue_campaign"}
    for name in SEVERAL:
        parser = load_command_class("migration_shim", name).create_parser("manage.py", name)
        options = {option for action in parser._actions for option in action.option_strings}
        assert {"--course", "--org", "--queue", "--all", "--file", "--state", "--new"} <= options, name


@pytest.mark.parametrize("name", SEVERAL)
def test_every_command_is_about_the_courses_that_are_chosen(three, name, monkeypatch, capsys):
    """By a shortening, a pattern and an organisation; what it says names them, and no other."""
    monkeypatch.setattr(site_courses, "all_courses", lambda: [CS1, CS2, CS3, "course-v1:ExU+CS999+2026"])
    asked = []
    monkeypatch.setattr(xqueue_backfill, "start", lambda request, *_: asked.append(request) or several.nobody({}))
    for words, wanted in (
        (("--course", "CS101"), {CS1}),
        (("--course", "*CS106*"), {CS2, CS3}),
        (("--org", "ExU"), {CS1, CS2} | (set() if name in BEGUN else {"course-v1:ExU+CS999+2026"})),
    ):
        if name == "xqueue_backfill":  # what it has read is of no course in particular
            asked.clear()
            run(name, *SEVERAL[name], *words)
            assert [request.courses for request in asked] == [wanted]
            continue
        run(name, *SEVERAL[name], *words, "--format", "json")
        content = json.loads(capsys.readouterr().out)
        listed = content.get("courses", [content])
        assert {course["course"] for course in listed} == wanted
        assert not content.get("problems")
