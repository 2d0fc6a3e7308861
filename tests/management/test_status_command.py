"""``xqueue_status`` as an operator meets it: a screen for the site, one for a course, watched, and as metrics."""

import itertools
import os
import re
import signal
import subprocess
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command, load_command_class
from django.db import connection
from django.utils.timezone import now
from prometheus_client.parser import text_string_to_metric_families
from waffle import get_waffle_switch_model

from migration_shim import api, metrics, toggles
from migration_shim.core.data import Document, ExitCode, Move, Phase
from migration_shim.core.phases import flags_of
from migration_shim.legacy import course_search
from migration_shim.management.commands import xqueue_status
from migration_shim.reports import prometheus, terminal_courses
from tests.builders import rows
from tests.builders.rows import COURSE, clean_course, fresh  # noqa: F401

BOTH = ["default", "xqueue"]
pytestmark = pytest.mark.django_db(databases=BOTH)
OTHER = "course-v1:ExU+OTHER+2026"
LONG = "course-v1:ExU+漢" + 55 * "long" + "+2026"


def run(*words):
    """Run the command in this process; its exit code."""
    command = load_command_class("migration_shim", "xqueue_status")
    call_command(command, *words)
    return command.exit_code


@pytest.fixture(name="site")
def site_of_two():
    """A course that is well, and one with something of most kinds to look at."""
    rows.in_phase("shadow", OTHER)
    toggles.force_flags(OTHER, *flags_of(Phase.SHADOW))
    rows.in_phase("shadow")
    toggles.force_flags(COURSE, *flags_of(Phase.LIVE))
    rows.legacy_row(1, age=timedelta(hours=3))
    rows.entries(2, move=Move.HELD, moved_at=now() - timedelta(minutes=5))
    rows.entries(1, course_id=OTHER)


# --- the two screens --------------------------------------------------------------------------------------------------


def rows_of(lines):
    """The table: of each course the cells of its row, and the last line behind it if there is one."""
    start = next(place for place, line in enumerate(lines) if line.startswith("course "))
    found, name = {}, ""
    for line in itertools.takewhile(bool, lines[start + 1 :]):
        if line.startswith(" "):
            found[name] = (found[name][0], line.strip())
        else:
            name, *cells = re.split(r"  +", line)
            found[name] = (cells, "")
    return re.split(r"  +", lines[start]), found


def test_the_site_is_a_row_a_course_the_worst_first(site, capsys):
    assert run() == ExitCode.STALE
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "2 courses: 1 stale, 1 overdue",
        "courses in XQueue: not known, nothing has looked yet (xqueue_watch looks)",
        "kill switch: off",
    ]
    assert "ledger: 3 entries, 3 of them with residue" in lines
    head, table = rows_of(lines)
    assert head == ["course", "phase", "cause", "why"]
    assert list(table) == ["PY1", "OTHER"]
    assert table["PY1"][0][:2] == ["shadow", "overdue"]
    assert table["PY1"][0][2].startswith("NO WATCHER: 1 row waits in exu-py1")
    assert table["PY1"][1] == "> xqueue_status --course PY1 --watcher-config"
    assert table["OTHER"] == (
        ["shadow", "stale", "no gate has judged the course"],
        "> xqueue_preflight --course OTHER",
    )
    assert not [line for line in lines if "Next:" in line]


@pytest.mark.parametrize("columns", [40, 60, 80, 120, 200])
def test_no_line_of_the_site_is_wider_than_the_terminal(site, capsys, monkeypatch, columns):
    toggles.force_flags(LONG, *flags_of(Phase.SHADOW))
    rows.in_phase("shadow", LONG)
    monkeypatch.setenv("COLUMNS", str(columns))
    run()
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if terminal_courses._width(line) > columns] == []
    head, _ = rows_of(lines)
    more = {120: ["since", "judged"], 200: ["since", "judged", "on legacy", "on target"]}
    assert head == ["course", "phase", "cause", *more.get(columns, []), "why"]


def test_a_screen_that_was_asked_for_several_courses_is_a_table_too(site, capsys):
    run("--course", OTHER, "--course", COURSE)
    assert list(rows_of(capsys.readouterr().out.splitlines())[1]) == ["PY1", "OTHER"]


def test_a_course_has_a_screen_of_its_own(site, capsys):
    assert run("--course", OTHER) == ExitCode.OK
    printed = capsys.readouterr().out
    assert f"{OTHER}: shadow since" in printed
    assert "in flight on legacy: nothing" in printed
    assert "last full reconcile: never" in printed
    assert "why" not in printed
    assert "  may it move: to live: no\n" in printed
    assert "  stands at: stale, never judged\n    because no gate has judged the course\n" in printed
    assert f"  who acts next: the operator\n    xqueue_preflight --course {OTHER}\n" in printed
    assert run("--course", COURSE) == ExitCode.STALE
    printed = capsys.readouterr().out
    assert "in flight on legacy: 1 queued (3 h)" in printed
    assert f"    xqueue_cutover --course {COURSE} --to shadow --reason TEXT --execute" in printed


def test_a_site_without_courses(capsys):
    assert run() == ExitCode.OK
    assert capsys.readouterr().out.splitlines()[-1] == "No course is known to the shim yet."


def test_what_a_terminal_would_act_on_is_escaped(capsys):
    api.cutover(COURSE, Phase.SHADOW, reason="\x1b[2Jgone\nfresh", execute=True, user="ada", login=None)
    run("--course", COURSE)
    assert r"set by ada: \x1b[2Jgone\nfresh" in capsys.readouterr().out


# --- watching ---------------------------------------------------------------------------------------------------------


@pytest.fixture(name="rounds")
def limited_rounds(monkeypatch):
    """Let a watch pause so many times, and then press Ctrl-C; what it waited for. The test's own transaction stays."""
    monkeypatch.setattr(xqueue_status, "close_old_connections", lambda: None)
    waited, actions = [], []

    def sleep(seconds):
        waited.append(seconds)
        if not actions:
            raise KeyboardInterrupt
        actions.pop(0)()

    monkeypatch.setattr(xqueue_status.time, "sleep", sleep)
    return waited, actions


def test_a_watch_prints_again_and_sees_a_flip(site, rounds, capsys):
    waited, actions = rounds
    actions += [lambda: None, lambda: toggles.force_flags(COURSE, *flags_of(Phase.SHADOW))]
    assert run("--watch", "--course", COURSE) == ExitCode.OK  # of the last screen
    printed = capsys.readouterr().out
    assert printed.count("kill switch: off") == 3
    assert printed.count("DRIFT") == 2
    assert "\x1b" not in printed  # into a pipe it prints one below the other
    assert min(waited) >= xqueue_status.PAUSE


def test_a_watch_sees_what_another_process_does(rounds, capsys):
    """A switch is cached for a request, and a watch is none."""

    def stop_copies():
        row, _ = get_waffle_switch_model().objects.get_or_create(name=toggles.KILL_SWITCH.name)
        row.active = True
        row.save()
        row.flush()

    rounds[1].append(stop_copies)
    run("--watch")
    assert re.findall(r"^kill switch: (\w+)$", capsys.readouterr().out, re.M) == ["off", "on"]


def test_a_watch_on_a_terminal_clears_it(rounds, capsys, monkeypatch):
    monkeypatch.setattr("django.core.management.base.OutputWrapper.isatty", lambda self: True)
    assert run("--watch") == ExitCode.OK
    assert capsys.readouterr().out.startswith(xqueue_status.CLEAR + "courses in XQueue")


def test_a_watch_outlives_a_database_that_goes_and_comes_back(rounds, capsys, monkeypatch):
    _, actions = rounds
    real = xqueue_status.status_document.run
    answers = iter([real, None, real])

    def flaky(*args, **options):
        answer = next(answers)
        if answer is None:
            with connection.wrap_database_errors:  # as from the server, which is how its alias is known
                error = connection.Database.OperationalError(2006, "Server has gone away")
                error.sqlite_errorname = "SQLITE_BUSY"
                raise error
        return answer(*args, **options)

    monkeypatch.setattr(xqueue_status.status_document, "run", flaky)
    closed = []
    monkeypatch.setattr(xqueue_status, "close_old_connections", lambda: closed.append(1))
    actions += [lambda: None, lambda: None]
    assert run("--watch") == ExitCode.OK
    printed = capsys.readouterr().out
    assert printed.count("kill switch: off") == 2
    assert len(re.findall(r"The LMS's database (?:went away|is locked).*\. Trying again\.", printed)) == 1
    assert len(closed) == 3


def test_a_watch_waits_longer_where_reading_takes_long(rounds, monkeypatch):
    waited, _ = rounds
    ticks = iter([0.0, 3.0])
    monkeypatch.setattr(xqueue_status.time, "monotonic", lambda: next(ticks))
    monkeypatch.setattr(xqueue_status.Command, "answer", lambda self, options: Document(content={}, exit_code=0))
    monkeypatch.setattr(xqueue_status.Command, "formats", {"text": lambda content: ""})
    run("--watch")
    assert waited == [30.0]


def test_settings_that_are_not_usable_end_a_watch(settings):
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"LEASE_SECONDS": "many"}
    with pytest.raises(CommandError, match="LEASE_SECONDS") as error:
        run("--watch")
    assert error.value.returncode == ExitCode.ERROR


@pytest.mark.parametrize("kind", ["json", "prometheus"])
def test_a_watch_is_for_people(kind):
    with pytest.raises(CommandError, match="--watch") as error:
        run("--watch", "--format", kind)
    assert error.value.returncode == ExitCode.USAGE


@pytest.mark.django_db(databases=BOTH, transaction=True)
def test_ctrl_c_ends_a_real_watch():
    process = subprocess.Popen(
        [*rows.MANAGE, "xqueue_status", "--watch"],
        cwd=rows.PROJECT_ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline().startswith("courses in XQueue: not known")
        while "No course" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, complaints) == (0, "")


# --- metrics ----------------------------------------------------------------------------------------------------------


def samples(printed):
    """(name, labels) -> value, as Prometheus reads the text."""
    found = {}
    for family in text_string_to_metric_families(printed):
        assert family.documentation and family.type == "gauge", family.name
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found
            found[key] = sample.value
    return found


def labelled(name, **labels):
    return f"migration_shim_{name}", tuple(sorted(labels.items()))


def test_prometheus_reads_what_the_document_says(site, capsys):
    assert run("--format", "prometheus") == ExitCode.STALE
    found = samples(capsys.readouterr().out)
    assert found[labelled("kill_switch")] == 0
    assert found[labelled("course_drift", course=COURSE)] == 1
    assert found[labelled("course_drift", course=OTHER)] == 0
    assert found[labelled("course_phase", course=COURSE, phase="shadow")] == 1
    assert found[labelled("course_phase", course=COURSE, phase="live")] == 0
    assert found[labelled("held_rows", course=COURSE)] == 2
    assert 300 <= found[labelled("held_oldest_seconds", course=COURSE)] < 600
    assert found[labelled("in_flight", course=COURSE, side="legacy", state="queued")] == 1
    assert found[labelled("in_flight", course=COURSE, side="legacy", state="pulled")] == 0
    assert found[labelled("queue_without_watcher_rows", side="legacy", queue=rows.QUEUE)] == 1
    assert labelled("fence_leaks", course=COURSE) not in found  # nobody has looked: no sample, and never 0
    assert labelled("last_run_complete", course=COURSE, kind="gate") not in found
    document = api.status().content
    for course in document["courses"]:
        assert found[labelled("course_ledger_entries", course=course["course"])] == course["ledger_rows"]


def test_every_metric_is_there_once_a_course_has_been_through_it(clean, capsys):
    toggles.force_flags(COURSE, *flags_of(Phase.SHADOW))
    api.gate(COURSE)
    rows.legacy_row(1, age=timedelta(hours=1))
    course_search.look(lambda: None)
    run("--format", "prometheus")
    printed = capsys.readouterr().out
    names = {name for name, _ in samples(printed)}
    declared = [prometheus.PREFIX + metric.name for metric in prometheus.METRICS]
    assert len(set(declared)) == len(declared)
    assert names <= set(declared)
    # Of a reconcile that never was full.
    never = {"last_full_reconcile_timestamp_seconds"}
    assert set(declared) - names == {prometheus.PREFIX + name for name in never}
    assert re.findall(r"^# TYPE (\w+) gauge$", printed, re.M) == declared


@pytest.mark.parametrize("queue", ['q"u\\e', "two\nlines", "Ü 漢", "}{,=", "\\n"])
def test_a_hostile_queue_name_is_a_label_and_nothing_else(queue, capsys):
    rows.legacy_row(1, queue=queue, age=timedelta(hours=1))
    run("--format", "prometheus")
    assert samples(capsys.readouterr().out)[labelled("queue_without_watcher_rows", side="legacy", queue=queue)] == 1


def test_a_lone_surrogate_does_not_break_the_text():
    document = api.status([COURSE]).content
    document["courses"][0]["course"] = "course-v1:\ud800+A+1"
    prometheus.render(document).encode("utf-8")


def test_no_learner_is_in_a_label(capsys):
    rows.legacy_row(7)
    rows.backfill()
    run("--format", "prometheus")
    assert rows.anonymous_id(7) not in capsys.readouterr().out


def test_the_routers_own_counters_are_named_in_one_place():
    """What the processes count, where Prometheus' client is installed: the names are those that are documented."""
    metrics.count("repeated")
    with metrics.timed("legacy_leg"):
        pass
    collected = {
        sample.name: sample
        for collector in (metrics._EVENTS, metrics._SECONDS)
        for family in collector.collect()
        for sample in family.samples
    }
    for name, labels, _ in metrics.PROCESS:
        assert any(other.startswith(name) and set(labels) <= set(one.labels) for other, one in collected.items()), name


def words(pattern):
    """What the app's source counts or times; a reason that is put in shows as a star."""
    found = set()
    for path in (rows.PROJECT_ROOT / "migration_shim").rglob("*.py"):
        found |= {re.sub(r"\{.*?\}", "*", name) for name in re.findall(pattern, path.read_text(encoding="utf-8"))}
    return found


def test_every_event_and_leg_is_in_the_list_and_no_other():
    """The reference is made from it."""
    assert words(r"(?<![.\w])count\(\s*f?\"([^\"]+)\"") == set(metrics.EVENTS)
    assert words(r"(?<!\w)timed\(\s*\"([^\"]+)\"") == set(metrics.LEGS)
