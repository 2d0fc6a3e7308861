"""One statement for many rows: what it changes is what Django would change."""

from datetime import UTC, datetime

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from migration_shim.comparison import candidates
from migration_shim.db import bulk, bulk_update
from migration_shim.models import LedgerEntry, WatcherLogin
from tests.builders.rows import entries

pytestmark = pytest.mark.django_db


@pytest.fixture(params=["as it writes", "as for MySQL"], autouse=True)
def text(request, monkeypatch):
    """MariaDB reads a list of rows; what MySQL is sent, it reads too."""
    if request.param == "as for MySQL":
        if connection.vendor != "mysql":
            pytest.skip("elsewhere there is one statement a row")
        monkeypatch.setattr(bulk_update, "_has_values", lambda here: False)


def test_mariadb_gets_a_list_of_rows_and_mysql_a_select_for_each(request):
    if not getattr(connection, "mysql_is_mariadb", False):
        pytest.skip("MariaDB's")
    with CaptureQueriesContext(connection) as seen:
        bulk_update.update(LedgerEntry, ("tries",), {1: (1,), 2: (2,)})
    wanted = {
        "as it writes": " UNION ALL VALUES (1, 1), (2, 2)) ",
        "as for MySQL": " UNION ALL SELECT 1, 1 UNION ALL SELECT 2, 2) ",
    }
    assert wanted[request.node.callspec.params["text"]] in seen[0]["sql"]


#: A row's value is longer, wider or of another sign than that of the row before it.
NUMBERS = [1, -1, 2**63 - 1, -(2**63), 0, None, 7]
FLOATS = [None, 0.0, 0.1, 1e-7, 123456.789012345, -2.5e300, 1.0]


@pytest.mark.parametrize("values", [NUMBERS, NUMBERS[::-1], [None, *NUMBERS]])
def test_no_value_takes_the_width_of_another(values):
    entries(len(values))
    ids = list(LedgerEntry.objects.order_by("id").values_list("id", flat=True))
    texts = ["x" * (number % 5 * 6) + "é" * (number % 2) for number in range(len(values))]
    floats = (FLOATS * 2)[: len(values)]
    truths = [None if number % 3 == 0 else number % 2 for number in range(len(values))]
    rows = dict(zip(ids, zip(values, texts, floats, truths, strict=True), strict=True))
    columns = ("legacy_id", "sink_token", "legacy_score", "legacy_correct")
    bulk_update.update(LedgerEntry, columns, rows)
    assert list(LedgerEntry.objects.order_by("id").values_list(*columns)) == list(rows.values())


@pytest.mark.parametrize("first", [None, "2026-11-20 08:42:57", "2026-11-20 08:42:57.000001"])
def test_times_as_text_keep_their_fractions(first):
    entries(3)
    ids = LedgerEntry.objects.order_by("id").values_list("id", flat=True)
    texts = [first, "2026-11-20 08:42:57.5", None]
    bulk_update.update(LedgerEntry, ("settled_at",), {pk: (text,) for pk, text in zip(ids, texts, strict=True)})
    wanted = [text and datetime.fromisoformat(text).replace(tzinfo=UTC) for text in texts]
    assert list(LedgerEntry.objects.order_by("id").values_list("settled_at", flat=True)) == wanted


def test_an_update_changes_these_rows_to_these_values_and_no_other():
    WatcherLogin.objects.bulk_create(WatcherLogin(address=f"10.0.0.{number}") for number in range(20))
    ids = list(WatcherLogin.objects.order_by("id").values_list("id", flat=True))
    odd = ["it's", 'a "b"', "back\\slash", "%s", "é\N{PILE OF POO}", "", "NULL"]
    moment = now()
    rows = {pk: (text, number) for number, (pk, text) in enumerate(zip(ids, odd, strict=False))}
    bulk_update.update(WatcherLogin, ("address", "logins"), rows, last_seen_at=moment)
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
    bulk_update.update(
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
        bulk_update.update(LedgerEntry, ("learner", "queue_name", "legacy_seen"), rows)
    [query] = seen
    assert query["sql"].count("'text 7'") == query["sql"].count("'the same'") == 1


def test_an_update_of_nothing_asks_nothing(django_assert_num_queries):
    with django_assert_num_queries(0):
        bulk_update.update(WatcherLogin, ("address",), {}, logins=3)


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
