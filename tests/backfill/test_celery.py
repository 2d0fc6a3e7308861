"""``xqueue_backfill --workers celery`` over a real Redis, with workers that die."""

import base64
import contextlib
import json
import signal

import pytest

from migration_shim.core.data import ExitCode
from migration_shim.models import Checkpoint, LedgerEntry, Run
from migration_shim.runs import spread
from tests.builders import many_rows as many
from tests.builders import rows
from tests.builders import slow_commands as processes
from tests.builders.rows import fresh  # noqa: F401
from tests.celery_worker import running_worker

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"], transaction=True)

WALK = ("xqueue_backfill", "--mode", "shadow", "--all", "--workers", "celery", "--execute", "--format", "json")
NOBODY = "http://127.0.0.1:9"  # no worker of these tests talks to XQueue


@contextlib.contextmanager
def command(broker, monkeypatch, *words, **shim):
    """The command at work, publishing to the broker's queue."""
    url, queue, _ = broker
    with monkeypatch.context() as patch:
        patch.setenv("MIGRATION_SHIM_BROKER_URL", url)
        values = {"CELERY_QUEUE": queue, "RANGE_ROWS": 100, "RANGE_STALL_SECONDS": 1.5} | shim
        child = processes.start(*WALK, *words, **values)
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def document(child):
    printed, errors = child.communicate(timeout=processes.PATIENCE)
    assert child.returncode == ExitCode.OK, errors
    return json.loads(printed)


def expected_end(number):
    """The end of a run without workers: they number the attempts of one learner as they come."""
    many.make(number)
    content = rows.backfill(batch_size=None).content
    found = many.fingerprint(attempts=False)
    many.forget()
    return content, found


def test_two_workers_are_killed_and_every_row_is_there_once(broker, monkeypatch):
    url, queue, _ = broker
    number = 800
    alone, expected = expected_end(number)
    with command(broker, monkeypatch, "--batch-size", "20") as child:
        for share in (0.1, 0.4):
            with running_worker(url, queue, NOBODY) as worker:
                processes.wait_until(lambda: LedgerEntry.objects.count() > number * share)  # noqa: B023
                begun = Checkpoint.objects.filter(name__startswith=spread.PREFIX, counts__begun=True)
                assert begun.exists()
                worker.process.send_signal(signal.SIGKILL)
                worker.process.wait()
            assert LedgerEntry.objects.count() < number
            assert many.orphans() == {}
        with running_worker(url, queue, NOBODY):
            content = document(child)
    for name in ("read", "written", "classes", "reasons", "adds_mb", "checkpoint", "complete", "left"):
        assert content[name] == alone[name], name
    assert many.fingerprint(attempts=False) == expected
    assert many.orphans() == {}
    assert not Checkpoint.objects.filter(name__startswith=spread.PREFIX).exists()
    again = rows.backfill(batch_size=None).content
    assert (again["written"], again["classes"]["present"]) == (0, number)


def test_only_the_number_of_a_range_goes_through_the_broker_and_a_stop_takes_the_ranges_back(broker, monkeypatch):
    many.make(300)
    _, queue, client = broker
    with command(broker, monkeypatch, RANGE_STALL_SECONDS=60) as child:
        processes.wait_until(lambda: client.llen(queue) == 3)
        ids = set(Checkpoint.objects.filter(name__startswith=spread.PREFIX).values_list("pk", flat=True))
        messages = [json.loads(message) for message in client.lrange(queue, 0, -1)]
        sent = [json.loads(base64.b64decode(message["body"])) for message in messages]
        assert [(arguments, set(keywords)) for arguments, keywords, _ in sent] == [([], {"range_id"})] * 3
        assert {keywords["range_id"] for _, keywords, _ in sent} == ids
        assert {message["headers"]["task"] for message in messages} == {"migration_shim.backfill_range"}
        child.send_signal(signal.SIGTERM)
        printed, errors = child.communicate(timeout=processes.PATIENCE)
    assert child.returncode == ExitCode.STOPPED, errors
    content = json.loads(printed)
    assert (content["read"], content["left"], content["stopped_by"]) == (0, 300, "SIGTERM")
    assert content["next"] == ["xqueue_backfill --mode shadow --all --workers celery --execute"]
    assert not Checkpoint.objects.filter(pk__in=ids).exists()
    assert Run.objects.get().finished_at is not None


def test_a_broker_that_is_down_is_an_error_with_its_name(monkeypatch):
    many.make(3)
    nowhere = ("redis://127.0.0.1:1/0", "nobody", None)
    with command(nowhere, monkeypatch) as child:
        printed, errors = child.communicate(timeout=processes.PATIENCE)
    assert child.returncode == ExitCode.ERROR
    assert json.loads(printed)["code"] == "broker_down"
    assert "Celery's broker does not take the work" in errors
    assert not Checkpoint.objects.filter(name__startswith=spread.PREFIX).exists()
