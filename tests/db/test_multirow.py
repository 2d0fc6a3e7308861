"""One statement for many rows: what it changes is what Django would change."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from migration_shim.comparison import candidates
from migration_shim.db import bulk
from migration_shim.models import LedgerEntry, WatcherLogin
from tests.builders.rows import entries

pytestmark = pytest.mark.django_db


def test_an_update_changes_these_rows_to_these_values_and_no_other():
    WatcherLogin.objects.bulk_create(WatcherLogin(address=f"10.0.0.{number}") for number in range(20))
    ids = list(WatcherLogin.objects.order_by("id").values_list("id", flat=True))
    odd = ["it's", 'a "b"', "back\\slash", "%s", "é\N{PILE OF POO}", "", "NULL"]
    moment = now()
    rows = {pk: (text, number) for number, (pk, text) in enumerate(zip(ids, odd, strict=False))}
    bulk.update(WatcherLogin, ("address", "logins"), rows, last_seen_at=moment)
    found = list(WatcherLogin.objects.order_by("id").values_list("address", "logins", "last_seen_at"))
    assert [(text, number) for text, number, _ in found[: len(odd)]] == list(zip(odd, range(len(odd)), strict=True))
    assert {at for *_, at in found[: len(odd)]} == {moment}
    assert [text for text, *_ in found[len(odd) :]] == [f"10.0.0.{number}" for number in range(len(odd), 20)]
    assert moment not in {at for *_, at in found[len(odd) :]}


@pytest.mark.parametrize(
    "of_each",
    [
        lambda number: ("same", number),
        lambda number: (str(number), 7),
        lambda number: ("same", 7),
        lambda number: (str(number), number),
        lambda number: (number, number),
        lambda number: (True, True) if number else (False, False),
    ],
    ids=["one text", "one number", "one of each", "two columns", "the same in both", "the same, truth"],
)
def test_values_that_are_the_same_change_the_same(of_each):
    """Of all rows, or of two columns: they are written once, and reach every row and column all the same."""
    entries(5)
    ids = LedgerEntry.objects.order_by("id").values_list("id", flat=True)[:4]
    values = {pk: of_each(number) for number, pk in enumerate(ids)}
    bulk.update(
        LedgerEntry, ("superseded_at", "sink_token", "tries"), {pk: (None, *both) for pk, both in values.items()}
    )
    found = list(LedgerEntry.objects.order_by("id").values_list("sink_token", "tries", "superseded_at"))
    wanted = [
        (str(int(text)) if isinstance(text, bool) else str(text), int(number)) for text, number in values.values()
    ]
    assert found == [*((*both, None) for both in wanted), ("", 0, None)]


@pytest.mark.skipif(connection.vendor != "mysql", reason="elsewhere there is one statement a row")
def test_no_value_is_written_more_often_than_it_takes():
    rows = {number: (f"text {number}", f"text {number}", "the same") for number in range(50)}
    with CaptureQueriesContext(connection) as seen:
        bulk.update(LedgerEntry, ("learner", "queue_name", "legacy_seen"), rows)
    [query] = seen
    assert query["sql"].count("'text 7'") == query["sql"].count("'the same'") == 1


def test_an_update_of_nothing_asks_nothing(django_assert_num_queries):
    with django_assert_num_queries(0):
        bulk.update(WatcherLogin, ("address",), {}, logins=3)


@pytest.mark.parametrize(
    ("values", "condition"),
    [
        ([], ""),
        ([7], "id IN (7)"),
        ([3, 1, 2, 2], "id BETWEEN 1 AND 3"),
        ([9, 1, 2, 3, 6, 5, 7, 12], "id BETWEEN 1 AND 3 OR id BETWEEN 5 AND 7 OR id IN (9, 12)"),
        ([5, 4, 8, 1], "id IN (1, 4, 5, 8)"),
        (["1", True, 3], "id IN (1, 3)"),
    ],
)
def test_numbers_that_follow_one_another_are_a_range(values, condition):
    assert bulk.among("id", values) == condition


def test_no_text_becomes_a_number_of_a_range():
    with pytest.raises(ValueError, match="invalid literal"):
        bulk.among("id", ["1 OR 1 = 1"])


@pytest.mark.parametrize("beside", [1, 2, 3, 4])
def test_a_page_of_numbers_is_one_condition_however_they_lie(beside):
    numbers = [number for number in range(4000) if number % (beside + 1)][: candidates.PAGE]
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT id FROM {WatcherLogin._meta.db_table} WHERE {bulk.among('id', numbers)}")
        assert list(cursor.fetchall()) == []
