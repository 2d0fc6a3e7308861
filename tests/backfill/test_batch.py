"""A batch: tried again on contention, rid of the row that breaks it, and read back before it is committed."""

import contextlib

import pytest
from django.db import DataError, IntegrityError, OperationalError, ProgrammingError, connection, connections
from submissions.models import ExternalGraderDetail, StudentItem, Submission

from migration_shim.backfill import batch, verify
from migration_shim.core.data import Leg
from migration_shim.core.errors import VerificationFailed
from migration_shim.db import retry
from migration_shim.legacy import by_callback
from migration_shim.legacy import rows as legacy_rows
from migration_shim.models import Checkpoint, LedgerEntry
from tests.backfill import batches
from tests.builders import rows
from tests.builders.rows import fresh  # noqa: F401

in_process = pytest.mark.django_db(databases=["default", "xqueue"])
committed = pytest.mark.django_db(databases=["default", "xqueue"], transaction=True)
needs_server = pytest.mark.skipif(
    'connections["default"].vendor == "sqlite"', reason="SQLite has no row locks, and no connection that can drop"
)


@pytest.fixture(name="pauses", autouse=True)
def counted_pauses(monkeypatch):
    """The pauses between tries, which take no time here."""
    seen = []
    monkeypatch.setattr(retry.time, "sleep", seen.append)
    return seen


def ten():
    return [rows.legacy_row(user, answer=f"answer {user}.") for user in range(10)]


# A row that breaks its batch


@in_process
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (DataError(1406, "Data too long"), "target_refused_DataError"),
        # MySQL calls a character that a column cannot hold an operational error; nobody may wait for it to pass.
        (OperationalError(1366, "Incorrect string value"), "target_refused_OperationalError"),
    ],
)
@pytest.mark.parametrize("table", batches.TARGET[1:2])
def test_a_row_that_the_target_refuses_is_set_aside_and_the_others_go_on(error, reason, table, pauses):
    made = ten()
    with batches.fault(error, f"{table}", text="answer 6."):
        classed, written = batch.write_page(batches.page(), batches.job(), batches.nothing)
    assert written == 9
    assert batches.classes(classed) == {row.pk: ("imported", "") for row in made} | {made[6].pk: ("drain", reason)}
    assert set(LedgerEntry.objects.values_list("legacy_id", flat=True)) == {row.pk for row in made} - {made[6].pk}
    assert batches.counts() == dict.fromkeys((*batches.TARGET, batches.LEDGER), 9)
    assert pauses == []


@in_process
def test_a_row_that_a_column_really_cannot_hold_is_set_aside():
    if connection.vendor == "sqlite":
        pytest.skip("SQLite's columns have no bounds")
    made = ten()
    job = batches.job()
    job.points[rows.COURSE, rows.usage_key("b")] = 2**40
    broken = rows.legacy_row(11, problem="b")
    classed, written = batch.write_page(batches.page(), job, batches.nothing)
    assert written == len(made)
    assert batches.classes(classed)[broken.pk] == ("drain", "target_refused_DataError")
    assert batches.counts()["submissions_submission"] == len(made)


@committed
def test_two_rows_that_exclude_each_other_are_told_apart_from_another_writer(pauses):
    """One submission under two callbacks, which XQueue does not write: the second can never have an entry."""
    first = rows.legacy_row(1)
    twin = {"xqueue_header": first.xqueue_header, "xqueue_body": first.xqueue_body, "lms_callback_url": "elsewhere"}
    second = rows.legacy_row(1, **twin)
    third = rows.legacy_row(2)
    classed, written = batch.write_page(batches.page(), batches.job(), batches.nothing)
    assert written == 2
    found = batches.classes(classed)
    assert found[third.pk] == ("imported", "")
    assert sorted((found[first.pk], found[second.pk])) == [
        ("drain", "target_refused_IntegrityError"),
        ("imported", ""),
    ]
    assert len(pauses) == batch.TRIES - 1


# Contention


@committed
@pytest.mark.parametrize(
    "error",
    [
        OperationalError(1213, "Deadlock found"),
        OperationalError(1205, "Lock wait timeout exceeded"),
        OperationalError("database is locked"),
        IntegrityError(1062, "Duplicate entry"),
    ],
)
@pytest.mark.parametrize("table", [*batches.TARGET, batches.LEDGER])
def test_contention_is_answered_with_the_whole_batch_once_more(error, table, pauses):
    made = ten()
    saved = []
    # A collision is looked for row by row at first, so it has to meet each of the 10 rows and their halves.
    times = 1 if isinstance(error, OperationalError) else 40
    with batches.fault(error, f"INSERT INTO {connection.ops.quote_name(table)}", times=times):
        classed, written = batch.write_page(batches.page(), batches.job(), lambda *given: saved.append(given))
    assert written == len(made)
    assert set(batches.classes(classed).values()) == {("imported", "")}
    assert batches.counts() == dict.fromkeys((*batches.TARGET, batches.LEDGER), 10)
    assert saved == [(classed, 10)]
    assert pauses


@committed
def test_contention_that_does_not_pass_ends_the_batch_and_leaves_nothing(pauses):
    ten()
    saved = []
    with (
        batches.fault(
            OperationalError(1213, "Deadlock found"), f"INSERT INTO {connection.ops.quote_name(batches.LEDGER)}"
        ),
        pytest.raises(OperationalError),
    ):
        batch.write_page(batches.page(), batches.job(), lambda *given: saved.append(given))
    assert len(pauses) == batch.TRIES - 1
    assert 1 < sum(pauses) < 20
    assert set(batches.counts().values()) == {0}
    assert saved == []


@in_process
@pytest.mark.parametrize("error", [ProgrammingError(1146, "no such table"), DataError(1406, "Data too long")])
def test_an_error_that_will_not_pass_is_not_tried_again(error, pauses):
    ten()

    def save_checkpoint(*given):
        raise error

    with pytest.raises(type(error)):
        batch.write_page(batches.page(), batches.job(), save_checkpoint)
    assert set(batches.counts().values()) == {0}
    assert pauses == []


@committed
@needs_server
def test_a_connection_that_drops_before_the_commit_costs_one_try(pauses):
    ten()
    number = []

    def save_checkpoint(*given):
        Checkpoint.objects.create(name="batch")
        if not number:
            number.append(connection.connection.thread_id())
            with connections["default"].copy("killer").cursor() as cursor:
                cursor.execute(f"KILL {number[0]}")

    _, written = batch.write_page(batches.page(), batches.job(), save_checkpoint)
    assert written == 10
    assert connection.connection.thread_id() != number[0]
    assert batches.counts() == dict.fromkeys((*batches.TARGET, batches.LEDGER), 10)
    assert Checkpoint.objects.count() == 1
    assert len(pauses) == 1


@committed
@needs_server
def test_a_connection_to_legacy_that_dropped_costs_one_try(pauses):
    ten()
    page, legacy = batches.page(), connections["xqueue"]
    with legacy.copy("killer").cursor() as cursor:
        cursor.execute(f"KILL {legacy.connection.thread_id()}")
    _, written = batch.write_page(page, batches.job(), batches.nothing)
    assert (written, len(pauses)) == (10, 1)


@committed
@needs_server
def test_a_lock_that_another_session_lets_go_of_costs_one_try(monkeypatch):
    ten()
    other = connections["default"].copy("other")
    with connection.cursor() as cursor:
        cursor.execute("SET innodb_lock_wait_timeout = 1")
    with contextlib.closing(other), other.cursor() as cursor:
        cursor.execute("START TRANSACTION")
        cursor.execute(
            "INSERT INTO submissions_studentitem (student_id, course_id, item_id, item_type) VALUES (%s, %s, %s, %s)",
            [
                "shadow:" + rows.anonymous_id(5),
                f"shadow:{rows.COURSE}",
                "shadow:" + rows.usage_key("a" * 32),
                "problem",
            ],
        )
        pauses = []
        monkeypatch.setattr(retry.time, "sleep", lambda seconds: pauses.append(seconds) or cursor.execute("COMMIT"))
        _, written = batch.write_page(batches.page(), batches.job(), batches.nothing)
    assert (written, len(pauses)) == (10, 1)
    assert StudentItem.objects.count() == 10


# Verify while writing


def spoil(monkeypatch, table, column, value):
    """Let a column be another than what was written, once everything is written."""
    right = verify.check

    def check(meant):
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT MAX(id) FROM {table}")
            cursor.execute(f"UPDATE {table} SET {column} = %s WHERE id = %s", [value, cursor.fetchone()[0]])
        right(meant)

    monkeypatch.setattr("migration_shim.backfill.verify.check", check)


@in_process
@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("submissions_studentitem", "student_id", "someone"),
        ("submissions_studentitem", "course_id", "course-v1:ExU+OTHER+1"),
        ("submissions_studentitem", "item_id", "problem"),
        ("submissions_studentitem", "item_type", "other"),
        ("submissions_submission", "raw_answer", '"answer 1"'),
        ("submissions_externalgraderdetail", "queue_name", "exu-py1"),
        ("submissions_externalgraderdetail", "queue_key", "key"),
        ("submissions_externalgraderdetail", "grader_file_name", "grade.py"),
        ("submissions_externalgraderdetail", "points_possible", 7),
        ("submissions_externalgraderdetail", "created_at", "2026-01-01 00:00:00"),
        ("submissions_externalgraderdetail", "status_time", "2026-01-01 00:00:00"),
        ("submissions_externalgraderdetail", "status", "pulled"),
        ("submissions_externalgraderdetail", "pullkey", "key"),
        ("migration_shim_ledgerentry", "identity", "0" * 64),
        ("migration_shim_ledgerentry", "legacy_id", 99),
        ("migration_shim_ledgerentry", "arrived_at", "2026-01-01 00:00:00"),
        ("migration_shim_ledgerentry", "points_possible", 7),
        ("migration_shim_ledgerentry", "target_submission_id", 2**30),
    ],
)
def test_a_difference_in_any_column_stops_the_run_and_takes_the_batch_back(table, column, value, monkeypatch, pauses):
    ten()
    saved = []
    spoil(monkeypatch, table, column, value)
    with pytest.raises(VerificationFailed) as failed:
        batch.write_page(batches.page(), batches.job(), lambda *given: saved.append(given))
    assert "answer" not in str(failed.value).replace("(answer)", "")
    assert set(batches.counts().values()) == {0}
    assert (saved, pauses) == ([], [])


@in_process
def test_an_attempt_number_that_is_there_twice_stops_the_run(monkeypatch):
    rows.legacy_row(7, response=2)
    rows.legacy_row(7, response=3)
    spoil(monkeypatch, "submissions_submission", "attempt_number", 1)
    with pytest.raises(VerificationFailed, match="attempt number"):
        batch.write_page(batches.page(), batches.job(), batches.nothing)


@in_process
def test_a_batch_that_is_not_verified_is_not_read_back(monkeypatch):
    ten()
    spoil(monkeypatch, "submissions_submission", "raw_answer", '"another"')
    _, written = batch.write_page(batches.page(), batches.job(verify=False), batches.nothing)
    assert written == 10


@in_process
def test_an_answer_that_python_takes_for_equal_is_not_the_same_answer(monkeypatch):
    rows.legacy_row(1, answer=[1, True])
    spoil(monkeypatch, "submissions_submission", "raw_answer", "[1.0, 1]")
    with pytest.raises(VerificationFailed, match="answer"):
        batch.write_page(batches.page(), batches.job(), batches.nothing)


@in_process
def test_an_answer_that_is_no_number_is_equal_to_itself():
    rows.legacy_row(1, answer=[float("nan"), float("inf"), 1e400])
    _, written = batch.write_page(batches.page(), batches.job(), batches.nothing)
    assert written == 1


@pytest.mark.parametrize(
    ("rows_wanted", "total", "expected"),
    [
        (10_000, 0, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (10_000, 10_000, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (10_000, 10_001, [0, 2, 4, 6, 8]),
        (10_000, 50_000, [0, 5]),
        (10_000, 1_000_000, [0]),
        (0, 100, []),
    ],
)
def test_all_batches_of_a_small_run_are_verified_and_a_share_of_a_large_one(rows_wanted, total, expected, settings):
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"VERIFY_ROWS": rows_wanted}
    known = batches.conf.load()
    assert [number for number in range(10) if verify.is_due(number, total, known)] == expected


# What is asked of the two databases


@in_process
def test_the_points_of_a_problem_are_asked_for_once_a_run(settings):
    asked.clear()
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"POINTS_RESOLVER": f"{__name__}.resolve"}
    job = batches.job()
    for user in range(3):
        rows.legacy_row(user)
        rows.legacy_row(user, problem="b")
        batch.write_page(batches.page(), job, batches.nothing)
    assert sorted(asked) == [(rows.COURSE, rows.usage_key("a" * 32)), (rows.COURSE, rows.usage_key("b"))]
    assert set(ExternalGraderDetail.objects.values_list("points_possible", flat=True)) == {3}
    assert set(LedgerEntry.objects.values_list("points_possible", flat=True)) == {3}


asked = []


def resolve(course_id, item_id):
    asked.append((course_id, item_id))
    return 3


@in_process
def test_only_siblings_outside_of_the_page_are_read_and_no_retired_ones_for_rows_in_flight():
    one = rows.legacy_row(1)
    other_case = rows.legacy_row(1, lms_callback_url=one.lms_callback_url, **rows.graded())
    beside = rows.legacy_row(1, response=3)
    rows.legacy_row(2)
    found = legacy_rows.by_id([one.pk, beside.pk, other_case.pk])
    assert by_callback.siblings_outside([found[one.pk], found[beside.pk]]) == []
    assert [row.id for row in by_callback.siblings_outside([found[one.pk]])] == [beside.pk]
    assert [row.id for row in by_callback.siblings_outside([found[other_case.pk]])] == [one.pk, beside.pk]
    everything = batches.page(history=True)
    with batches.statements("xqueue") as seen:
        assert by_callback.siblings_outside(everything) == []
    assert len(seen) == 1
    assert "xqueue_body" not in seen[0][0]


@in_process
def test_an_owed_copy_that_somebody_else_makes_meanwhile_is_present(monkeypatch):
    row = rows.legacy_row(1)
    batch.write_page(batches.page(), batches.job(), batches.nothing)
    LedgerEntry.objects.update(target_leg=Leg.MISSING)
    right = batch.classing.class_page

    def class_page(*given):
        classed = right(*given)
        LedgerEntry.objects.update(target_leg=Leg.STORED)
        return classed

    monkeypatch.setattr(batch.classing, "class_page", class_page)
    classed, written = batch.write_page(batches.page(), batches.job(), batches.nothing)
    assert (batches.classes(classed), written) == ({row.pk: ("present", "")}, 0)
    assert Submission.objects.count() == 1
