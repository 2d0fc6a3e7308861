"""Reading XQueue's table: the short way to a row gives what Django would."""

from dataclasses import astuple, fields

import pytest
from django.utils.timezone import now

from migration_shim.conf import load
from migration_shim.core.data import LegacyRow, Whose
from migration_shim.core.siblings import Siblings
from migration_shim.legacy import by_callback, files, reading
from migration_shim.legacy import rows as legacy_rows
from migration_shim.models import LegacySubmission
from tests.builders import rows
from tests.builders.rows import fresh  # noqa: F401

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])


def test_every_column_of_a_row_is_as_django_reads_it():
    rows.legacy_row(1)
    rows.legacy_row(2, **rows.graded())
    rows.legacy_row(3, pull_time=now(), push_time=now(), return_time=now(), lms_ack=True, retired=True, num_failures=2)
    names = [field.name for field in fields(LegacyRow) if field.name != "whose"]
    expected = list(LegacySubmission.objects.using("xqueue").order_by("id").values_list(*names))
    found = legacy_rows.page(after=0, unretired_only=False, size=10)
    assert [astuple(row) for row in found] == [(*values, Whose.OURS) for values in expected]
    for row, values in zip(found, expected, strict=True):
        assert [type(value) for value in astuple(row)[:-1]] == [type(value) for value in values]
        assert [str(value) for value in astuple(row)[:-1]] == [str(value) for value in values]


def test_no_rows_ask_nothing_more():
    assert legacy_rows.by_id([]) == {}
    assert legacy_rows.page(after=0, unretired_only=True, size=10) == []


def test_a_row_alone_has_the_same_others_with_a_family_and_without_one():
    rows.legacy_row(1)
    rows.legacy_row(2, response=2)
    rows.legacy_row(2, response=3)
    storage = files.legacy_storage(load())
    read = [reading.read(row, storage)[0] for row in legacy_rows.page(after=0, unretired_only=False, size=10)]
    together = reading.siblings_by_callback(read)
    assert len(together) == 1
    for parsed in read:
        key = by_callback.callback_key(parsed.row.lms_callback_url)
        same = [one for one in read if by_callback.callback_key(one.row.lms_callback_url) == key]
        assert reading.siblings_of(parsed, together) == Siblings(same).beside(parsed)
    assert [len(reading.siblings_of(parsed, together)) for parsed in read] == [
        0,
        1,
        0,
    ]  # of these only the newer one counts
