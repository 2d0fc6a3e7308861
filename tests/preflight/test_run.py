"""A preflight as a run: whose rows it reads, what it asks XQueue, and that it writes nothing but its own record."""

import pytest
from django.db import connections
from django.utils.timezone import now

from migration_shim import api
from migration_shim.core.data import ExitCode
from migration_shim.core.errors import RunLocked
from migration_shim.models import Run
from migration_shim.preflight import queues
from sandbox import capture
from sandbox.network import free_port
from tests.builders import rows
from tests.builders.rows import COURSE, fresh  # noqa: F401
from tests.builders.xqueue_server import recording_lms, start_xqueue, xqueue_server  # noqa: F401

BOTH = ["default", "xqueue"]
pytestmark = [pytest.mark.django_db(databases=BOTH), pytest.mark.usefixtures("no_site")]
shared = pytest.mark.django_db(databases=BOTH, transaction=True)
IN_FLIGHT = "course-v1:ExU+ALG2+26T1"
QUEUE_CODES = {"queue_unknown", "reverse_queue_unknown"}


@pytest.mark.usefixtures("quiet")
def test_only_the_courses_own_rows_are_looked_at():
    rows.legacy_row(1, id=1, course=IN_FLIGHT, seed=5)
    rows.legacy_row(2, id=2, course="course-v1:ExU+py1+2026", seed=5)
    document = api.preflight(COURSE, rows.ignore)
    assert (document.content["rows"], document.content["queues"], document.content["findings"]) == (0, [], [])
    assert document.exit_code == ExitCode.OK


@pytest.mark.usefixtures("quiet")
def test_progress_counts_all_rows_to_the_end():
    for user in range(3):
        rows.legacy_row(user + 1)
    rows.legacy_row(9, course=IN_FLIGHT)
    told = []
    api.preflight(COURSE, lambda done, total: told.append((done, total)))
    assert told[-1] == (4, 4)


# Queues


def blocked_queues(document):
    return {(item["code"], item["queue"]) for item in document.content["findings"] if item["code"] in QUEUE_CODES}


def ask(settings, url):
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {
        "LEGACY_URL": url,
        "LEGACY_USERNAME": "lms",
        "LEGACY_PASSWORD": "lms-password",
        "LEGACY_CONNECT_TIMEOUT": 2.0,
    }


@shared
def test_xqueue_is_asked_for_every_queue(settings, xqueue_server):  # noqa: F811
    ask(settings, xqueue_server.url)
    rows.legacy_row(1, queue=rows.QUEUE)
    rows.legacy_row(2, queue="exu-alg2")
    rows.legacy_row(3, queue="nobody-knows-it")
    document = api.preflight(COURSE, rows.ignore)
    assert document.content["queues"] == ["exu-alg2", rows.QUEUE, "nobody-knows-it"]
    unknown = {queue for code, queue in blocked_queues(document) if code == "queue_unknown"}
    assert unknown == {"nobody-knows-it"}
    assert document.exit_code == ExitCode.DIFFERENCES


@shared
def test_an_account_that_xqueue_does_not_let_in_knows_no_queue(settings, xqueue_server):  # noqa: F811
    ask(settings, xqueue_server.url)
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"LEGACY_PASSWORD": "wrong"}
    rows.legacy_row()
    assert ("queue_unknown", rows.QUEUE) in blocked_queues(api.preflight(COURSE, rows.ignore))


def test_an_xqueue_that_cannot_be_reached_knows_no_queue(settings):
    ask(settings, f"http://127.0.0.1:{free_port()}")
    rows.legacy_row()
    document = api.preflight(COURSE, rows.ignore)
    assert ("queue_unknown", rows.QUEUE) in blocked_queues(document)
    assert document.exit_code == ExitCode.DIFFERENCES


def test_without_an_address_of_xqueue_no_queue_is_known(settings):
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"LEGACY_URL": None}
    settings.XQUEUE_INTERFACE = None
    rows.legacy_row()
    assert ("queue_unknown", rows.QUEUE) in blocked_queues(api.preflight(COURSE, rows.ignore))


def test_an_xqueue_that_is_down_is_one_blocker_and_not_one_more_for_each_queue(settings, monkeypatch):
    from migration_shim.core.findings import found
    from migration_shim.core.site_rules import SITE_RULES
    from migration_shim.preflight import site

    down = [found(SITE_RULES["xqueue_unreachable"])]
    monkeypatch.setattr(site, "site_findings", lambda course_id, settings: down)
    ask(settings, f"http://127.0.0.1:{free_port()}")
    rows.legacy_row(1)
    rows.legacy_row(2, queue="exu-alg2")
    document = api.preflight(COURSE, rows.ignore)
    blockers = [item["code"] for item in document.content["findings"] if item["severity"] == "blocker"]
    assert blockers == ["xqueue_unreachable"]
    assert document.exit_code == ExitCode.DIFFERENCES


# The record


def table_counts():
    counts = {}
    for alias in BOTH:
        with connections[alias].cursor() as cursor:
            for table in connections[alias].introspection.table_names(cursor):
                cursor.execute(f"SELECT COUNT(*) FROM {table}")
                counts[table] = cursor.fetchone()[0]
    return counts


@pytest.mark.usefixtures("quiet")
def test_nothing_is_written_but_its_record():
    capture.load_capture(rows.DATA)
    api.preflight(COURSE, rows.ignore)
    before = table_counts()
    document = api.preflight(COURSE, rows.ignore)
    changed = {table: number - before[table] for table, number in table_counts().items() if number != before[table]}
    assert changed == {"migration_shim_run": 1}
    run = Run.objects.latest("id")
    assert (run.kind, run.scope, run.complete) == ("preflight", COURSE, True)
    assert run.document == document.content


def test_a_run_that_fails_is_on_record_as_incomplete(monkeypatch):
    def fail(queue):
        raise OSError("no route")

    monkeypatch.setattr(queues, "is_known_to_xqueue", fail)
    rows.legacy_row()
    with pytest.raises(OSError, match="no route"):
        api.preflight(COURSE, rows.ignore)
    run = Run.objects.get()
    assert (run.complete, run.document) == (False, {})
    assert run.finished_at <= now()


@pytest.mark.usefixtures("quiet")
def test_a_second_run_over_a_course_is_refused_while_the_first_is_at_work():
    Run.objects.create(kind="preflight", scope=COURSE)
    with pytest.raises(RunLocked):
        api.preflight(COURSE, rows.ignore)
    api.preflight(IN_FLIGHT, rows.ignore)
