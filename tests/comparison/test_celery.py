"""``xqueue_reconcile --workers celery`` over a real Redis, with a worker that dies."""

import base64
import contextlib
import json
import signal

import pytest

from migration_shim.core.data import ExitCode
from migration_shim.models import Checkpoint, Divergence, LedgerEntry, Run
from migration_shim.runs import spread
from tests.builders import changes, rows
from tests.builders import many_rows as many
from tests.builders import slow_commands as processes
from tests.builders.rows import COURSE, fresh  # noqa: F401
from tests.celery_worker import running_worker

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"], transaction=True)

COMMAND = ("xqueue_reconcile", "--course", COURSE, "--workers", "celery", "--format", "json")
NOBODY = "http://127.0.0.1:9"  # no worker of these tests talks to XQueue
NUMBER = 300
COUNTED = ("of", "looked_at", "compared", "equal", "diverged", "waiting", "overdue", "classes", "complete")


@contextlib.contextmanager
def command(broker, monkeypatch, **shim):
    """The command at work, publishing to the broker's queue."""
    url, queue, _ = broker
    with monkeypatch.context() as patch:
        patch.setenv("MIGRATION_SHIM_BROKER_URL", url)
        child = processes.start(*COMMAND, **{"CELERY_QUEUE": queue, "RANGE_ROWS": 6, "RANGE_STALL_SECONDS": 3} | shim)
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def compared():
    return LedgerEntry.objects.exclude(seen="").count()


def test_one_of_two_workers_is_killed_and_the_result_is_that_of_one_process(broker, monkeypatch):
    url, queue, _ = broker
    many.make(NUMBER)
    rows.backfill(batch_size=None)
    for row in LedgerEntry.objects.order_by("id")[:40:4]:
        changes.both_graded(row_of(row), rows.RIGHT, rows.RIGHT if row.pk % 3 else rows.WRONG)
    before = list(LedgerEntry.objects.order_by("id"))
    alone = rows.reconcile()[0].content
    expected = changes.stored()
    assert alone["equal"] and alone["diverged"] and alone["waiting"]
    columns = [*changes.KEPT, "seen", "settled_at", "compared_at", "payload_compared_at"]
    LedgerEntry.objects.bulk_update(before, columns, batch_size=100)
    Divergence.objects.all().delete()
    Run.objects.all().delete()

    with (
        command(broker, monkeypatch) as child,
        running_worker(url, queue, NOBODY, concurrency=1) as worker,
        running_worker(url, queue, NOBODY, concurrency=1),
    ):
        processes.wait_until(lambda: compared() > 0)
        worker.process.send_signal(signal.SIGKILL)
        worker.process.wait()
        assert compared() < NUMBER
        printed, errors = child.communicate(timeout=2 * processes.PATIENCE)
    assert child.returncode == ExitCode.DIFFERENCES, errors
    content = json.loads(printed)
    assert {name: content[name] for name in COUNTED} == {name: alone[name] for name in COUNTED}
    assert changes.stored() == expected
    assert Run.objects.get(kind="reconcile").complete
    assert not Checkpoint.objects.filter(name__startswith=spread.PREFIX).exists()


def row_of(entry):
    return changes.LegacySubmission.objects.get(pk=entry.legacy_id)


def test_only_the_number_of_a_range_goes_through_the_broker_and_a_stopped_run_is_no_evidence(broker, monkeypatch):
    many.make(15)
    rows.backfill(batch_size=None)
    _, queue, client = broker
    with command(broker, monkeypatch, RANGE_STALL_SECONDS=60) as child:
        processes.wait_until(lambda: client.llen(queue) == 3)
        ids = set(Checkpoint.objects.filter(name__startswith=spread.PREFIX).values_list("pk", flat=True))
        messages = [json.loads(message) for message in client.lrange(queue, 0, -1)]
        sent = [json.loads(base64.b64decode(message["body"])) for message in messages]
        assert [(arguments, set(keywords)) for arguments, keywords, _ in sent] == [([], {"range_id"})] * 3
        assert {keywords["range_id"] for _, keywords, _ in sent} == ids
        assert {message["headers"]["task"] for message in messages} == {"migration_shim.reconcile_range"}
        child.send_signal(signal.SIGTERM)
        printed, errors = child.communicate(timeout=processes.PATIENCE)
    assert child.returncode == ExitCode.STOPPED, errors
    content = json.loads(printed)
    assert (content["looked_at"], content["complete"], content["stopped_by"]) == (0, False, "SIGTERM")
    assert not Checkpoint.objects.filter(pk__in=ids).exists()
    run = Run.objects.get(kind="reconcile")
    assert (run.complete, run.finished_at is None) == (False, False)
