"""Until the door has returned, nothing waits: neither a slow legacy nor a lock of another session costs time."""

import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth import get_user_model
from django.db import connection, connections
from submissions.models import ExternalGraderDetail

from migration_shim import conf
from migration_shim.core.data import Phase
from migration_shim.cutover import impact
from migration_shim.cutover import steps as cutover
from migration_shim.models import LedgerEntry, LegacySubmission
from migration_shim.target import leases, results
from sandbox.lms.courseware.models import StudentModule
from sandbox.lms.models import AnonymousUserId
from tests.builders.attempts import COURSE, attempt, put_course_in
from tests.builders.outbox import drain
from tests.builders.rows import QUEUE, RIGHT
from tests.builders.silence import DUMP, OWN_DELIVERY, held

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "xqueue"])

USER = 4242
SOON = 1.0  # seconds that the door may take longer than without it
mariadb_only = pytest.mark.skipif("connection.vendor == 'sqlite'", reason="SQLite has no row locks")


@pytest.fixture
def learner(legacy):
    """Somebody with an attempt on legacy and one on the target, and the course is live."""
    user = get_user_model().objects.create(pk=USER, username="learner")
    AnonymousUserId.objects.create(anonymous_user_id=f"{USER:032x}", user=user)
    put_course_in("legacy")
    assert nth(0).submit()[0] == 0
    put_course_in("live")
    assert nth(1).submit() == (0, "")
    return user


def nth(number):
    """The learner's attempts, ten seconds from one to the next."""
    at = datetime(2026, 11, 22, 12, 0, tzinfo=UTC) + timedelta(seconds=10 * number)
    return attempt(user=USER, at=at, answer=f"x = {number}\n")


def seconds_of(one):
    began = time.monotonic()
    assert one.send() == (0, "")
    return time.monotonic() - began


LOCKS = {
    "the row, by XQueue's own delivery": ("xqueue", OWN_DELIVERY),
    "the table, by a dump": ("xqueue", DUMP),
    "the older entries": ("default", "SELECT id FROM migration_shim_ledgerentry FOR UPDATE"),
    "the older target rows": ("default", "SELECT id FROM submissions_externalgraderdetail FOR UPDATE"),
    "the learner's state": ("default", "SELECT id FROM courseware_studentmodule FOR UPDATE"),
}


@mariadb_only
@pytest.mark.parametrize("lock", LOCKS)
def test_no_lock_of_another_session_holds_a_learner(lock, learner, legacy):
    free = seconds_of(nth(2))
    with held(*LOCKS[lock]):
        assert seconds_of(nth(3)) < free + SOON


def test_the_door_of_live_asks_xqueues_database_nothing(learner, legacy):
    """A frozen or silent database there is then nobody's business but the worker's."""

    def asked(execute, sql, params, many, context):
        raise AssertionError("a statement on XQueue's database in the door")

    with connections["xqueue"].execute_wrapper(asked):
        one = nth(2)
        assert one.send() == (0, "")
    one.save()
    drain()
    assert list(LegacySubmission.objects.filter(queue_name=QUEUE).values_list("retired", flat=True)) == [True]


@mariadb_only
def test_the_door_leaves_its_session_as_it_found_it(learner, legacy):
    """It is the LMS's own connection: what is set there hits CAPA's save."""

    def variables():
        with connection.cursor() as cursor:
            cursor.execute("SHOW SESSION VARIABLES")
            moving = ("timestamp", "last_insert_id", "identity", "insert_id", "pseudo_thread_id")
            seen = ("rand_seed1", "rand_seed2", "warning_count", "error_count", "last_gtid", "gtid_current_pos")
            gtid = ("gtid_binlog_pos", "gtid_binlog_state", "in_transaction", "gtid_seq_no", "statement_id")
            return {name: value for name, value in cursor.fetchall() if name not in (*moving, *seen, *gtid)}

    for phase in ("legacy", "shadow", "live", "complete"):
        put_course_in(phase)
        before = variables()
        assert attempt().send()[0] == 0
        assert variables() == before


@mariadb_only
def test_the_way_back_counts_nothing_that_it_cannot_count_within_a_second(learner, legacy):
    with held("xqueue", "LOCK TABLES queue_submission WRITE"):
        began = time.monotonic()
        content = cutover.run(COURSE, Phase.LEGACY, reason="r", execute=True, user="ops", login=None).content
        assert time.monotonic() - began < impact.COUNT_SECONDS + 2 * SOON
    assert content["executed"]
    assert content["in_flight"]["legacy"] is None


@mariadb_only
def test_xqueues_sessions_are_limited_and_the_lmss_are_not(legacy):
    def told(alias):
        with connections[alias].cursor() as cursor:
            longest = "max_statement_time" if connection.mysql_is_mariadb else "max_execution_time / 1000"
            cursor.execute(f"SELECT @@innodb_lock_wait_timeout, @@lock_wait_timeout, @@{longest}")
            return cursor.fetchone()

    connections.close_all()
    assert told("xqueue") == (5, 5, 60.0)
    assert told("default")[0] == 50
    assert told("default")[2] == 0.0
    assert connections["xqueue"].settings_dict["OPTIONS"]["connect_timeout"] == 3
    assert "connect_timeout" not in connections["default"].settings_dict["OPTIONS"]


class Grader(threading.Thread):
    """A grader that answers whatever it is handed, at once."""

    def __init__(self):
        super().__init__()
        self.over = threading.Event()

    def run(self):
        settings = conf.load()
        try:
            while not self.over.wait(0.05):
                lease, _ = leases.lease_next(QUEUE, settings)
                if lease is not None:
                    row = lease.detail
                    results.store(
                        results.Result(submission_id=row.submission_id, key=row.pullkey, reply=RIGHT), settings
                    )
        finally:
            connections.close_all()

    def __enter__(self):
        self.start()

    def __exit__(self, *error):
        self.over.set()
        self.join()


@mariadb_only
def test_no_grade_comes_before_capa_has_saved(learner, legacy):
    """XQueue holds the older attempt's row, for as long as its own delivery takes."""
    one = nth(2)
    with held(*LOCKS["the row, by XQueue's own delivery"]), Grader():
        assert one.send() == (0, "")
        one.save()
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and waits():
            time.sleep(0.1)
    assert not waits()
    statuses = ExternalGraderDetail.objects.filter(submission_id=one.entry().target_submission_id)
    assert list(statuses.values_list("status", flat=True)) == ["retired"]


def waits():
    return any(entry["queuestate"] for entry in StudentModule.objects.get(student_id=USER).correct_map.values())


def test_what_is_owed_is_found_by_an_index(learner, legacy):
    """No look at the outbox reads the ledger."""
    due = LedgerEntry.objects.filter(authority="target", copy_due__lte=datetime.now(tz=UTC)).order_by("copy_due")
    assert "shim_ledger_copy" in due.explain()
    older = LedgerEntry.objects.filter(supersession_due__lte=datetime.now(tz=UTC)).order_by("supersession_due")
    assert "shim_ledger_supersession" in older.explain()
