"""Which queues a grader's account may pull from: none that is for nobody, and where it is said, its own only."""

import json

import pytest
from django.db import connection
from submissions.models import ExternalGraderDetail

from migration_shim.conf import load, problems
from migration_shim.core.errors import Unfit
from migration_shim.dual_write import QueueInterface
from migration_shim.models import LedgerEntry
from migration_shim.status import graders
from migration_shim.target import writer
from tests.builders import rows
from tests.builders.rows import fresh  # noqa: F401
from tests.builders.watchers import SHADOW, parts, real, shadow

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])


def moved(sent, queue):
    """Put a row into another queue, as a handoff and imported history do."""
    ExternalGraderDetail.objects.filter(submission_id=sent.submission_id).update(queue_name=queue)


@pytest.mark.parametrize("suffix", [".held", ".echo"])
def test_what_is_held_or_imported_history_is_handed_to_nobody(watcher, suffix):
    sent, queue = real(), rows.QUEUE + suffix
    moved(sent, queue)
    for action in ("get_submission", "get_queuelen"):
        for name in (queue, queue.upper(), f"{queue} "):
            code, content = parts(watcher.get(action, queue_name=name))
            assert (code, content) == (1, f"Queue '{name}' not found")
    assert (sent.detail.status, sent.entry.leases) == ("pending", 0)
    # The contrast: a queue of shadows is polled.
    shadow()
    assert watcher.pull(SHADOW) is not None


def test_the_suffixes_are_the_settings(watcher, shim):
    shim(HELD_QUEUE_SUFFIX="-kept")
    moved(real(), f"{rows.QUEUE}-kept")
    assert parts(watcher.get("get_submission", queue_name=f"{rows.QUEUE}-kept"))[1].endswith("not found")
    moved(real(), f"{rows.QUEUE}.held")
    assert watcher.pull(f"{rows.QUEUE}.held") is not None


@pytest.mark.parametrize("other", ["EXU-PY1", "exu-py1 ", "éxu-py1"])
def test_a_queue_is_its_name_and_no_other_that_the_database_takes_for_it(watcher, other):
    sent = real()
    assert watcher.pull(other) is None
    assert parts(watcher.get("get_queuelen", queue_name=other)) == (0, 0)
    assert sent.detail.status == "pending", connection.vendor
    assert watcher.pull() is not None


def test_nor_is_another_one_this(watcher, shim):
    """An author's blank: who polls the queue without it would answer for another one than he may."""
    sent = real()
    moved(sent, f"{rows.QUEUE} ")
    shim(GRADER_QUEUES={"grader": [rows.QUEUE]})
    assert watcher.pull() is None
    assert parts(watcher.get("get_queuelen", queue_name=rows.QUEUE)) == (0, 0)
    assert (sent.detail.status, sent.entry.leases) == ("pending", 0), connection.vendor


# --- accounts -----------------------------------------------------------------------------------------------------


def test_an_account_pulls_its_own_queues_only_and_answers_for_no_other(watcher, shim):
    mine, theirs = real(), real(queue="exu-misc")
    header = watcher.pull("exu-misc")["xqueue_header"]
    shim(GRADER_QUEUES={"grader": [rows.QUEUE], "other": ["exu-misc"]})
    for action in ("get_submission", "get_queuelen"):
        assert parts(watcher.get(action, queue_name="exu-misc")) == (1, "Queue 'exu-misc' not found")
    assert watcher.put(header) == (1, "Incorrect key for submission")
    assert theirs.detail.status == "pulled"
    assert watcher.grade() == (0, "")
    assert mine.detail.status == "retired"


@pytest.mark.parametrize(
    ("queues", "may"),
    [
        ({}, True),
        ({"other": ["exu-py1"]}, False),
        ({"grader": []}, False),
        ({"grader": ["*"]}, True),
        ({"*": ["exu-py1"]}, True),
        ({"*": ["exu-py1"], "grader": ["exu-misc"]}, False),
        ({"grader": ["EXU-PY1"]}, False),
    ],
)
def test_who_is_not_named_has_what_the_star_has(watcher, shim, queues, may):
    shim(GRADER_QUEUES=queues)
    real()
    code, _ = parts(watcher.get("get_submission", queue_name=rows.QUEUE))
    assert (code == 0) is may


def test_no_map_lets_anybody_at_what_is_held(watcher, shim):
    shim(GRADER_QUEUES={"grader": ["*", f"{rows.QUEUE}.held"]})
    moved(real(), f"{rows.QUEUE}.held")
    assert parts(watcher.get("get_submission", queue_name=f"{rows.QUEUE}.held"))[0] == 1


@pytest.mark.parametrize("value", [{"a": "exu-py1"}, {"a": [1]}, {1: []}, []])
def test_a_map_of_another_shape_is_refused_by_name(settings, value):
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"GRADER_QUEUES": value}
    assert any("GRADER_QUEUES" in problem for problem in problems())


def test_the_configuration_of_watchers_offers_the_map(shim):
    rows.legacy_row(1)
    rows.backfill()
    configuration = graders.watcher_configuration(rows.COURSE)
    offered = configuration["MIGRATION_SHIM"]["GRADER_QUEUES"]
    assert sorted(queue for queues in offered.values() for queue in queues) == [rows.QUEUE, SHADOW]
    accounts = {server["AUTH"][0] for server in configuration["xqueue_servers.json"].values()}
    assert set(offered) < accounts
    shim(GRADER_QUEUES=offered)
    load()
    assert json.dumps(offered)


# --- authors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".held", ".echo", ".shadow", ".reverse", ".HELD", ".held "])
@pytest.mark.parametrize("phase", ["live", "complete"])
def test_an_authors_queue_of_such_a_name_is_refused_on_the_target_with_a_reason(monkeypatch, phase, suffix):
    decision = type("D", (), {"phase": rows_phase(phase)})()
    monkeypatch.setattr("migration_shim.toggles.phase_and_switch", lambda course: (decision, False))
    row = rows.legacy_row(queue=rows.QUEUE + suffix)
    error, message = QueueInterface().send_to_queue(row.xqueue_header, row.xqueue_body)
    assert (error, message) == (1, "The queue's name ends like those of copies.")
    assert not ExternalGraderDetail.objects.exists() and not LedgerEntry.objects.exists()


def rows_phase(name):
    """A phase by its name."""
    from migration_shim.core.data import Phase

    return Phase(name)


def test_no_shadow_is_imported_of_such_a_queue_and_the_plan_says_so():
    rows.legacy_row(queue=f"{rows.QUEUE}.held")
    for execute in (False, True):
        content = rows.backfill(execute=execute).content
        assert content["reasons"]["drain"] == {"queue_name_reserved": 1}, execute
    assert not ExternalGraderDetail.objects.exists()


def test_the_writer_refuses_it():
    from migration_shim.core.wire import parse_body

    body = parse_body(rows.body(7, "x", "20260101000000"))
    writer.check_fits(body, queue_name="exu-py1")
    with pytest.raises(Unfit) as error:
        writer.check_fits(body, queue_name="exu-py1.held")
    assert error.value.reason == "queue_name_reserved"
