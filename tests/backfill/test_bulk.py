"""Bulk writes: what the public API of the installed edx-submissions would have written, in a few statements."""

import json
from datetime import timedelta

import pytest
from django.db import DataError, connection
from django.db.models.signals import post_save, pre_save
from submissions.api import create_external_grader_detail
from submissions.models import ExternalGraderDetail, StudentItem, Submission

from migration_shim.backfill import batch, classing, files, write_bulk
from migration_shim.backfill.write import wanted_files, write_row
from migration_shim.conf import reading
from migration_shim.core.errors import Unfit
from migration_shim.db import bulk_insert
from migration_shim.models import LedgerEntry
from sandbox import capture
from tests.backfill import batches
from tests.builders import rows
from tests.builders.rows import fresh  # noqa: F401

in_process = pytest.mark.django_db(databases=["default", "xqueue"])
#: A collision is not tried again inside a transaction, not even a test's.
committed = pytest.mark.django_db(databases=["default", "xqueue"], transaction=True)


def whole():
    """
    Every column of every table that is written, by queue_key, without numbers, uuids and the time of writing.
    """
    items = {item.pop("id"): item for item in batches.table("submissions_studentitem")}
    submissions = {row.pop("id"): row for row in batches.table("submissions_submission")}
    entries = {row.pop("target_submission_id"): row for row in batches.table(batches.LEDGER)}
    found = {}
    for detail in batches.table("submissions_externalgraderdetail"):
        del detail["id"]
        submission = submissions[detail.pop("submission_id")]
        found[detail["queue_key"]] = detail, submission
    keys = {id(submission): key for key, (_, submission) in found.items()}
    for pk, submission in submissions.items():
        detail, _ = found[keys[id(submission)]]
        entry = entries[pk]
        assert len(str(submission.pop("uuid")).replace("-", "")) == 32
        assert submission.pop("submitted_at") is not None
        assert submission.pop("created_at") is not None
        del entry["id"], entry["created_at"]
        item = items[submission.pop("student_item_id")]
        found[keys[id(submission)]] = {"detail": detail, "submission": submission, "item": item, "entry": entry}
    return found


def forget():
    for model in (ExternalGraderDetail, Submission, StudentItem, LedgerEntry):
        model._base_manager.all().delete()


def one_by_one(job):
    """The same through the public API, row by row in the order of arrival; how many MariaDB takes for another's."""
    refused = 0
    classed = classing.class_page(batches.page(history=True), job.policy, job.storage, job.wanted_history)
    due = [item for item in classed if item.decision.row_class in classing.WRITTEN]
    with files.stored(wanted_files(due, job), job.storage, job.settings) as stored:
        for item in sorted(due, key=lambda item: item.parsed.row.arrival_time):
            try:
                write_row(item, job.settings, stored.files.get(item.parsed.row.id, []))
            except Unfit as error:
                assert error.reason == "student_item_differs"
                refused += 1
    return refused


@in_process
def test_a_bulk_write_is_equal_column_by_column_to_the_public_api(monkeypatch):
    capture.load_capture(rows.DATA)  # in flight and graded ones, all that can be imported
    job = batches.job(history=True)
    by_api = []
    monkeypatch.setattr(
        "migration_shim.target.writer.create_external_grader_detail",
        lambda *values, **named: by_api.append(1) or create_external_grader_detail(*values, **named),
    )
    _, written = batch.write_page(batches.page(history=True), job, batches.nothing)
    in_bulk, alone = whole(), len(by_api)
    assert len(in_bulk) == written > 250
    forget()
    refused = one_by_one(job)
    # Two of the captured courses differ in case only; each refused row was tried alone in either way.
    assert refused == (1 if connection.vendor == "mysql" else 0)
    assert len(by_api) - alone == written + refused
    # The rows with files, and the other attempts of their learners, go through the API in either case.
    assert alone < written / 4
    assert whole() == in_bulk


@in_process
def test_no_statement_uses_returning_and_their_number_does_not_grow_with_the_rows(monkeypatch):
    # As on MySQL 8. Django would say so in the SQL too, where it may.
    monkeypatch.setattr(type(connection.features), "can_return_columns_from_insert", False)
    monkeypatch.setattr(type(connection.features), "can_return_rows_from_bulk_insert", False)
    numbers = []
    for users in (range(5), range(100, 125)):
        for user in users:
            rows.legacy_row(user, answer=f"x = {user}\n")
        with batches.statements() as seen:
            _, written = batch.write_page(batches.page(), batches.job(), batches.nothing)
        assert written == len(users)
        assert not [sql for sql, _ in seen if "RETURNING" in sql.upper()]
        # What was written before is looked up; that is two statements more.
        numbers.append(len([sql for sql, _ in seen if sql.startswith("INSERT")]))
    assert numbers == [4, 4]
    answers = [detail.submission.answer for detail in ExternalGraderDetail.objects.order_by("submission_id")]
    assert sorted(answers) == sorted(f"x = {user}\n" for user in (*range(5), *range(100, 125)))
    for entry in LedgerEntry.objects.all():
        detail = ExternalGraderDetail.objects.get(submission_id=entry.target_submission_id)
        assert detail.submission.student_item.student_id == f"shadow:{entry.learner}"
        assert detail.queue_key == f"shadow:{entry.identity}"


@in_process
def test_a_batch_asks_the_same_of_the_databases_and_of_the_settings_however_many_rows_it_has(monkeypatch):
    looked = []
    right = reading._found
    monkeypatch.setattr(reading, "_found", lambda: looked.append(1) or right())
    job, numbers = batches.job(verify=True), []
    for users in (range(5), range(100, 125)):
        for user in users:
            rows.legacy_row(user)
        page = [row for row in batches.page() if row.id not in LedgerEntry.objects.values_list("legacy_id", flat=True)]
        before = len(looked)
        with batches.statements() as ours, batches.statements("xqueue") as legacys:
            _, written = batch.write_page(page, job, batches.nothing)
        assert written == len(users)
        numbers.append((len(ours), len(legacys), len(looked) - before))
    assert numbers[0] == numbers[1]
    assert numbers[0][1:] == (1, 0)
    # Savepoints included. Where an INSERT tells its ids nobody asks for them.
    tells = connection.vendor == "mysql" and connection.features.can_return_rows_from_bulk_insert
    assert numbers[0][0] == (12 if tells else 14)


@in_process
@pytest.mark.parametrize("bound", ["variables", "characters"])
def test_the_bounds_of_a_statement_make_no_difference_to_what_is_written(bound, monkeypatch):
    capture.load_capture(rows.DATA)
    job = batches.job()
    batch.write_page(batches.page(), job, batches.nothing)
    expected = whole()
    forget()
    if bound == "variables":
        monkeypatch.setattr(type(connection.features), "max_query_params", 100)
    else:
        monkeypatch.setattr(bulk_insert, "STATEMENT_CHARACTERS", 2000)
    with batches.statements() as seen:
        batch.write_page(batches.page(), job, batches.nothing)
    inserts = [(sql, params) for sql, params in seen if sql.startswith("INSERT") and "ledgerentry" in sql]
    assert len(inserts) > 15
    if bound == "variables":
        assert max(len(params) for _, params in inserts) <= 100
    assert whole() == expected


@in_process
def test_attempts_are_numbered_from_the_highest_on_in_the_order_of_their_arrival():
    item = {
        "student_id": "shadow:" + rows.anonymous_id(7),
        "course_id": f"shadow:{rows.COURSE}",
        "item_id": "shadow:" + rows.usage_key("a" * 32),
        "item_type": "problem",
    }
    for _ in range(2):
        create_external_grader_detail(item, "earlier", queue_name="q", queue_key="k")
    # Inputs of one problem share its StudentItem. The later row arrived earlier.
    late = rows.legacy_row(7, response=2, age=timedelta(hours=1))
    early = rows.legacy_row(7, response=3, age=timedelta(hours=3))
    middle = rows.legacy_row(7, response=4, age=timedelta(hours=2))
    other = rows.legacy_row(8)
    batch.write_page(batches.page(), batches.job(), batches.nothing)
    assert StudentItem.objects.count() == 2
    attempts = {
        entry.legacy_id: Submission.objects.get(pk=entry.target_submission_id).attempt_number
        for entry in LedgerEntry.objects.all()
    }
    assert attempts == {early.pk: 3, middle.pk: 4, late.pk: 5, other.pk: 1}


@in_process
def test_an_attempt_that_is_written_by_itself_keeps_its_place_among_those_in_bulk():
    owed = rows.legacy_row(7, response=2, age=timedelta(hours=3))
    later = rows.legacy_row(7, response=3, age=timedelta(hours=2))
    rows.legacy_row(8)
    batch.write_page(batches.page(), batches.job(), batches.nothing)
    ids = LedgerEntry.objects.filter(legacy_id__in=[owed.pk, later.pk]).values_list("target_submission_id", flat=True)
    Submission._base_manager.filter(pk__in=list(ids)).delete()
    LedgerEntry.objects.filter(legacy_id=later.pk).delete()
    LedgerEntry.objects.filter(legacy_id=owed.pk).update(target_leg="missing", target_submission_id=None)
    _, written = batch.write_page(batches.page(), batches.job(), batches.nothing)
    assert written == 2
    attempts = {
        entry.legacy_id: Submission.objects.get(pk=entry.target_submission_id).attempt_number
        for entry in LedgerEntry.objects.filter(learner=rows.anonymous_id(7))
    }
    assert attempts == {owed.pk: 1, later.pk: 2}


@in_process
def test_what_only_the_database_takes_for_the_same_learner_is_refused():
    """MariaDB's collation takes both ids for one: the second one's grade would be the first one's. SQLite does not."""
    small, large = "abcdef" * 5 + "ab", "ABCDEF" * 5 + "ab"
    for number, learner in enumerate((small, large)):
        text = rows.body(7, f"x = {number}", "20261122090000").replace(rows.anonymous_id(7), learner)
        rows.legacy_row(7, response=2 + number, xqueue_body=text)
    classed, written = batch.write_page(batches.page(), batches.job(), batches.nothing)
    ignores_case = connection.vendor == "mysql"
    assert written == (1 if ignores_case else 2), batches.classes(classed)
    drained = [item.decision.reason for item in classed if item.decision.row_class == "drain"]
    assert drained == (["student_item_differs"] if ignores_case else [])
    assert StudentItem.objects.filter(student_id=f"shadow:{small}").count() == 1
    assert list(Submission.objects.values_list("attempt_number", flat=True)) == [1] * written
    assert LedgerEntry.objects.count() == StudentItem.objects.count() == written


@committed
def test_a_learner_who_is_there_with_another_type_of_item_is_refused_as_the_public_api_refuses_it():
    row = rows.legacy_row(7)
    StudentItem.objects.create(
        student_id="shadow:" + rows.anonymous_id(7),
        course_id=f"shadow:{rows.COURSE}",
        item_id="shadow:" + rows.usage_key("a" * 32),
        item_type="openassessment",
    )
    other = rows.legacy_row(8)
    classed, written = batch.write_page(batches.page(), batches.job(), batches.nothing)
    assert written == 1
    assert batches.classes(classed) == {
        row.pk: ("drain", "target_refused_DoesNotExist"),
        other.pk: ("imported", ""),
    }
    assert StudentItem.objects.get(student_id="shadow:" + rows.anonymous_id(7)).item_type == "openassessment"


@in_process
def test_answers_of_every_kind_are_stored_as_the_field_itself_stores_them():
    answers = ["é\u2028😀\x00'\"\\%s%%", "", {"b": [1, 2.5, None], "a": True}, [], 0, False, "null", 10**40]
    for user, answer in enumerate(answers):
        rows.legacy_row(user, answer=answer)
    batch.write_page(batches.page(), batches.job(), batches.nothing)
    stored = [row["raw_answer"] for row in batches.table("submissions_submission")]
    assert sorted(stored) == sorted(json.dumps(answer, ensure_ascii=True) for answer in answers)


@in_process
def test_what_legacy_said_of_its_row_goes_into_the_ledger():
    queued = rows.legacy_row(1)
    pulled = rows.legacy_row(2, pull_time=rows.graded()["pull_time"], pullkey="k")
    graded = rows.legacy_row(3, **rows.graded())
    batch.write_page(batches.page(history=True), batches.job(history=True), batches.nothing)
    states = dict(LedgerEntry.objects.values_list("legacy_id", "legacy_state"))
    assert states == {queued.pk: "queued", pulled.pk: "pulled", graded.pk: "graded"}
    assert set(ExternalGraderDetail.objects.values_list("status", "pullkey")) == {("pending", None)}


@in_process
def test_nothing_listens_to_the_signals_that_bulk_writes_do_not_send():
    for model in (StudentItem, Submission, ExternalGraderDetail, LedgerEntry):
        assert not pre_save.has_listeners(model)
        assert not post_save.has_listeners(model)


@in_process
def test_an_existing_row_is_kept_as_it_is_and_a_text_that_is_too_long_is_never_cut():
    columns = ("student_id", "course_id", "item_id", "item_type")
    bulk_insert.insert(StudentItem, columns, [("s", "c", "i", "problem")])
    bulk_insert.insert(StudentItem, columns, [("s", "c", "i", "other"), ("t", "c", "i", "problem")], keep_existing=True)
    assert list(StudentItem.objects.order_by("student_id").values_list("student_id", "item_type")) == [
        ("s", "problem"),
        ("t", "problem"),
    ]
    if connection.vendor == "mysql":
        with pytest.raises(DataError):
            bulk_insert.insert(StudentItem, columns, [("x" * 256, "c", "i", "problem")], keep_existing=True)


@in_process
def test_a_page_without_rows_to_write_inserts_nothing():
    rows.legacy_row(1)
    batch.write_page(batches.page(), batches.job(), batches.nothing)
    with batches.statements() as seen:
        _, written = batch.write_page(batches.page(), batches.job(), batches.nothing)
    assert written == 0
    assert not [sql for sql, _ in seen if sql.startswith(("INSERT", "UPDATE"))]
    assert write_bulk.write([]) == []
