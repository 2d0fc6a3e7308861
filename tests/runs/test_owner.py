"""Whose a lock is, whether its run looks dead, and when it frees."""

import json
import re
import socket
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from migration_shim import conf
from migration_shim.core.errors import RunLocked
from migration_shim.models import Run
from migration_shim.reports import terminal
from migration_shim.runs import control, owner
from migration_shim.runs import records as run_records
from migration_shim.status import runs as status_runs
from tests.builders.rows import COURSE
from tests.schemas import validate

pytestmark = pytest.mark.django_db
MOMENT = datetime(2026, 11, 30, 14, 4, 18, tzinfo=UTC)


def run_of(seconds: float, **columns) -> Run:
    """Give a run, not stored, whose last sign of life is so many seconds before MOMENT."""
    columns = {"kind": "reconcile", "scope": COURSE, "started_at": MOMENT - timedelta(seconds=130)} | columns
    return Run(pk=12, heartbeat_at=MOMENT - timedelta(seconds=seconds), **columns)


def test_a_lock_says_whose_it_is_and_when_it_frees():
    run = run_of(8, pid=4711, host="lms-worker-3", user="app")
    assert owner.held_by(run, MOMENT) == (
        f"xqueue_reconcile run 12 of {COURSE}, pid 4711 on lms-worker-3 (app) has been at work since 14:02:08 UTC; "
        "last sign of life 8 s ago; if it died, the lock frees at 14:06:10 UTC."
    )


@pytest.mark.parametrize(
    ("columns", "seconds", "said", "not_said"),
    [
        ({}, 31, "it looks dead, the lock frees", "if it died"),
        ({"host": "", "pid": 0}, 1, f"run 12 of {COURSE} has been", "pid"),
        ({"host": "h", "pid": 1}, 1, "pid 1 on h has", "()"),
        ({"kind": "wave", "scope": ""}, 1, "xqueue_cutover run 12 has", "run 12 of"),
        ({"waits_for": "the pause file /p exists"}, 1, "waiting: the pause file /p exists;", "looks dead"),
        ({}, -5, "last sign of life 0 s ago", "-"),  # another machine's clock
    ],
)
def test_a_lock_says_what_is_known_and_no_more(columns, seconds, said, not_said):
    text = owner.held_by(run_of(seconds, **columns), MOMENT).replace(COURSE, COURSE if COURSE in said else "C")
    assert said in text
    assert not_said not in text


@pytest.mark.parametrize(
    ("seconds", "waits_for", "state"),
    [(0, "", "running"), (29, "lag", "waiting"), (30, "lag", "silent"), (119, "", "silent"), (120, "", "dead")],
)
def test_a_state_goes_by_signs_of_life_alone(seconds, waits_for, state):
    """Two containers have the same host name and the same process id, 1: neither may speak for the other."""
    run = run_of(seconds, waits_for=waits_for, **{**owner.owner(), "pid": 1})
    assert owner.state(run, MOMENT) == state


def test_a_second_run_is_told_of_the_first_with_process_and_host():
    with run_records.running("reconcile", COURSE) as first, pytest.raises(RunLocked) as refused:
        run_records.running("reconcile", COURSE).__enter__()
    assert re.search(rf"run {first.pk} of \S+, pid \d+ on {re.escape(socket.gethostname())}", str(refused.value))


def test_a_run_that_was_thought_dead_and_works_again_still_holds_the_lock():
    with run_records.running("reconcile", COURSE) as first:
        Run.objects.create(kind="reconcile", scope=COURSE, finished_at=now())
        Run.objects.create(kind="reconcile", scope=COURSE, heartbeat_at=now() - timedelta(hours=1))  # it was killed
        with pytest.raises(RunLocked, match=f"run {first.pk} of "):
            run_records.running("reconcile", COURSE).__enter__()


def test_a_run_that_waits_says_so_with_its_signs_of_life(monkeypatch):
    with run_records.running("reconcile", COURSE) as run:
        beats = []

        def beat():
            run_records.beat(run)
            beats.append(Run.objects.values_list("waits_for", flat=True).get(pk=run.pk))

        monkeypatch.setattr(control, "BEAT_SECONDS", 0)
        reasons = iter([control.Throttle, None])
        with control.Control(lambda: "", settings=conf.load(), beat=beat) as found:
            reason = type("Reason", (), {"kind": "lag", "text": "the database is behind"})
            monkeypatch.setattr(found._throttle, "reason", lambda: reason if next(reasons) else None)
            found.turn()
            found.check()
        assert "the database is behind" in beats
        assert beats[-1] == ""


def test_runs_are_listed_with_what_to_do():
    moment = now()

    def stored(kind, scope, seconds, **columns):
        return Run.objects.create(kind=kind, scope=scope, heartbeat_at=moment - timedelta(seconds=seconds), **columns)

    running = stored("reconcile", "a", 1, host="h", pid=1, user="app")
    waiting = stored("backfill", "b", 1, waits_for="the pause file /p exists")
    silent = stored("watch", "", 60)
    dead = stored("preflight", "c", 600)
    stored("gate", "d", 600)  # followed by another
    stored("gate", "d", 1, finished_at=moment)
    stored("gate", "e", 1, finished_at=moment)
    content = validate(status_runs.run().content)
    assert {run["id"]: run["state"] for run in content["runs"]} == {
        running.pk: "running",
        waiting.pk: "waiting",
        silent.pk: "silent",
        dead.pk: "dead",
    }
    text = terminal.render(content)
    assert text.startswith("4 runs: 1 running, 1 waiting, 1 silent, 1 dead\n")
    assert "its lock is free: run the command again" in text
    assert "it waits: the pause file /p exists" in text
    assert "pid 1 on h (app)" in text
    assert max(map(len, text.splitlines())) <= 80


def test_no_run_is_said_as_such_and_one_run_is_one():
    assert terminal.render(status_runs.run().content) == "No run is at work, and none has died."
    Run.objects.create(kind="reconcile", scope="a")
    assert terminal.render(status_runs.run().content).startswith("1 run: 1 running\n")


def test_the_statements_do_not_grow_with_the_runs():
    counted = []
    for number in (1, 30):
        for place in range(number):
            Run.objects.create(kind="reconcile", scope=f"{number} {place}")
        with CaptureQueriesContext(
            connection,
        ) as seen:
            assert len(status_runs.run().content["runs"]) >= number
        counted.append(len(seen))
    assert counted == [2, 2]


def test_more_than_fit_are_said_to_be_more(monkeypatch):
    monkeypatch.setattr(status_runs, "LISTED", 2)
    for place in range(3):
        Run.objects.create(kind="reconcile", scope=str(place))
    content = validate(status_runs.run().content)
    assert ([run["scope"] for run in content["runs"]], content["more"]) == (["2", "1"], True)


def test_the_command_lists_them(capsys):
    Run.objects.create(kind="reconcile", scope=COURSE, host="h", pid=7)
    call_command("xqueue_status", "--runs", "--format", "json")
    content = validate(json.loads(capsys.readouterr().out))
    assert (content["schema"], len(content["runs"])) == ("migration_shim.xqueue_status_runs/1", 1)
