"""Run control of ``xqueue_backfill``: pace, pauses, signals, heartbeat, the lock, and what the document says of it."""

import itertools
import json
import signal
import subprocess
import threading
import time
from datetime import timedelta

import pytest
from django.db import OperationalError, connections
from django.db.models.functions import Lower
from django.utils.timezone import now
from waffle.models import Switch

from migration_shim import conf, toggles
from migration_shim.backfill import batch_size, ranges, run
from migration_shim.backfill.request import Mode, Request
from migration_shim.core.data import ExitCode, Leg, RowClass
from migration_shim.core.errors import RunLocked
from migration_shim.models import Checkpoint, LedgerEntry, LegacySubmission, Run
from migration_shim.runs import control, spread, throttle
from migration_shim.runs import records as runs
from sandbox import capture
from tests.backfill.test_run import oracle
from tests.builders import many_rows as many
from tests.builders import rows
from tests.builders import slow_commands as processes
from tests.builders.rows import fresh  # noqa: F401

BOTH = ["default", "xqueue"]
in_process = pytest.mark.django_db(databases=BOTH)
shared = pytest.mark.django_db(databases=BOTH, transaction=True)  # for tests with other processes

WALK = ("xqueue_backfill", "--mode", "shadow", "--all", "--format", "json")


@pytest.fixture
def shim(settings):
    """Change settings of the app."""

    def change(**values):
        settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | values

    return change


def start_run(**options):
    """A backfill through the api's use case, with somebody to tell."""
    notes = []
    progress = options.pop("progress", rows.ignore)
    return run.run(Request(**{"execute": True, "batch_size": 5, **options}), progress, notes.append), notes


# The size of a batch


@in_process
def test_a_run_without_a_size_takes_more_where_it_is_quick(monkeypatch):
    monkeypatch.setattr(batch_size, "FIRST", 4)
    for user in range(20):
        rows.legacy_row(user)
    seen = [0]
    start_run(batch_size=None, progress=lambda done, total: seen.append(done))
    monkeypatch.undo()
    sizes = [later - earlier for earlier, later in itertools.pairwise(seen)]
    assert (sizes[0], sum(sizes)) == (4, 20)
    assert max(sizes) > 4 or len(sizes) == 1


# Pauses


@in_process
@pytest.mark.parametrize("execute", [True, False])
def test_a_pause_file_holds_a_run_until_it_is_gone(shim, tmp_path, execute, caplog):
    for user in range(10):
        rows.legacy_row(user)
    pause = tmp_path / "pause"
    shim(PAUSE_FILE=str(pause))

    def begin(done, total):
        if done == 5:
            pause.touch()
            threading.Timer(0.6, pause.unlink).start()

    document, notes = start_run(execute=execute, progress=begin)
    assert document.content["read"] == 10
    assert 0.4 < document.content["waited"]["pause_file"] < document.content["seconds"] + 0.1
    assert notes[0] == f"the pause file {pause} exists"
    assert notes[-1] == ""
    assert [record.getMessage() for record in caplog.records if "waiting" in record.getMessage()] == [
        f"migration_shim.run_waits: waiting: the pause file {pause} exists"
    ]
    if execute:
        assert Run.objects.get().document["waited"] == document.content["waited"]


@shared
def test_a_run_that_waits_is_alive_and_obeys_the_kill_switch(shim, tmp_path, monkeypatch):
    monkeypatch.setattr(control, "BEAT_SECONDS", 0)
    for user in range(10):
        rows.legacy_row(user)
    pause = tmp_path / "pause"
    shim(PAUSE_FILE=str(pause))
    beats = []

    def tell(note):
        beats.append(Run.objects.get().heartbeat_at)
        if len(beats) == 3:
            Switch.objects.create(name="migration_shim.kill_switch", active=True)

    def begin(done, total):
        pause.touch()

    document = run.run(Request(execute=True, batch_size=5), begin, tell)
    assert len(beats) == len(set(beats)) == 3
    assert pause.exists()
    assert document.content["read"] == 5
    assert document.content["stopped_by"] == "kill switch"
    assert document.exit_code == ExitCode.STOPPED
    assert document.content["left"] == 5
    assert document.content["next"] == [
        "waffle_switch migration_shim.kill_switch off",
        "xqueue_backfill --mode shadow --all --batch-size 5 --execute",
    ]


@in_process
@pytest.mark.parametrize(("name", "kind", "limit"), [("lag", "lag", 10), ("threads_running", "load", 25)])
def test_lag_and_load_over_their_limit_hold_a_run_and_the_limit_itself_does_not(monkeypatch, shim, name, kind, limit):
    rows.legacy_row()
    answers = {"lag": [], "threads_running": []}
    for asked, its in answers.items():
        monkeypatch.setattr(throttle, asked, lambda alias, of=its: of.pop(0) if of else None)
    monkeypatch.setattr(throttle, "ASK_SECONDS", 0)
    monkeypatch.setattr(throttle.Throttle, "__init__", _asking_default(throttle.Throttle.__init__))
    answers[name] += [limit + 1, limit + 5, limit, limit]
    document, notes = start_run()
    assert [str(limit + 1) in notes[0], str(limit + 5) in notes[1], notes[2]] == [True, True, ""]
    assert "the database default" in notes[0]
    assert list(document.content["waited"]) == [kind]
    shim(THROTTLE_LAG_SECONDS=None, THROTTLE_THREADS_RUNNING=None)
    answers[name][:] = [limit + 1]
    assert start_run()[0].content["waited"] == {}


def _asking_default(real):
    def make(self, settings):
        real(self, settings)
        self.aliases = ["default"]

    return make


SERVERS = {
    "MariaDB 10.11": ({"SHOW ALL SLAVES STATUS": ["Connection_name", "Seconds_Behind_Master"]}, [["a", 42]], 42),
    "MySQL 8.4": ({"SHOW REPLICA STATUS": ["Replica_IO_State", "Seconds_Behind_Source"]}, [["", 42]], 42),
    "MySQL 5.7": ({"SHOW SLAVE STATUS": ["Slave_IO_State", "Seconds_Behind_Master"]}, [["", 42]], 42),
    "two channels": ({"SHOW REPLICA STATUS": ["Seconds_Behind_Source"]}, [[3], [7]], 7),
    "no replica": ({"SHOW REPLICA STATUS": ["Seconds_Behind_Source"]}, [], None),
    "replication stopped": ({"SHOW REPLICA STATUS": ["Seconds_Behind_Source"]}, [[None]], None),
    "no privilege": ({}, [], None),
}


@pytest.mark.parametrize(("knows", "found", "expected"), SERVERS.values(), ids=SERVERS)
def test_lag_is_read_from_every_server_and_unknown_is_no_error(monkeypatch, knows, found, expected):
    class Cursor:
        def __enter__(self):
            return self

        def __exit__(self, *error):
            return False

        def execute(self, sql):
            if sql not in knows:
                raise OperationalError(1227, "Access denied")
            self.description = [(name, None) for name in knows[sql]]

        def fetchall(self):
            return [tuple(row) for row in found]

    class Connection:
        def cursor(self):
            return Cursor()

    monkeypatch.setattr(throttle, "connections", {"replica": Connection()})
    assert throttle.lag("replica") == expected


@in_process
def test_the_databases_of_this_run_are_asked():
    asked = throttle.Throttle(conf.load()).aliases
    if connections["default"].vendor == "sqlite":
        assert asked == []
        return
    assert asked == BOTH
    assert throttle.lag("default") is None
    assert throttle.threads_running("default") >= 1


# Signals


@shared
def test_sigterm_ends_a_run_between_two_batches_and_the_next_goes_on():
    many.make(60)
    rows.backfill()
    expected = many.fingerprint()
    many.forget()
    child = processes.start(*WALK, "--execute", "--batch-size", "5", slow=0.1)
    processes.wait_until(lambda: LedgerEntry.objects.count() >= 10)
    child.send_signal(signal.SIGTERM)
    printed, errors = child.communicate(timeout=processes.PATIENCE)
    assert child.returncode == ExitCode.STOPPED, errors
    content = json.loads(printed)
    written = LedgerEntry.objects.count()
    assert (content["read"], content["written"], content["left"]) == (written, written, 60 - written)
    assert 10 <= written < 60
    assert content["stopped_by"] == "SIGTERM"
    assert content["next"] == ["xqueue_backfill --mode shadow --all --batch-size 5 --execute"]
    assert content["checkpoint"] == LegacySubmission.objects.order_by("id")[written - 1].pk
    assert Run.objects.get().finished_at is not None
    rest = rows.backfill().content
    assert (rest["read"], rest["classes"]["present"]) == (60 - written, 0)
    assert many.fingerprint() == expected
    assert many.orphans() == {}


@shared
def test_sigint_ends_a_plan_too(tmp_path):
    many.make(40)
    begun = tmp_path / "begun"
    begun.touch()
    child = processes.start(*WALK, "--batch-size", "2", slow=0.2, begun=begun)
    processes.wait_until(lambda: begun.stat().st_size >= 4)
    child.send_signal(signal.SIGINT)
    printed, errors = child.communicate(timeout=processes.PATIENCE)
    assert child.returncode == ExitCode.STOPPED, errors
    content = json.loads(printed)
    assert (content["executed"], content["stopped_by"], content["written"]) == (False, "SIGINT", 0)
    assert 0 < content["read"] < 40
    assert content["next"] == ["xqueue_backfill --mode shadow --all --batch-size 2"]
    assert not Run.objects.exists()


@shared
def test_a_second_signal_breaks_the_open_batch_off():
    many.make(30)
    child = processes.start(*WALK, "--execute", "--batch-size", "10", slow=15)
    processes.wait_until(Run.objects.exists)
    time.sleep(0.5)
    child.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(1.2)
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=10)
    assert child.returncode not in (0, ExitCode.STOPPED)
    assert LedgerEntry.objects.count() == 0
    assert rows.backfill().content["written"] == 30


@in_process
def test_a_run_in_a_thread_takes_no_signals():
    rows.legacy_row()
    before = signal.getsignal(signal.SIGTERM)
    with control.Control(toggles.stop_reason):
        assert signal.getsignal(signal.SIGTERM) != before
        seen = []

        def elsewhere():
            inside = signal.getsignal(signal.SIGTERM)
            with control.Control(toggles.stop_reason, settings=conf.load()):
                seen.append(signal.getsignal(signal.SIGTERM) == inside)

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert seen == [True]
    assert signal.getsignal(signal.SIGTERM) == before


@in_process
def test_a_handler_that_python_has_not_installed_does_not_break_the_end_of_a_run(monkeypatch):
    """A server that embeds Python may have one: Python names it None, and takes no None back."""
    real, numbers = signal.signal, (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    def unnamed(number, handler):
        real(number, handler)

    monkeypatch.setattr(control.signal, "signal", unnamed)
    try:
        with control.Control(toggles.kill_switch_ignored, settings=conf.load()):
            pass
        assert [signal.getsignal(number) for number in numbers] == [signal.SIG_DFL] * 2
    finally:
        for number, handler in before.items():
            real(number, handler)


def test_no_run_is_led_without_saying_whether_the_kill_switch_ends_it():
    with pytest.raises(TypeError, match="stop"):
        control.Control(settings=conf.load())


# The lock, the heartbeat and the checkpoint


@in_process
def test_the_selection_of_history_shows_signs_of_life_and_can_be_stopped(monkeypatch):
    monkeypatch.setattr(control, "BEAT_SECONDS", 0)
    monkeypatch.setattr(run, "HEADERS", 2)
    for user in range(9):
        rows.legacy_row(user, **rows.graded())
    beats = []
    monkeypatch.setattr(runs, "beat", beats.append)
    stops = iter([""] * 3 + ["SIGTERM"] * 9)
    monkeypatch.setattr(control.Control, "stop_reason", lambda self: next(stops))
    document, _ = start_run(history=True)
    assert (document.content["read"], document.content["stopped_by"]) == (0, "SIGTERM")
    assert len(beats) == 4


@in_process
def test_a_run_that_was_thought_dead_and_comes_back_finds_its_place_taken():
    for user in range(15):
        rows.legacy_row(user)
    rows.backfill()
    expected = many.fingerprint()
    many.forget()

    def overtake(done, total):
        if done == 5:
            Run.objects.update(heartbeat_at=now() - timedelta(seconds=121))
            rows.backfill(limit=8)

    with pytest.raises(RunLocked, match="taken this one's place"):
        start_run(progress=overtake)
    assert LedgerEntry.objects.count() == 13
    assert rows.backfill().content["read"] == 2
    assert many.fingerprint() == expected
    assert many.orphans() == {}


@in_process
def test_scopes_that_are_long_and_alike_have_locks_of_their_own():
    names = [f"course-v1:ExU+PY{number}+2026" for number in range(20)]
    one, other = (Request(courses=frozenset([*names, last])).scope for last in ("course-v1:Y+Y+Y", "course-v1:Z+Z+Z"))
    assert runs.scope_name(one) != runs.scope_name(other)
    with runs.running("backfill", one) as first, runs.running("backfill", other) as second:
        assert max(len(first.scope), len(second.scope)) <= 255
        with pytest.raises(RunLocked), runs.running("backfill", one):
            pass


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (Request(), "xqueue_backfill --mode shadow --all --execute"),
        (
            Request(mode=Mode.HANDOFF, queues=frozenset(["b", "a b"]), wait_drain=True, limit=3),
            "xqueue_backfill --mode handoff --queue 'a b' --queue b --wait-drain --limit 3 --execute",
        ),
        (
            Request(courses=frozenset([rows.COURSE]), history=True, per_problem=9, workers="celery", restart=True),
            f"xqueue_backfill --mode shadow --course {rows.COURSE} --history --per-problem 9 --workers celery"
            " --execute",
        ),
    ],
)
def test_the_next_command_asks_for_the_same_and_does_not_start_over(request_, words):
    assert request_.command(execute=True) == words


# What is imported


@in_process
def test_collided_rows_are_imported_when_they_are_asked_for():
    capture.load_capture(rows.DATA)
    classes = oracle(rows.captured(), history=True)
    wanted = {row_id for row_id, klass in classes.items() if klass in (RowClass.IMPORTED, RowClass.COLLIDED)}
    collided = {row_id for row_id in wanted if classes[row_id] is RowClass.COLLIDED}
    assert collided
    content = rows.backfill(collided=True).content
    assert content["read"] == len(classes)
    assert set(LedgerEntry.objects.values_list("legacy_id", flat=True)) == wanted
    assert (content["classes"]["collided"], content["classes"]["final"]) == (0, 0)
    graded = sum(klass is RowClass.FINAL for klass in classes.values())
    assert content["reasons"]["out_of_scope"] == {"graded": graded}
    assert not LedgerEntry.objects.filter(legacy_id__in=collided).exclude(target_leg=Leg.STORED).exists()
    again = rows.backfill(collided=True).content
    assert (again["written"], again["classes"]["present"]) == (0, len(wanted))


@shared
def test_the_plan_says_about_how_many_megabytes_it_will_add():
    many.make(1000)
    plan = rows.backfill(execute=False, batch_size=None).content
    before = _bytes_of_the_target()
    done = rows.backfill(batch_size=None).content
    added = (_bytes_of_the_target() - before) / 1_000_000
    assert plan["adds_mb"] == done["adds_mb"]
    assert added / 2 < plan["adds_mb"] < added * 2
    assert rows.backfill(execute=False).content["adds_mb"] == 0


TABLES = (
    *("submissions_studentitem", "submissions_submission", "submissions_externalgraderdetail"),
    "migration_shim_ledgerentry",
)


def _bytes_of_the_target():
    with connections["default"].cursor() as cursor:
        if connections["default"].vendor == "sqlite":
            cursor.execute("SELECT SUM(pgsize) FROM dbstat")
            return cursor.fetchone()[0]
        cursor.execute(f"ANALYZE TABLE {', '.join(TABLES)}")
        cursor.fetchall()
        cursor.execute(
            "SELECT SUM(data_length + index_length) FROM information_schema.tables"
            " WHERE table_schema = DATABASE() AND table_name IN %s",
            [TABLES],
        )
        return int(cursor.fetchone()[0])


# Ranges, in this process


@in_process
@pytest.mark.parametrize("history", [False, True])
def test_ranges_come_to_the_same_end_as_one_walk(shim, history):
    shim(RANGE_ROWS=17)
    capture.load_capture(rows.DATA)
    # XQueue's MySQL compares callbacks without regard to case. SQLite does not, so there siblings depend on the page.
    LegacySubmission.objects.update(lms_callback_url=Lower("lms_callback_url"))
    alone = rows.backfill(history=history, per_problem=3).content
    expected = many.fingerprint()
    many.forget()
    many_hands = rows.backfill(history=history, per_problem=3, workers="celery", batch_size=4).content
    for name in ("read", "written", "classes", "reasons", "adds_mb", "checkpoint", "complete", "left"):
        assert many_hands[name] == alone[name], name
    assert many.fingerprint() == expected
    assert many.orphans() == {}
    assert not Checkpoint.objects.filter(name__startswith=spread.PREFIX).exists()
    again = rows.backfill(history=history, per_problem=3, workers="celery").content
    assert (again["written"], again["classes"]["present"]) == (0, alone["written"])


@in_process
def test_a_range_that_two_workers_have_is_counted_once(shim):
    """The second comes while the first is in its batch; then a late delivery."""
    shim(RANGE_ROWS=20)
    for user in range(10):
        rows.legacy_row(user)
    words, inside = [], []
    real = ranges.write_page

    def write_page(page, job, save):
        if not inside:
            inside.append(True)
            words.append(ranges.work(range_id[0]))
        return real(page, job, save)

    range_id = []

    def send(number):
        range_id.append(number)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ranges, "write_page", write_page)
            words.append(ranges.work(number))
        words.append(ranges.work(number))

    content = run.run(Request(execute=True, batch_size=4), rows.ignore, send=send).content
    assert words == ["done", "another worker has it", "nothing to do"]
    assert (content["read"], content["written"], content["classes"]["imported"]) == (10, 10, 10)
    assert LedgerEntry.objects.count() == 10


@shared
@pytest.mark.parametrize("ended", ["finished", "dead", "kill switch"])
def test_a_worker_does_nothing_for_a_run_that_is_over(ended):
    for user in range(10):
        rows.legacy_row(user)
    words = []

    def send(number):
        if ended == "kill switch":
            Switch.objects.create(name="migration_shim.kill_switch", active=True)
        else:
            Run.objects.update(
                finished_at=now() if ended == "finished" else None, heartbeat_at=now() - timedelta(seconds=121)
            )
        words.append(ranges.work(number))
        Run.objects.update(finished_at=None, heartbeat_at=now())
        raise control.Stopped("SIGTERM")

    run.run(Request(execute=True), rows.ignore, send=send)
    assert words == ["stopped: kill switch" if ended == "kill switch" else "the run is over"]
    assert LedgerEntry.objects.count() == 0
    assert ranges.work(10**9) == "nothing to do"
