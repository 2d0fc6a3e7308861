"""One statement for many rows: what it reads is what Django would read."""

import pytest
from django.db import connection

from migration_shim import multirow, selection
from migration_shim.models import LedgerEntry, WatcherLogin

pytestmark = pytest.mark.django_db


def packed(**values) -> bytes:
    number = LedgerEntry.objects.count()
    entry = LedgerEntry.objects.create(
        identity=str(number), course_id="course-v1:a+b+c", arrived_at="2026-01-01T00:00Z", **values
    )
    columns = multirow.Packed("grader_payload", "student_info", "extra_body", "leases")
    [(found,)] = multirow.raw(LedgerEntry.objects.values_list(columns), id=[entry.pk])
    return found


def test_packed_columns_differ_wherever_the_columns_do():
    rows = [
        {"grader_payload": None, "student_info": "", "extra_body": ""},
        {"grader_payload": "", "student_info": "", "extra_body": ""},
        {"grader_payload": "NULL", "student_info": "", "extra_body": ""},
        {"grader_payload": "a','b", "student_info": "c", "extra_body": ""},
        {"grader_payload": "a", "student_info": "b','c", "extra_body": ""},
        {"grader_payload": "a\\", "student_info": ",'b", "extra_body": ""},
        {"grader_payload": "a\\',", "student_info": "b", "extra_body": ""},
        {"grader_payload": "é", "student_info": "", "extra_body": ""},
        {"grader_payload": "É", "student_info": "", "extra_body": ""},
        {"grader_payload": "é ", "student_info": "", "extra_body": ""},
        {"grader_payload": "", "student_info": "", "extra_body": "", "leases": 1},
    ]
    assert len({packed(**values) for values in rows}) == len(rows)
    assert len({packed(**values) for values in rows[:5] * 2}) == 5


def test_packed_columns_are_bytes_that_an_emoji_survives():
    assert "\N{SNOWMAN}\N{PILE OF POO}".encode() in packed(student_info="\N{SNOWMAN}\N{PILE OF POO}")


@pytest.mark.skipif(connection.vendor != "mysql", reason="a limit of MySQL")
def test_a_row_too_large_to_be_packed_never_looks_the_same():
    packed()
    with connection.cursor() as cursor:  # what can be stored, and not be written as a literal
        cursor.execute(
            "UPDATE migration_shim_ledgerentry SET student_info = REPEAT(CHAR(39), @@max_allowed_packet / 2)"
        )
    [(found,)] = multirow.raw(LedgerEntry.objects.values_list(multirow.Packed("leases", "student_info")))
    assert found is None
    assert selection.fingerprint(b"", found) != selection.fingerprint(b"", found)
    assert selection.fingerprint(b"", b"a") == selection.fingerprint(b"", b"a")


def test_raw_rows_among_numbers_are_those_of_a_filter():
    WatcherLogin.objects.bulk_create(WatcherLogin(address=f"10.0.0.{number}") for number in range(20))
    every = WatcherLogin.objects.order_by()
    wanted = [*every.values_list("id", flat=True)[3:9], 10**12]
    expected = list(every.filter(id__in=wanted).values_list("id", "address"))
    assert sorted(multirow.raw(every.values_list("id", "address"), id=wanted)) == sorted(expected)
    assert multirow.raw(every.values_list("id"), id=[]) == []
    with pytest.raises(ValueError):  # never text into a statement
        multirow.raw(every.values_list("id"), id=["1) OR (1=1"])
