"""
Check that the counters of a course agree with its entries, which they always should. A difference raises an alarm and
is mended.

Entries and counters are read in one snapshot of the database, so what others write meanwhile is in both or in neither.
The difference is added to the counters like any other change, so what others have written since stays.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from django.db import connection, transaction

from ..core.buckets import Flag, facts_of
from ..core.data import State
from ..core.histograms import Kind, bins_of
from ..db import bulk
from ..metrics import count
from ..models import Bucket, Checkpoint, Histogram, LedgerEntry, Run
from ..runs import records as run_records
from . import counts
from .buckets import Changes, differences_of, rows_of, take_in

log = logging.getLogger(__name__)

#: Rows that are changed in one transaction.
BATCH = 500
_BUCKETS = """
SELECT id, SUM(number) FROM (
    SELECT bucket_id AS id, COUNT(*) AS number FROM {entries}
    WHERE course_id = %s AND bucket_id IS NOT NULL GROUP BY bucket_id
    UNION ALL SELECT id, -number FROM {buckets} WHERE course_id = %s
) AS counted GROUP BY id HAVING SUM(number) <> 0
"""
_BINS = """
SELECT kind, SUM(number) FROM (
    SELECT %s AS kind, number FROM {buckets} WHERE course_id = %s AND flags & %s <> 0
    UNION ALL SELECT %s, number FROM {buckets} WHERE course_id = %s AND flags & %s <> 0
    UNION ALL SELECT %s, number FROM {buckets} WHERE course_id = %s AND legacy_state = %s AND target_state = %s
    UNION ALL SELECT kind, -number FROM {bins} WHERE course_id = %s AND kind IN (%s, %s, %s)
) AS counted GROUP BY kind HAVING SUM(number) <> 0
"""
_TABLES = {"entries": LedgerEntry, "buckets": Bucket, "bins": Histogram}


class Difference(NamedTuple):
    """
    What does not add up in a course.

    By bucket, how many more entries stand in it than it says; and the histograms that hold another number of pairs than
    the buckets do.
    """

    buckets: dict[int, int]
    kinds: tuple[str, ...]

    @property
    def number(self) -> int:
        """The least number of counters that are wrong."""
        return len(self.buckets) + len(self.kinds)


def is_of_counters(reconciled: Run | None) -> bool:
    """
    Tell whether a reconcile has counted what it stored.

    Processes of the previous release, which still run while an upgrade is rolled out, change results and no counters.
    Only a full reconcile after theirs finds that.
    """
    return reconciled is not None and "counters_differed" in reconciled.document


def difference(course_id: str) -> Difference:
    """
    Return the difference between the counters of a course and its entries.

    Each of the two statements is one snapshot, whatever the isolation level of the connection. The first reads an index
    on the course's entries, and no entry. The sums of the histograms are compared with the buckets; that each pair
    stands in its own bin is not checked, because that would read every entry.
    """
    buckets = _ask(_BUCKETS, [course_id, course_id])
    return Difference(buckets={int(key): int(number) for key, number in buckets}, kinds=_kinds(course_id))


def _kinds(course_id: str) -> tuple[str, ...]:
    graded = State.GRADED.value
    timed, kinds = int(Flag.TIMED), (Kind.LEGACY_SECONDS.value, Kind.TARGET_SECONDS.value, Kind.CONFUSION.value)
    halves = (kinds[0], course_id, timed, kinds[1], course_id, timed, kinds[2], course_id, graded, graded)
    return tuple(sorted(str(kind) for kind, _ in _ask(_BINS, (*halves, course_id, *kinds))))


def _ask(statement: str, parameters: Sequence[str | int]) -> list[tuple[str | int, int]]:
    names = {key: connection.ops.quote_name(model._meta.db_table) for key, model in _TABLES.items()}
    with connection.cursor() as cursor:
        cursor.execute(statement.format(**names), parameters)
        return cursor.fetchall()


def mend(course_id: str) -> int:
    """
    Count the entries of a course, set its counters right, and return how many were wrong.

    A difference is logged as an error and counted (``counters_differ``), because no part of the app leaves one. Entries
    that the previous release has compared get their buckets, which counts as no difference.
    """
    _take_in(course_id)
    name = f"recount:{run_records.digest({'course': course_id})[:32]}"
    if not bulk.select(Checkpoint, ("id",), name=[name]):
        Checkpoint.objects.get_or_create(name=name)
    if connection.vendor == "mysql" and not connection.in_atomic_block:
        with connection.cursor() as cursor:  # of the next transaction: all its reads are of one moment
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    with transaction.atomic():
        # Of two at once the second would add the same difference again. The snapshot is that of the first read after.
        bulk.select(Checkpoint, ("id",), lock=True, name=[name])
        found = difference(course_id)
        if found.number:
            _add(course_id, found.buckets)
            # Where an entry is gone its bins were as full as its bucket, until this was set right.
            if kinds := _kinds(course_id) or found.kinds:
                found = found._replace(kinds=kinds)
                _add_bins(course_id)
    if found.number:
        count("counters_differ")
        log.error("migration_shim.counters_differ: %d counters of %s differed from its ledger", found.number, course_id)
    _sweep(course_id)
    return found.number


def _take_in(course_id: str) -> None:
    """Count the loose entries that were compared: a process of the previous release knows no buckets."""
    for ids in counts.compared_loose_pages(course_id, BATCH):
        take_in(ids)


def _add(course_id: str, found: dict[int, int]) -> None:
    changes = Changes()
    # A bucket that was left when its row was gone exists without a course; what stands in it would never be counted.
    Bucket.objects.filter(id__in=found).exclude(course_id=course_id).delete()
    there = set(Bucket.objects.filter(id__in=found).values_list("id", flat=True))
    for bucket, number in found.items():
        if bucket in there:
            changes.leave(bucket, -number)
        else:
            _add_row(changes, course_id, bucket, number)
    changes.write()


def _add_bins(course_id: str) -> None:
    changes = Changes()
    for place, number in _bins(course_id).items():
        changes.place([place], number)
    changes.write()


def _add_row(changes: Changes, course_id: str, bucket: int, number: int) -> None:
    """Create a bucket that entries stand in but that does not exist, with the facts of one of these entries."""
    # By the course, too: there is no index on the bucket alone.
    pk = LedgerEntry.objects.filter(course_id=course_id, bucket_id=bucket).values_list("pk", flat=True).first()
    if pk is not None:
        changes.name(bucket, facts_of(rows_of([pk])[pk], differences_of([pk]).get(pk)))
        changes.leave(bucket, -number)


def _bins(course_id: str) -> Counter:
    """Return by place how many more entries stand in it than it says. Reads every entry of the course."""
    found: Counter = Counter()
    entries, after = LedgerEntry.objects.filter(course_id=course_id, bucket_id__isnull=False).order_by("pk"), 0
    while ids := list(entries.filter(pk__gt=after).values_list("pk", flat=True)[: counts.PAGE]):
        after = ids[-1]
        found.update(place for row in rows_of(ids).values() for place in bins_of(row))
    for place, number in counts.counted_bins(course_id, *Kind):
        found[place] -= number
    return found


def _sweep(course_id: str) -> None:
    """Delete the counters in which no entry stands any more."""
    for model in (Bucket, Histogram):
        rows = bulk.ask(f"SELECT id FROM {model._meta.db_table} WHERE course_id = %s AND number = 0", [course_id])
        empty = sorted(pk for (pk,) in rows)
        for start in range(0, len(empty), BATCH):
            model.objects.filter(id__in=empty[start : start + BATCH], number=0).delete()
