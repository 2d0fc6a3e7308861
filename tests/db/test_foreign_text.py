"""XQueue on utf8mb3 or latin1: a text that its columns cannot hold matches nothing there, and blocks nobody."""

import contextlib
import dataclasses

import pytest
from django.db import connections
from django.utils.timezone import now

from migration_shim import fields
from migration_shim.legacy import by_callback, fingerprints, open_rows
from migration_shim.legacy import rows as legacy_rows
from migration_shim.models import LedgerEntry, LegacySubmission
from tests.builders import rows
from tests.builders.rows import COURSE, fresh  # noqa: F401

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"], transaction=True)
QUEUE = "exu-\U0001f525"
URL = f"https://courses.example.edu/courses/{COURSE}/xqueue/7/\U0001f525/score_update"


@contextlib.contextmanager
def in_charset(charset):
    """XQueue's table in an older character set."""
    if connections["xqueue"].vendor != "mysql":
        pytest.skip("SQLite has one character set")

    def convert(charset):
        with connections["xqueue"].cursor() as cursor:
            cursor.execute(f"ALTER TABLE queue_submission CONVERT TO CHARACTER SET {charset}")
        fields._charsets.cache_clear()

    convert(charset)
    try:
        yield
    finally:
        LegacySubmission.objects.all().delete()
        convert("utf8mb4")


@pytest.fixture(params=["utf8mb3", "latin1"])
def charset(request):
    """The name of such a one."""
    with in_charset(request.param):
        yield request.param


def asked(url, queue):
    """What each function of ``legacy`` finds that takes a text."""
    (row,) = legacy_rows.by_id([LegacySubmission.objects.get().pk]).values()
    other = dataclasses.replace(row, id=row.id + 1, lms_callback_url=url[:128])
    return {
        "siblings": len(by_callback.siblings([other])),
        "siblings outside": len(by_callback.siblings_outside([other])),
        "open rows": len(by_callback.open_rows(url)),
        "callback": len(by_callback.with_callback(url)),
        "headers": len(by_callback.with_headers([row.xqueue_header.replace(row.lms_callback_url, url[:128])])),
        "pulled": legacy_rows.was_pulled_since(queue, row.arrival_time),
        "queues pulled": open_rows.queues_pulled_since([queue], row.arrival_time),
        "ids pulled": len(fingerprints.ids_pulled_since([queue], row.arrival_time)),
        "naming": open_rows.count_naming(COURSE, [queue]),
    }


@pytest.mark.parametrize("text", ["\U0001f525", "Ж"])
def test_what_a_column_cannot_hold_matches_nothing_there(charset, text):
    rows.legacy_row(7, pull_time=now())
    found = asked(f"{URL}{text}", f"exu-{text}")
    assert not any(found.values()), found


def test_beside_it_what_a_column_can_hold_is_found(charset):
    row = rows.legacy_row(7, queue="exu-é", pull_time=now())
    found = asked(row.lms_callback_url, "exu-é")
    assert all(found.values()), found
    with_both = [QUEUE, "exu-é"]
    assert len(fingerprints.ids_pulled_since(with_both, row.arrival_time)) == 1
    assert open_rows.queues_pulled_since(with_both, row.arrival_time) == {"exu-é"}
    assert open_rows.count_naming(COURSE, with_both) == 1
    assert LegacySubmission.objects.exclude(queue_name=QUEUE).count() == 1


def test_a_submission_to_such_a_queue_blocks_no_reconcile(charset):
    """XQueue has refused it, or the target has accepted it: it is in the ledger, and its queue's name with it."""
    rows.in_phase("shadow")
    rows.legacy_row(7)
    rows.backfill()
    rows.entries(1, queue_name=QUEUE, legacy_leg="failed", target_leg="none", result="none")
    for _ in range(2):  # the second reads the news of the course's queues
        document, _found = rows.reconcile()
    assert document.content["complete"]
    assert document.content["of"] == LedgerEntry.objects.count() == 2
