"""What the counters have to say, counted anew in Python out of the entries: the oracle of every test here."""

from collections import Counter

from django.db import connection

from migration_shim.core.buckets import Facts, Flag, Row, bucket_id, facts_of
from migration_shim.core.histograms import Bin, bins_of
from migration_shim.models import Bucket, Divergence, Histogram, LedgerEntry

#: Facts that may have changed since the last comparison, which sees them again: the entry's fingerprint is of them.
_LATER = Flag.ECHO | Flag.LEASED | Flag.NO_COPY | Flag.SUPERSEDED


def entries():
    """Every entry: its id, its bucket, its columns, and its divergences that nobody has signed for."""
    differences = {}
    for pk, klass, known in Divergence.objects.filter(cured_at=None).values_list("entry_id", "klass", "known_id"):
        differences.setdefault(pk, {})[klass] = known
    rows = LedgerEntry.objects.order_by("pk").values_list("pk", "bucket_id", *Row._fields)
    return [(pk, bucket, Row._make(row), differences.get(pk)) for pk, bucket, *row in rows]


def complaints(*, exact=False):
    """
    All that is wrong with the counters.

    ``exact``: nothing has happened since the last comparison, so that each bucket says what its entries say.
    """
    if not _anything_is_counted():
        return []
    found = []
    buckets = {pk: (Facts._make(facts), number) for pk, number, *facts in _rows(Bucket, Facts)}
    numbers, places = Counter(), Counter()
    for pk, bucket, row, differences in entries():
        if bucket is None:
            continue
        numbers[bucket] += 1
        places.update(bins_of(row))
        if bucket not in buckets:
            found.append(f"entry {pk} is in a bucket that is not there")
        elif not _alike(buckets[bucket][0], facts_of(row, differences), exact):
            found.append(f"entry {pk} says {facts_of(row, differences)}, its bucket {buckets[bucket][0]}")
    for pk, (facts, number) in buckets.items():
        if number != numbers[pk]:
            found.append(f"{numbers[pk]} entries are in a bucket of {number}: {facts}")
        if facts.course_id and pk != bucket_id(facts):
            found.append(f"a bucket has the id of another: {facts}")
    counted = Counter({Bin._make(place): number for _, number, *place in _rows(Histogram, Bin) if number})
    if counted != places:
        found.append(f"bins hold too much: {counted - places}, too little: {places - counted}")
        found += [f"below nothing: {place}" for place, number in counted.items() if number < 0]
    return found


def _anything_is_counted():
    """Whether an entry is in a bucket, or a counter above nothing: one statement, as most tests count nothing."""
    entry, bucket, bins = (model._meta.db_table for model in (LedgerEntry, Bucket, Histogram))
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT EXISTS(SELECT 1 FROM {bucket}), EXISTS(SELECT 1 FROM {bins} WHERE number <> 0),"
            f" EXISTS(SELECT 1 FROM {entry} WHERE bucket_id IS NOT NULL)"
        )
        return any(cursor.fetchone())


def _rows(model, fields):
    return model.objects.values_list("id", "number", *fields._fields)


def _alike(one, other, exact):
    if exact:
        return one == other
    later = int(_LATER)
    return _without(one, later) == _without(other, later)


def _without(facts, flags):
    return facts._replace(flags=facts.flags & ~flags, moved_on=None)


def assert_counters_equal_counts(*, exact=False):
    """Fail with all that is wrong."""
    assert complaints(exact=exact) == []


def forget_counters():
    """Let every entry be loose: for tests that write to entries what no part of the app would."""
    LedgerEntry.objects.update(bucket_id=None)
    Bucket.objects.all().delete()
    Histogram.objects.all().delete()
