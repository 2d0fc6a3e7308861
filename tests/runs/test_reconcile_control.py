"""Run control of ``xqueue_reconcile``: pauses, signals, the heartbeat, the lock; and its ranges, in this process."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta

import pytest
from django.utils.timezone import now

from migration_shim import api
from migration_shim.comparison import equal_pairs, linking, scan
from migration_shim.comparison.link_position import CHECKPOINT
from migration_shim.core.data import ExitCode, Grading, Verdict
from migration_shim.core.errors import RunLocked, WorkersFailed
from migration_shim.cutover import gate
from migration_shim.models import Checkpoint, LedgerEntry, Run
from migration_shim.runs import broker, control, spread
from migration_shim.runs import records as runs
from sandbox.databases import PROJECT_ROOT
from tests.builders import changes, rows
from tests.builders import slow_commands as processes
from tests.builders.rows import COURSE, RIGHT, fresh  # noqa: F401

BOTH = ["default", "xqueue"]
in_process = pytest.mark.django_db(databases=BOTH)
shared = pytest.mark.django_db(databases=BOTH, transaction=True)  # for tests with other processes

#: argv: a pause file that is made after the first batch, then the command's words.
CHILD = """
import pathlib, sys
import django
django.setup()
from django.conf import settings
from django.core.management import execute_from_command_line
from migration_shim.comparison import candidates, equal_pairs
pause = pathlib.Path(sys.argv[1])
settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"PAUSE_FILE": str(pause)}
candidates.PAGE = 3
real = equal_pairs.store
def store(*args):
    left = real(*args)
    pause.touch()
    return left
equal_pairs.store = store
execute_from_command_line(["manage.py", *sys.argv[2:]])
"""
COMMAND = ("xqueue_reconcile", "--course", COURSE, "--format", "json")


@contextlib.contextmanager
def held_in_the_middle(pause):
    """The command in a process of its own, which waits after its first batch."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(pause), *COMMAND],
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "sandbox.lms.settings", "PYTHONPATH": str(PROJECT_ROOT)},
        cwd=PROJECT_ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        processes.wait_until(lambda: pause.exists() or child.poll() is not None)
        yield child
    finally:
        child.kill()
        child.communicate()


def compared():
    return LedgerEntry.objects.exclude(seen="").count()


def reconcile(progress=rows.ignore, **options):
    notes = []
    document = api.reconcile([COURSE], progress, lambda divergence: None, tell=notes.append, **options)
    return document, notes


# Pauses, signals, the lock


@in_process
def test_a_pause_file_holds_a_run_and_the_reason_is_shown(settings, tmp_path, monkeypatch):
    monkeypatch.setattr(scan, "BATCH", 2)
    rows.graded_pairs(6)
    pause = tmp_path / "pause"
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"PAUSE_FILE": str(pause)}
    real, timers = equal_pairs.store, []

    def store(*args):
        left = real(*args)
        if not timers:
            pause.touch()
            timers.append(threading.Timer(0.6, pause.unlink))
            timers[0].start()
        return left

    monkeypatch.setattr(equal_pairs, "store", store)
    document, notes = reconcile()
    timers[0].join()
    assert notes[0] == f"the pause file {pause} exists"
    assert notes[-1] == ""
    assert document.content["waited"]["pause_file"] > 0.4
    assert Run.objects.get(kind="reconcile").document["waited"] == document.content["waited"]
    assert (document.content["complete"], document.content["equal"]) == (True, 6)
    assert reconcile()[0].content["waited"] == {}


@shared
def test_a_signal_stops_a_run_and_kill_does_not_hold_its_place_for_ever(tmp_path):
    rows.in_phase("shadow")
    rows.graded_pairs(9)
    pause = tmp_path / "pause"
    with held_in_the_middle(pause) as child:
        run = Run.objects.get(kind="reconcile")
        again = rows.manage(*COMMAND)
        assert again.returncode == ExitCode.LOCKED
        assert json.loads(again.stdout)["code"] == "run_locked"
        assert f"reconcile run {run.pk} of {COURSE}, pid" in again.stderr
        child.send_signal(signal.SIGTERM)
        printed, errors = child.communicate(timeout=processes.PATIENCE)
    assert child.returncode == ExitCode.STOPPED, errors
    content = json.loads(printed)
    assert (content["complete"], content["stopped_by"], content["looked_at"]) == (False, "SIGTERM", 3)
    assert f"waiting: the pause file {pause} exists" in errors
    run.refresh_from_db()
    assert (run.complete, run.document["stopped_by"], run.finished_at is None) == (False, "SIGTERM", False)
    assert "there was no reconcile" in gate.run_gate(COURSE).content["reasons"]  # none that is evidence

    pause.unlink()
    LedgerEntry.objects.update(seen="")
    with held_in_the_middle(pause) as child:
        assert compared() == 3
        child.send_signal(signal.SIGKILL)
        child.wait()
    dead = Run.objects.filter(kind="reconcile").latest("id")
    assert (dead.finished_at, dead.complete) == (None, False)
    with pytest.raises(RunLocked):
        reconcile()
    Run.objects.filter(pk=dead.pk).update(heartbeat_at=now() - timedelta(seconds=121))
    assert gate.run_gate(COURSE).content["verdict"] == Verdict.INCONCLUSIVE
    content = reconcile()[0].content
    assert (content["complete"], content["equal"]) == (True, 9)


@in_process
def test_linking_shows_signs_of_life_and_stops(monkeypatch):
    monkeypatch.setattr(control, "BEAT_SECONDS", 0)
    monkeypatch.setattr(linking, "PAGE", 2)
    rows.in_phase("shadow")
    for user in range(7):
        rows.legacy_row(user, age=timedelta(hours=2))
    beats = []
    monkeypatch.setattr(runs, "beat", lambda run: beats.append(run.pk))
    stops = iter([""] * 2 + ["SIGTERM"] * 9)
    with monkeypatch.context() as patch:
        patch.setattr(control.Control, "stop_reason", lambda self: next(stops))
        document, _ = reconcile()
    assert (document.content["stopped_by"], document.content["of"]) == ("SIGTERM", 4)
    assert document.exit_code & ExitCode.STOPPED
    assert len(beats) >= 3
    linked = LedgerEntry.objects.order_by("-legacy_id").first().legacy_id
    assert Checkpoint.objects.get(name=CHECKPOINT).last_id == linked
    document, _ = reconcile()
    assert (document.content["complete"], document.content["of"]) == (True, 7)


@in_process
def test_two_runs_that_link_at_once_take_turns_and_neither_moves_back(monkeypatch):
    monkeypatch.setattr(linking, "PAGE", 2)
    rows.in_phase("shadow")
    made = [rows.legacy_row(user, age=timedelta(hours=2)) for user in range(6)]
    real, others, walked = linking.plain_identity, [], []

    def read(row):
        if not others:
            others.append(True)
            rows.reconcile("course-v1:ExU+ALG2+26T1")
        walked.append(Checkpoint.objects.get(name=CHECKPOINT).last_id)
        return real(row)

    monkeypatch.setattr(linking, "plain_identity", read)
    document, _ = reconcile()
    assert (document.content["complete"], document.content["of"]) == (True, 6)
    assert walked == sorted(walked)
    assert walked[-1] == made[-1].pk


@in_process
def test_a_run_that_was_thought_dead_is_no_evidence_when_it_comes_back(monkeypatch):
    rows.graded_pairs(4)

    def overtake(done, total):
        Run.objects.update(heartbeat_at=now() - timedelta(seconds=121))
        assert rows.reconcile()[0].content["complete"]

    with pytest.raises(RunLocked, match="taken this one's place"):
        reconcile(overtake)
    assert list(Run.objects.filter(kind="reconcile").order_by("id").values_list("complete", flat=True)) == [False, True]


# Ranges


@pytest.fixture
def ranges_of_three(settings):
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"RANGE_ROWS": 3}


@in_process
def test_ranges_come_to_the_same_end_as_one_walk_and_late_news_are_found(ranges_of_three):
    made = [rows.legacy_row(user, age=timedelta(hours=3), answer=f"x = {user}") for user in range(10)]
    rows.backfill()
    for row, reply in zip(made[:6], [RIGHT, changes.HALF, changes.INVALID] * 2, strict=True):
        changes.both_graded(row, RIGHT, reply, ago=timedelta(hours=1))
    fresh_entries = list(LedgerEntry.objects.order_by("id"))
    alone, _ = reconcile()
    expected = changes.stored()
    columns = [*changes.KEPT, "seen", "settled_at", "compared_at", "payload_compared_at"]
    LedgerEntry.objects.bulk_update(fresh_entries, columns)
    Run.objects.all().delete()
    LedgerEntry.objects.first().differences.all().delete()
    document, notes = reconcile(workers="celery")
    assert changes.stored() == expected
    for name in ("of", "looked_at", "compared", "equal", "diverged", "overdue", "classes", "complete"):
        assert document.content[name] == alone.content[name], name
    assert "4 of 4 ranges done, 0 with workers" in notes
    assert not Checkpoint.objects.filter(name__startswith=spread.PREFIX).exists()
    # A settled row that was touched since: in no range, and found.
    assert LedgerEntry.objects.filter(settled_at__isnull=False, result="equal").exists()
    changes.target_graded(made[0], rows.WRONG)
    document, _ = reconcile(workers="celery")
    assert document.content["courses"][0]["full"] is False
    assert "correctness" in changes.entry_of(made[0]).divergences


@in_process
def test_workers_echo_history_too(ranges_of_three):
    for user in range(8):
        rows.legacy_row(user, age=timedelta(hours=3), **rows.graded())
    rows.backfill(history=True)
    rows.reconcile()
    LedgerEntry.objects.update(settled_at=now())
    document, _ = reconcile(workers="celery", grading=Grading.ECHO)
    assert document.content["courses"][0]["full"] is False
    assert (document.content["echoed"], document.content["equal"]) == (8, 8)


@in_process
def test_a_range_that_two_workers_have_is_counted_once(monkeypatch):
    rows.graded_pairs(5)
    words, sent = [], []
    real = equal_pairs.store

    def store(*args):
        if len(words) == 0:
            words.append("inside")
            words.append(scan.work(sent[0]))
        return real(*args)

    def send(range_id):
        sent.append(range_id)
        with monkeypatch.context() as patch:
            patch.setattr(equal_pairs, "store", store)
            words.append(scan.work(range_id))
        words.append(scan.work(range_id))

    monkeypatch.setattr(broker, "send_reconcile", send)
    document, _ = reconcile(workers="celery")
    assert words == ["inside", "done", "another worker has it", "nothing to do"]
    assert (document.content["looked_at"], document.content["equal"]) == (5, 5)


@in_process
def test_a_range_whose_worker_died_may_wait_long_behind_the_others(settings, monkeypatch):
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"RANGE_ROWS": 1, "RANGE_STALL_SECONDS": 0.001}
    number = 2 * spread.SENDS
    rows.graded_pairs(number)
    queue, dead = [], []

    def one_worker(self, seconds, **kind):
        time.sleep(0.002)
        if queue and not dead:
            dead.append(queue.pop(0))
            Checkpoint.objects.filter(pk=dead[0]).update(counts={"begun": True}, updated_at=now())
        elif queue:
            scan.work(queue.pop(0))

    monkeypatch.setattr(control.Control, "sleep", one_worker)
    monkeypatch.setattr(broker, "send_reconcile", queue.append)
    document, _ = reconcile(workers="celery")
    assert (document.content["complete"], document.content["equal"]) == (True, number)


@in_process
def test_a_range_that_nobody_moves_ends_the_run(settings, monkeypatch):
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"RANGE_STALL_SECONDS": 0.001}
    monkeypatch.setattr(spread, "POLL_SECONDS", 0.002)
    rows.graded_pairs(2)
    sent = []
    monkeypatch.setattr(broker, "send_reconcile", sent.append)
    with pytest.raises(WorkersFailed, match="have not moved the range behind id 0, sent 5 times"):
        reconcile(workers="celery")
    assert len(sent) == spread.SENDS
    assert not Run.objects.get(kind="reconcile").complete
    assert not Checkpoint.objects.filter(name__startswith=spread.PREFIX).exists()


@in_process
def test_a_worker_of_another_version_is_no_help_and_the_run_no_evidence(monkeypatch):
    rows.graded_pairs(2)

    def send(range_id):
        with monkeypatch.context() as patch:
            patch.setattr(runs, "versions", lambda: {"edx-submissions": "4.0.1"})
            assert scan.work(range_id) == "failed"

    monkeypatch.setattr(broker, "send_reconcile", send)
    with pytest.raises(WorkersFailed, match="other versions or settings"):
        reconcile(workers="celery")
    assert compared() == 0
    run = Run.objects.get(kind="reconcile")
    assert (run.complete, run.finished_at is None) == (False, False)
