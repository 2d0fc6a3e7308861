"""The oracle that every test ends with complains of each thing that may be wrong, where nothing else is counted."""

import pytest
from model_bakery import baker

from migration_shim.fields import ExactCharField
from migration_shim.models import Bucket, Histogram, LedgerEntry
from tests.builders import rows
from tests.ledger.counters.oracle import complaints

pytestmark = [pytest.mark.django_db, pytest.mark.by_hand]


def of_one_entry(model):
    texts = {field.name: "" for field in model._meta.fields if isinstance(field, ExactCharField)}
    return baker.make(model, number=1, **texts)


def test_where_nothing_is_counted_nothing_is_wrong():
    rows.entries(1)
    assert complaints() == []


def test_a_bucket_of_entries_that_are_not_there():
    of_one_entry(Bucket)
    assert len(complaints()) == 1


def test_a_bin_of_entries_that_are_not_there():
    of_one_entry(Histogram)
    assert len(complaints()) == 1


def test_an_entry_in_a_bucket_that_is_not_there():
    rows.entries(1)
    LedgerEntry.objects.update(bucket_id=7)
    assert "is in a bucket that is not there" in complaints()[0]
