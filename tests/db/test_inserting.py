"""Statements as text: what is written is what is read back, whatever it is, and no word of it is SQL."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import example, given
from hypothesis import strategies as st
from submissions.models import StudentItem

from migration_shim.db import bulk, bulk_insert, bulk_update
from migration_shim.db.literals import Literals, Ready
from migration_shim.models import LedgerEntry, WatcherLogin

pytestmark = pytest.mark.django_db

MOMENT = datetime(2026, 11, 20, 8, 30, 15, 250, tzinfo=timezone(timedelta(hours=5, minutes=30)))
on_mysql = pytest.mark.skipif(connection.vendor != "mysql", reason="parameters go to SQLite apart from the statement")
#: Ends of literals, escapes, comments, placeholders, the bytes that clients escape, and what takes four bytes.
NASTY = [
    "'",
    "\\",
    "\\'",
    "''",
    "\\\\'",
    "');--",
    "/*",
    "%s",
    "%%",
    "\0",
    "\n\r\x1a\x1f",
    '"',
    "`",
    "é",
    "😀",
    "\u2028",
]
TEXTS = st.lists(st.sampled_from(NASTY) | st.text(st.characters(codec="utf-8"), max_size=8), max_size=6).map("".join)


def literals():
    """What writes literals for the connection of this test."""
    connection.ensure_connection()
    return Literals(connection.connection)


@on_mysql
@given(st.lists(TEXTS, min_size=1, max_size=5), st.booleans())
@example(["\\", "'", "plain"], True)
@example(["\\' OR 1=1 -- "], False)
def test_a_literal_is_the_text_in_either_mode_of_the_server(texts, no_escapes):
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@sql_mode")
        [usual] = cursor.fetchone()
        try:
            if no_escapes:
                cursor.execute("SET sql_mode = CONCAT(@@sql_mode, ',NO_BACKSLASH_ESCAPES')")
            cursor.execute("SELECT %s", [Ready(", ".join(literals().of(texts)))])
            assert list(cursor.fetchone()) == texts
        finally:
            cursor.execute("SET sql_mode = %s", [usual])


@on_mysql
def test_numbers_times_and_nothing_are_written_as_the_driver_would():
    assert literals().of([1, True, False, -(2**40)]) == ["1", "1", "0", str(-(2**40))]
    assert literals().of([None, "it's", 5]) == ["NULL", r"'it\'s'", "5"]
    assert literals().of([0.25]) == ["0.25e0"]


@given(st.lists(st.tuples(TEXTS, st.none() | TEXTS), min_size=1, max_size=4))
def test_rows_are_read_back_as_they_were_written(texts):
    LedgerEntry.objects.all().delete()
    columns = ("identity", "student_info", "grader_payload", "history", "legacy_id", "arrived_at", "settled_at")
    rows = [
        (f"{place:064}", info, payload, bool(place % 2), place, MOMENT, None)
        for place, (info, payload) in enumerate(texts)
    ]
    bulk_insert.insert(LedgerEntry, columns, rows, phase="shadow", raw_header="'%s\\", echo=True)
    assert list(LedgerEntry.objects.order_by("id").values_list(*columns)) == rows
    assert set(LedgerEntry.objects.values_list("phase", "raw_header", "echo")) == {("shadow", "'%s\\", True)}


def test_what_no_row_names_is_as_save_would_have_it():
    LedgerEntry.objects.create(identity="1", arrived_at=MOMENT)
    bulk_insert.insert(LedgerEntry, ("identity", "arrived_at"), [("2", MOMENT)])
    saved, inserted = LedgerEntry.objects.order_by("id").values()
    for entry in (saved, inserted):
        del entry["id"], entry["identity"]
        assert abs(entry.pop("created_at") - datetime.now(UTC)) < timedelta(minutes=1)
    assert inserted == saved


@pytest.mark.parametrize("characters", [1, 9000, 10**6])
def test_rows_are_cut_into_statements_and_none_is_lost(characters, monkeypatch):
    """A row that is longer than a statement may be gets one of its own."""
    monkeypatch.setattr(bulk_insert, "STATEMENT_CHARACTERS", characters)
    new = [(f"{number}", MOMENT, "x" * (number % 3 * 1000)) for number in range(20)]
    with CaptureQueriesContext(connection) as captured:
        bulk_insert.insert(LedgerEntry, ("identity", "arrived_at", "raw_header"), iter(new))
    found = LedgerEntry.objects.order_by("id").values_list("identity", "raw_header")
    assert list(found) == [(identity, text) for identity, _, text in new]
    assert len(captured) == {1: 20, 10**6: 1}.get(characters, len(captured))
    assert len(captured) < 20 or characters == 1


def test_one_is_inserted_as_save_would():
    """Every column but those that tell the two apart, as the database has it."""

    def entry(number):
        said = {"student_info": "".join(NASTY), "extra_body": "", "sink_token": "it's", "legacy_score": 0.25}
        times = {"arrived_at": MOMENT, "copy_due": MOMENT}
        return LedgerEntry(identity=f"{number:064}", phase="live", history=True, legacy_id=2**40, **said, **times)

    saved, inserted = entry(1), entry(2)
    saved.save(force_insert=True)
    bulk_insert.insert_one(inserted)
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM migration_shim_ledgerentry ORDER BY id")
        one, other = (dict(zip([column[0] for column in cursor.description], row, strict=True)) for row in cursor)
    assert {name for name in one if one[name] != other[name]} <= {"id", "identity", "created_at"}
    assert other["id"] == inserted.pk == saved.pk + 1
    assert other["created_at"] is not None
    assert (inserted._state.adding, inserted._state.db) == (saved._state.adding, saved._state.db)
    inserted.queue_name = "another"
    inserted.save(update_fields=["queue_name"])
    assert LedgerEntry.objects.get(queue_name="another").identity == inserted.identity


@pytest.mark.parametrize("returns", [True, False])
def test_a_question_is_answered_with_the_insert(returns, monkeypatch):
    """In a statement of its own where the database returns nothing of an INSERT, as MySQL."""
    returns = returns and connection.features.can_return_columns_from_insert
    monkeypatch.setattr(connection.features, "can_return_columns_from_insert", returns)
    for number, (app, holds) in enumerate([("nobody's", False), ("submissions", True), ("' OR 1 = '1", False)]):
        learner = f"it's {number}"
        entry = LedgerEntry(identity=f"{number:064}", arrived_at=MOMENT, learner=learner)
        asked = "EXISTS(SELECT 1 FROM django_migrations WHERE app = %s)", [app]
        with CaptureQueriesContext(connection) as captured:
            assert bulk_insert.insert_one(entry, asked) is holds
        assert len(captured) == (1 if returns else 2)
        assert LedgerEntry.objects.get(pk=entry.pk).learner == learner


def test_one_names_only_the_columns_that_say_something():
    """What the table gives by itself takes the driver and the server a word each, and a learner waits for it."""
    with CaptureQueriesContext(connection) as captured:
        bulk_insert.insert_one(LedgerEntry(identity="1" * 64, arrived_at=MOMENT, tries=3))
    [statement] = [query["sql"] for query in captured]
    named = statement.partition(" VALUES ")[0]
    assert not [name for name in ("room", "bucket_id", "move", "seen", "forget") if f"{name}" in named], named
    assert "tries" in named and "student_info" in named


def test_one_that_is_there_is_no_second_one():
    bulk_insert.insert_one(LedgerEntry(identity="1" * 64, arrived_at=MOMENT))
    with pytest.raises(IntegrityError), transaction.atomic():
        bulk_insert.insert_one(LedgerEntry(identity="1" * 64, arrived_at=MOMENT))
    assert LedgerEntry.objects.count() == 1


def test_what_must_not_be_missing_is_not_left_out():
    """A column that is NULL by itself is; any other one is refused, by a server too that would put something there."""
    with connection.cursor() as cursor:
        if connection.vendor == "mysql":
            cursor.execute("SELECT @@sql_mode")
            [usual] = cursor.fetchone()
            cursor.execute("SET sql_mode = ''")
        try:
            with pytest.raises(DatabaseError), transaction.atomic():
                bulk_insert.insert_one(LedgerEntry(identity="1" * 64, arrived_at=MOMENT, learner=None))
        finally:
            if connection.vendor == "mysql":
                cursor.execute("SET sql_mode = %s", [usual])


def test_a_time_without_a_zone_is_refused():
    with pytest.raises(ValueError, match="without a zone"):
        bulk_insert.insert(LedgerEntry, ("identity", "arrived_at"), [("1", MOMENT.replace(tzinfo=None))])
    assert not LedgerEntry.objects.exists()


def test_rows_are_given_back_with_those_that_were_there_where_the_database_can_tell():
    columns = ("student_id", "course_id", "item_id", "item_type")
    there = StudentItem.objects.create(student_id="s", course_id="c", item_id="i", item_type="problem")
    rows = [("t", "c", "i", "problem"), ("s", "c", "i", "other")]
    found = bulk_insert.insert(StudentItem, columns, rows, keep_existing=True, returning=("id", *columns))
    new = StudentItem.objects.get(student_id="t")
    if connection.vendor == "mysql" and connection.features.can_return_rows_from_bulk_insert:
        assert sorted(found) == sorted([(there.pk, "s", "c", "i", "problem"), (new.pk, "t", "c", "i", "problem")])
    else:
        assert found is None
    assert bulk_insert.insert(StudentItem, columns, [("u", "c", "i", "problem")]) is None


@given(st.lists(TEXTS.filter(lambda text: len(text) <= 64), min_size=1, max_size=4, unique=True))
def test_rows_are_found_by_texts_of_every_kind(texts):
    LedgerEntry.objects.all().delete()
    # Compared byte for byte, but for blanks at the end.
    learners = [f"{text}." for text in texts]
    rows = [(f"{place:064}", learner, MOMENT) for place, learner in enumerate(learners)]
    bulk_insert.insert(LedgerEntry, ("identity", "learner", "arrived_at"), rows)
    found = bulk.select(LedgerEntry, ("learner",), learner=[learners[0], "' OR 1=1 -- "])
    assert list(found) == [(learners[0],)]


def test_one_update_is_that_of_a_filter():
    rows = [(f"{place:064}", MOMENT) for place in range(3)]
    bulk_insert.insert(LedgerEntry, ("identity", "arrived_at"), rows, queue_name="'q'", leases=4)
    first, second, third = LedgerEntry.objects.order_by("pk")
    values = {"student_info": "".join(NASTY), "leased_at": MOMENT, "lease_sent": True, "bucket_id": None}
    where = {"queue_name": "'q'", "arrived_at": MOMENT, "history": False}
    LedgerEntry.objects.filter(pk=first.pk, **where).update(**values)
    assert bulk_update.update_where(LedgerEntry, {"id": second.pk, **where}, values) == 1
    for wrong in ({"queue_name": "q"}, {"arrived_at": MOMENT + timedelta(microseconds=1)}, {"history": True}):
        assert bulk_update.update_where(LedgerEntry, {"id": third.pk, **where, **wrong}, values) == 0
    assert bulk_update.update_where(LedgerEntry, {"id": third.pk}, {"lease_key": "k"}, one_more="leases") == 1
    one, other, last = LedgerEntry.objects.order_by("pk").values("leases", "lease_key", *values)
    assert one == other == {"leases": 4, "lease_key": first.lease_key, **values}
    assert (last["leases"], last["lease_key"], last["lease_sent"]) == (5, "k", False)


def test_who_records_statements_has_no_word_of_what_is_in_them():
    seen = []

    def see(execute, sql, params, many, context):
        seen.append(f"{sql} {params if connection.vendor == 'mysql' else None}")
        return execute(sql, params, many, context)

    rows = [(f"{place:064}", "what somebody wrote", MOMENT) for place in range(2)]
    with connection.execute_wrapper(see):
        bulk_insert.insert(LedgerEntry, ("identity", "student_info", "arrived_at"), rows, queue_name="queue")
        bulk.select(LedgerEntry, ("id",), identity=["0" * 64], student_info=["what somebody wrote"])
    assert len(seen) == 2
    assert not [text for text in seen if "somebody" in text or "0" * 64 in text]


def test_nothing_is_sent_for_no_rows(django_assert_num_queries):
    with django_assert_num_queries(0):
        assert bulk_insert.insert(WatcherLogin, ("address",), []) is None
