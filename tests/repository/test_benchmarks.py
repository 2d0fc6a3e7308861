"""The tool that runs the benchmarks, not what they measure: no test here asserts a time."""

import json
import os
import subprocess
import sys
import time
from collections import Counter, defaultdict
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

from benchmarks import (
    bench,
    compare,
    document,
    expected,
    figures,
    goals,
    legacy_rows,
    names,
    plots,
    runner,
    steps,
    tables,
    work,
)
from benchmarks.legacy_rows import BURST, COLUMNS, ODD, RETIRED, Kind
from migration_shim.core.classification import legacy_state, parse_row
from migration_shim.core.data import LegacyRow, State
from migration_shim.core.siblings import Siblings
from sandbox.databases import PROJECT_ROOT

# --- a way that goes wrong --------------------------------------------------------------------------------------------


def script(tmp_path, text):
    path = tmp_path / "way.py"
    path.write_text(text)
    return [str(path)]


def test_a_way_gives_what_its_last_line_says(tmp_path):
    """Whatever a library prints before it."""
    assert runner.run(script(tmp_path, "print('hello'); print('{\"pairs\": 3}')"), {}, 60) == {"pairs": 3}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "killed by SIGSEGV"),
        ("raise ValueError('no such table')", "ended with 1: ValueError: no such table"),
        ("import sys; print('No module named x', file=sys.stderr); sys.exit(3)", "not installed: No module named x"),
        ("import os; print('{\"pairs\": 3}', flush=True); os.kill(os.getpid(), 6)", "killed by SIGABRT"),
        ("print('done')", "gave no result"),
        ("print('[]')", "gave no result"),
    ],
)
def test_a_way_that_fails_says_why(tmp_path, text, reason):
    """A crash of the process itself is a reason like any other."""
    assert runner.run(script(tmp_path, text), {}, 60) == {"failed": reason}


def test_a_way_that_hangs_is_ended_with_all_it_has_started(tmp_path, monkeypatch):
    """Nothing of it goes on beside the next way, even where it does not listen."""
    monkeypatch.setattr(runner, "TEARDOWN_SECONDS", 0.5)
    mark = tmp_path / "child"
    child = f"import time, pathlib; pathlib.Path({str(mark)!r}).write_text('here'); time.sleep(600)"
    text = "import signal, subprocess, sys; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    text += f"subprocess.run([sys.executable, '-c', {child!r}])"

    assert runner.run(script(tmp_path, text), {}, 3) == {"failed": "stopped after 3 s"}

    assert mark.exists()
    deadline = time.monotonic() + 10
    while running(str(mark)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert running(str(mark)) == []


def running(text):
    """The command lines with a text in them, those of processes that have ended left out."""
    done = subprocess.run(["ps", "-eww", "-o", "stat=,args="], capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if text in line and not line.startswith("Z")]


# --- the run ----------------------------------------------------------------------------------------------------------


@pytest.fixture(name="work")
def a_run_without_processes(tmp_path, monkeypatch):
    """A run whose ways take what ``took`` says of them, or one second; ``steps`` is what ran between them."""
    took, failing, stepped = {}, {}, []

    def measured(server, arguments, seconds):
        return {"client_cpu": 0.5, "server_cpu": 0.5, "pairs": 10, "wrong": ""} | took.get(arguments[1], {})

    def run(arguments, environment, seconds):
        stepped.append(arguments[1])
        return {"failed": failing[arguments[1]]} if arguments[1] in failing else {}

    monkeypatch.setattr(runner, "measured", measured)
    monkeypatch.setattr(runner, "run", run)
    path = tmp_path / "result.json"
    found = {"schema": document.SCHEMA, "at": "2026-11-30T09:00:00", "version": "1", "command": "bench", "size": 16000}
    found |= {"finished": False, "servers": {}, "rows": []}
    found["machine"] = {"processor": "p", "cores": 2, "memory_mb": 1, "load_before": 0, "versions": {}}

    def go(*only, durable=False):
        options = bench.parse(["--rows", "16000", "--only", ",".join(only)])
        server = SimpleNamespace(durable=durable, environment={}, given={}, about="a server")
        with work.Bench(server, options, found, path) as run:
            run.run()
        return document.read(path)

    return SimpleNamespace(took=took, failing=failing, steps=stepped, go=go, path=path)


def by_way(found):
    return {row["way"]: row for row in found["rows"]}


def test_a_way_that_fails_costs_its_own_row_only(work):
    """The table has every other way, and says of this one why it has no figures."""
    work.took[names.POLARS] = {"failed": "killed by SIGABRT"}

    rows = by_way(work.go("reconcile"))

    assert rows[names.POLARS]["failed"] == "killed by SIGABRT"
    assert {names.DRAIN, names.FIRST, names.INCREMENTAL, names.PANDAS, names.RELADIFF} < rows.keys()
    assert f"| {names.POLARS} | - | killed by SIGABRT |" in work.path.with_suffix(".md").read_text()


def test_a_step_that_fails_costs_its_own_group_only(work):
    """Without graded pairs there is nothing to compare; an import needs none."""
    work.failing[steps.GRADE] = "ended with 1: OperationalError"

    found = work.go("import", "reconcile")

    assert names.LOAD_DATA in by_way(found)
    assert by_way(found)[steps.GRADE]["failed"] == "ended with 1: OperationalError"
    assert names.FIRST not in by_way(found)


def test_what_is_done_is_on_disk_before_the_next_way(work, monkeypatch):
    """A run that is killed has lost the way that was at work, and nothing before it."""

    def killed(server, arguments, seconds):
        if arguments[1] == names.FULL:
            raise KeyboardInterrupt
        return {"client_cpu": 1, "server_cpu": 1, "pairs": 10}

    monkeypatch.setattr(runner, "measured", killed)
    with pytest.raises(KeyboardInterrupt):
        work.go("reconcile")

    found = document.read(work.path)
    assert list(by_way(found)) == [names.DRAIN, names.PLAIN_READ, names.SCRIPT, names.FIRST]
    assert "not finished" in tables.markdown(found)


def test_a_wrong_result_is_told_and_judged_by_nobody(work):
    """A quick comparison that has found the wrong differences meets no goal."""
    work.took[names.FULL] = {"wrong": "diverged 3, not 4"}

    found = work.go("reconcile")

    assert "**wrong: diverged 3, not 4**" in tables.markdown(found)
    texts = [goal["text"] for goal in found["goals"]]
    assert "first run, in drains" in texts
    assert "full, nothing changed, in drains" not in texts


def test_where_commits_wait_only_what_commits_is_run(work):
    """And fewer rows of it than elsewhere."""
    found = work.go("import", "reconcile", durable=True)

    assert {row["group"] for row in found["rows"]} == {"import"}
    assert all(row["durable"] for row in found["rows"])


def test_groups_and_shares_are_checked(capsys):
    """A typing error ends the command before an hour is spent on the rest."""
    for wrong in (["--only", "reconcyle"], ["--odd", "50"], ["--odd", "-1"]):
        with pytest.raises(SystemExit):
            bench.parse(wrong)
    assert "reconcyle" in capsys.readouterr().err
    assert bench.parse(["--only", "reconcile,import"]).only == ("import", "reconcile")


# --- results and goals ------------------------------------------------------------------------------------------------


def test_a_second_run_of_a_day_has_a_number(tmp_path):
    """No result is written over."""
    first = document.new_path(tmp_path)
    first.touch()
    second = document.new_path(tmp_path)
    second.touch()

    assert [path.name.removeprefix(first.stem) for path in (second, document.new_path(tmp_path))] == [
        "-2.json",
        "-3.json",
    ]


def row(way, group="reconcile", **figures):
    return {"group": group, "way": way, "size": 400, "durable": False, **figures}


def taking(way, cpu, **figures):
    return row(way, client_cpu=cpu / 4, server_cpu=cpu * 3 / 4, **figures)


def judged(text, *rows, smaller=()):
    """The one goal whose text begins so."""
    (goal,) = [goal for goal in goals.GOALS if goal.text.startswith(text)]
    return goal.judge(goals.Rows(rows, smaller))


@pytest.mark.parametrize(("first", "met", "missed_by"), [(7.0, True, None), (14.0, False, 2.0)])
def test_a_first_run_is_judged_by_the_cpu_of_client_and_server(first, met, missed_by):
    """In drains of the same tables: 3.5 at most."""
    goal = judged("first run, in drains", taking(names.DRAIN, 2), taking(names.FIRST, first))

    assert (goal["value"], goal["met"], goal["missed_by"]) == (first / 2, met, missed_by)


def test_a_first_run_is_held_against_a_script_too():
    """Twice what it takes to read, parse, compare and store is the bound; three times miss it."""
    text = "first run, in runs of a script"

    assert judged(text, taking(names.SCRIPT, 2), taking(names.FIRST, 4))["met"] is True
    assert judged(text, taking(names.SCRIPT, 2), taking(names.FIRST, 6))["missed_by"] == 1.5


def test_the_script_writes_to_a_copy_of_the_ledger(work):
    """The ledger is as it was when the app's first run comes; the copy goes in any case before that."""
    found = list(by_way(work.go("reconcile")))

    assert found.index(names.SCRIPT) < found.index(names.FIRST)
    told = [name for name in work.steps if name in (steps.COPY, steps.DROP_COPY)]
    assert told == [steps.COPY, steps.DROP_COPY]


def test_an_import_is_judged_by_its_speed():
    """Half the speed of LOAD DATA is twice its CPU; a third of 0.4 is missed by three times."""
    rows = (taking(names.LOAD_DATA, 2), taking(names.IMPORT, 4))
    assert judged("import, in", *rows)["value"] == 0.5
    rows = (taking(names.LOAD_DATA, 2), taking(names.IMPORT, 15))
    assert judged("import, in", *rows)["missed_by"] == 3.0


def test_a_changed_pair_is_what_the_changed_run_takes_longer():
    """10 ms for 40 pairs are a quarter of a millisecond each."""
    rows = (taking(names.NOTHING_NEW, 1.00), taking(names.INCREMENTAL, 1.01, changed=40))

    assert judged("incremental: ms", *rows)["value"] == 0.25


def test_a_gate_is_judged_by_its_counters():
    """Its counts come from them, and there are as many as kinds of pair, problems and days."""
    goal = judged(f"{names.GATE}:", row(names.GATE, rows_read=300, counters=100))

    assert (goal["value"], goal["met"]) == (3.0, False)
    assert judged(f"{names.GATE}:", row(names.GATE, rows_read=300)) is None


@pytest.mark.parametrize(("way", "value"), [(names.STATUS, 5.0), (names.NOTHING_NEW, 2.0)])
def test_what_reads_open_work_is_judged_by_the_open_submission(way, value):
    """1,000 rows more for 200 open more are 5 each; with 300 more that differ, which a run tells of, 2 each."""
    large = {names.NOTHING_NEW: row(names.NOTHING_NEW, rows_read=1, looked_at=220, diverged=330)}
    small = {names.NOTHING_NEW: row(names.NOTHING_NEW, rows_read=1, looked_at=20, diverged=30)}
    for rows_, number in ((large, 1_100), (small, 100)):
        rows_[way] = rows_.get(way, row(way)) | {"rows_read": number}

    assert judged(f"{way}: rows", *large.values(), smaller=small.values())["value"] == value
    assert judged(f"{way}: rows", *large.values()) is None


def test_a_submit_is_judged_by_what_is_added():
    """The medians of the samples of one run."""
    rows = [row(way, median_ms=ms) for way, ms in ((names.KEPT, 5), (names.YARDSTICK, 4), (names.DEFERRED, 8))]

    assert judged("shadow, deferred", *rows)["value"] == 0.75
    assert judged("live:", *rows, row(names.LIVE, median_ms=5.5))["met"] is False


def test_faults_at_the_seam_miss_a_goal_that_has_no_measure():
    """One is one too many, by no factor."""
    rows = [row(f"{names.SEAM}, {isolation}", faults=number) for number, isolation in enumerate(names.ISOLATION)]

    goal = judged("faults", *rows)
    assert (goal["value"], goal["met"], goal["missed_by"]) == (1, False, None)


@pytest.mark.parametrize("figures", [{"failed": "killed"}, {"wrong": "3, not 4"}, {"server_cpu": None}])
def test_what_is_not_known_is_judged_by_nobody(figures):
    """Missing is never zero."""
    assert judged("first run, in drains", taking(names.DRAIN, 2), taking(names.FIRST, 1) | figures) is None
    assert judged("first run, in drains", taking(names.DRAIN, 2) | figures, taking(names.FIRST, 1)) is None


def test_memory_is_flat_if_five_times_as_many_need_no_more():
    """The larger of the app's own ways counts."""
    small = [row(way, peak_mb=80) for way in (names.IMPORT, names.FIRST, names.FULL)]
    large = [row(way, peak_mb=peak) for way, peak in ((names.IMPORT, 80), (names.FIRST, 95), (names.FULL, 80))]

    goal = goals.flat(goals.Rows(small), goals.Rows(large))
    assert (goal["value"], goal["met"]) == (15, False)


def test_a_way_that_writes_fewer_rows_is_compared_row_by_row():
    """The public API is asked for a few rows only."""
    unit = taking(names.LOAD_DATA, 1, pairs=1000) | {"group": "import"}
    few = taking(names.PUBLIC_API, 2, pairs=100) | {"group": "import"}

    assert figures.multiple(few, [unit, few]) == 20


# --- two results ------------------------------------------------------------------------------------------------------


def result(*rows):
    found = {"schema": document.SCHEMA, "at": "2026-11-30T09:00:00", "version": "1", "size": 400, "rows": list(rows)}
    found["machine"] = {"processor": "p"}
    return found | {"goals": document.judged(found)}


def test_two_results_are_compared_by_multiples_and_counts():
    """The same run on a machine half as fast has not changed; what takes half as many drains has."""
    old = result(taking(names.DRAIN, 1, pairs=10), taking(names.FULL, 2, pairs=10, rows_read=100, peak_mb=90.0))
    new = result(taking(names.DRAIN, 2, pairs=10), taking(names.FULL, 2, pairs=10, rows_read=50, peak_mb=90.0))

    lines = compare.compared(old, new).splitlines()

    assert f"| reconcile: {names.DRAIN} | 400 | no | 1 | - | - | - | - |" in lines
    assert f"| reconcile: {names.FULL} | 400 | no | 2 → 1 (-50 %) | - | 100 → 50 (-50 %) | 90 | - |" in lines
    assert "| full, nothing changed, in drains | 400 | no | 2, **missed** | 1, met |" in lines


def test_a_way_that_only_one_result_has_is_told():
    """Not run, failed and wrong are three things, and none of them is a change of so many percent."""
    old = result(row(names.POLARS, failed="killed by SIGSEGV"), taking(names.FULL, 1, wrong="3, not 4"))

    text = compare.compared(old, result(taking(names.POLARS, 1), taking(names.FULL, 1), taking(names.FIRST, 1)))

    assert f"{names.POLARS} | 400 | no | old: killed by SIGSEGV |" in text
    assert f"{names.FULL} | 400 | no | old: wrong: 3, not 4 |" in text
    assert f"{names.FIRST} | 400 | no | old: not run |" in text


def test_a_file_that_is_no_result_is_refused(tmp_path, capsys):
    """With its name."""
    other = tmp_path / "other.json"
    other.write_text('{"schema": "something/1"}')

    assert compare.main([str(other), str(other)]) == 1
    assert "other.json" in capsys.readouterr().err


def test_cost_against_size_is_drawn_of_ways_with_two_sizes():
    """One point is no line; a way that failed has none, nor has what was measured over a smaller ledger."""
    ways = (names.FULL, names.FIRST, names.POLARS, names.NOTHING_NEW)
    small = result(*(taking(way, 1, pairs=100) for way in ways))
    large = result(
        taking(names.FULL, 40, pairs=1000) | {"size": 4000},
        taking(names.NOTHING_NEW, 4, pairs=100) | {"size": 800},
        row(names.FIRST, failed="x") | {"size": 4000},
        taking(names.POLARS, 40, pairs=1000, wrong="3, not 4") | {"size": 4000},
    ) | {"size": 4000}

    title, groups, figure = plots.PLOTS["cost-reconcile.svg"]
    found = plots.series([small, large], groups, figure)

    assert found == {names.FULL: [(400, 10_000), (4000, 40_000)]}
    assert ElementTree.fromstring(plots.drawn(title, found)).tag.endswith("svg")


# --- the rows ---------------------------------------------------------------------------------------------------------


def made(odd=1.0):
    """The rows of two bursts, as the app reads them, by kind."""
    kinds = {place: kind for kind, found in legacy_rows.places(odd).items() for place in found}
    found = defaultdict(list)
    for values in legacy_rows.rows(2 * BURST, odd):
        columns = dict(zip(COLUMNS, values, strict=True)) | {"push_time": None}
        parsed = parse_row(LegacyRow(**columns), json.loads(columns["s3_keys"]))
        found[kinds[(parsed.row.id - 1) % BURST]].append(parsed)
    return found


def test_rows_are_in_the_states_that_xqueue_leaves_them_in():
    """By the app's own rules: superseded, collided and graded as their kind says, the rest queued."""
    found = made()
    together = defaultdict(list)
    for parsed in (parsed for each in found.values() for parsed in each):
        together[parsed.row.lms_callback_url].append(parsed)
    families = {url: Siblings(same) for url, same in together.items()}
    wanted = {
        Kind.REPLACED_QUEUED: State.SUPERSEDED,
        Kind.REPLACED_PULLED: State.SUPERSEDED,
        Kind.COLLIDED: State.COLLIDED,
        Kind.GRADED_BEFORE: State.GRADED,
        Kind.REPLACED_ON_TARGET: State.GRADED,
    }

    for kind, rows in found.items():
        states = {legacy_state(parsed, families[parsed.row.lms_callback_url].beside(parsed)) for parsed in rows}
        assert states == {wanted.get(kind, State.QUEUED)}, kind
    assert {kind for kind in found if any(parsed.problem for parsed in found[kind])} == {Kind.MALFORMED}
    assert all(parsed.input_key for kind in (Kind.RESUBMITTED, Kind.SECOND_INPUT) for parsed in found[kind])


def test_rows_have_the_shares_that_are_promised():
    """15 % resubmitted, 1 % of every odd kind, CAPA's order of keys in nine rows of ten, and a file now and then."""
    found = made()
    share = Counter({kind: len(rows) / (2 * BURST) for kind, rows in found.items()})
    bodies = [parsed.row.xqueue_body for rows in found.values() for parsed in rows]

    assert share[Kind.RESUBMITTED] == 0.15
    assert {share[kind] for kind in ODD} == {0.01}
    assert sum(body.startswith('{"grader_payload": ') for body in bodies) == 0.9 * 2 * BURST
    assert sum(body.startswith('{"student_info": ') for body in bodies) == 0.1 * 2 * BURST
    assert all(parsed.file_names == ("notes.py",) for parsed in found[Kind.WITH_FILE])
    assert {kind: len(rows) for kind, rows in found.items()} == +legacy_rows.counts(2 * BURST)


def test_no_odd_rows_if_none_are_wanted():
    """And every row that is there is still one submission of its own."""
    assert not set(made(odd=0)) & set(ODD)
    headers = [parsed.row.xqueue_header for rows in made(odd=0).values() for parsed in rows]
    assert len(set(headers)) == 2 * BURST


def test_what_changes_between_two_runs_is_plain_whatever_the_share():
    """Else the changed pairs would be fewer than the goal counts."""
    for odd in (0, 1, 3):
        assert set(legacy_rows.CHANGED) <= set(legacy_rows.places(odd)[Kind.PLAIN])


def test_what_is_to_be_found_adds_up():
    """Every pair has one result, and every odd kind one that says so."""
    found = expected.of_pairs(2 * BURST, 1.0)

    assert found["of"] == 2 * BURST - 16  # what a backfill leaves behind
    known = sum(found["known_differences"].values())
    assert found["of"] == sum(found[name] for name in ("equal", "diverged", "waiting", "overdue")) + known
    assert found["diverged"] == sum(found["classes"].values())
    assert sum(expected.of_import(2 * BURST, 1.0).values()) == 2 * BURST - sum(
        legacy_rows.counts(2 * BURST)[kind] for kind in RETIRED
    )


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_the_app_finds_what_was_planted(tmp_path):
    """The whole tool on one burst, on MariaDB: no way fails, and what is found is what was planted."""
    if not os.environ["MIGRATION_SHIM_TARGET_DB"].startswith("mysql:"):
        pytest.skip("the benchmarks need MariaDB")
    path = tmp_path / "result.json"
    environment = {name: value for name, value in os.environ.items() if name != "MIGRATION_SHIM_TEST_RUN"}
    command = ["benchmarks/bench.py", "--rows", "400", "--only", "import,reconcile,reads", "--no-durable"]
    done = subprocess.run(
        [sys.executable, *command, "--api-rows", "50", "--out", str(path)],
        cwd=PROJECT_ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    rows = by_way(document.read(path))
    assert [way for way in rows if not figures.is_sound(rows[way]) and way not in names.LIBRARIES] == []
    assert {names.IMPORT, names.FIRST, names.FULL, names.INCREMENTAL, *names.READS} <= rows.keys()
