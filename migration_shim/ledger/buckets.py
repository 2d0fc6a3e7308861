"""
Counters over the ledger: each compared entry stands in one bucket and in some bins, and is counted there.

``number`` of a bucket is how many entries have its id. So whoever changes what an entry is counted by changes the
counters in the same transaction: it locks the entries first, and writes the counters last and in the order of their
ids. Nobody waits for an entry while holding a counter, and two who write at once wait for each other in one order only.
See docs/decisions/0032.

An entry without a bucket is loose: it was not compared yet, and counting reads it itself (``counts.py``). The router
and the import write loose entries, and touch no counter.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from typing import Any, NamedTuple

from django.db import connection, models, transaction

from ..core.buckets import Facts, Row, bucket_id, facts_of
from ..core.histograms import Bin, bin_id, bins_of
from ..db import bulk, bulk_insert, converted
from ..models import Bucket, Divergence, Histogram, LedgerEntry

#: The columns that are read of an entry to count it, in the order of ``Row``.
COLUMNS = Row._fields
#: Rows of one statement; a transaction rarely has more.
AT_ONCE = 500
#: Stands for unknown facts of a bucket whose row exists and only changes its number.
_NOBODY = Facts("", "", "", date(1970, 1, 1), None, None, "", "", "", "", "", "", "", "", 0)


class CountedEntry(NamedTuple):
    """Where an entry is counted now, read under its lock."""

    bucket_id: int | None
    row: Row
    also: tuple[Any, ...] = ()


class Changes:
    """
    What one transaction changes of the counters.

    These are plain tuples, no instances: a comparison makes thousands at a time. ``write`` has to come last in the
    transaction, once, and the transaction has to hold the locks of the entries.
    """

    def __init__(self) -> None:
        self._ids: dict[Facts, int] = {}
        self._facts: dict[int, Facts] = {}
        self._numbers: Counter[int] = Counter()
        self._bins: Counter[Bin] = Counter()

    def add(self, facts: Facts, number: int = 1) -> int:
        """
        Count ``number`` entries in the bucket of these facts, and return the bucket's id, which the entries have to
        get.
        """
        found = self._ids.get(facts)
        if found is None:
            found = self._ids[facts] = bucket_id(facts)
            self._facts[found] = facts
        self._numbers[found] += number
        return found

    def name(self, bucket: int, facts: Facts) -> None:
        """Give the facts of a bucket whose row may not exist yet."""
        self._facts[bucket] = facts

    def leave(self, old: int | None, number: int = 1) -> None:
        """Take ``number`` entries out of a bucket, by its id; None, for loose entries, changes nothing."""
        if old is not None:
            self._numbers[old] -= number

    def place(self, bins: Iterable[Bin], number: int = 1) -> None:
        """Count ``number`` entries in each of these bins; a negative number takes them back."""
        for one in bins:
            self._bins[one] += number

    def move(self, old: CountedEntry, row: Row, differences: Mapping[str, int | None] | None = None) -> int:
        """
        Count an entry as it is now and no longer as it was, and return the id of its bucket.

        Args:
            old: the entry as it was read under its lock.
            row: its columns as they are now.
            differences: as ``facts_of`` takes them.
        """
        self.leave(old.bucket_id)
        if old.bucket_id is not None:
            self.place(bins_of(old.row), -1)
        self.place(bins_of(row))
        return self.add(facts_of(row, differences))

    def write(self) -> None:
        """
        Add everything to the counters, in one statement per table and ``AT_ONCE`` rows. Without changes there is none.
        """
        _add(Bucket, Facts._fields, {key: self._facts.get(key, _NOBODY) for key in self._numbers}, self._numbers)
        bins = {bin_id(place): place for place in self._bins}
        _add(Histogram, Bin._fields, bins, {key: self._bins[place] for key, place in bins.items()})
        for used in (self._ids, self._facts, self._numbers, self._bins):
            used.clear()


def _add(
    model: type[models.Model], names: tuple[str, ...], rows: Mapping[int, Any], numbers: Mapping[int, int]
) -> None:
    """Add to rows in the order of their ids, and create those that do not exist yet."""
    quote = connection.ops.quote_name
    number = quote("number")
    ids = sorted(key for key, change in numbers.items() if change)
    columns = ", ".join(map(quote, ("id", *names, "number")))
    tail = f" ON CONFLICT (id) DO UPDATE SET {number} = {number} + excluded.{number}"
    if connection.vendor == "mysql":
        tail = f" ON DUPLICATE KEY UPDATE {number} = {number} + VALUES({number})"
    head = f"INSERT INTO {quote(model._meta.db_table)} ({columns}) VALUES "
    for start in range(0, len(ids), AT_ONCE):
        some = [(key, *map(_plain, rows[key]), numbers[key]) for key in ids[start : start + AT_ONCE]]
        with connection.cursor() as cursor:
            values, parameters = bulk_insert.written(list(zip(*some, strict=True)), [])
            cursor.execute(head + values + tail, parameters)


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value


def counted_entries(ids: Collection[int], *also: str) -> dict[int, CountedEntry]:
    """
    Lock these entries and return where each is counted, with its values of the columns ``also``.

    To be called inside a transaction.
    """
    rows = converted.locked(LedgerEntry, ("id", "bucket_id", *COLUMNS, *also), ids)
    end = 2 + len(COLUMNS)
    return {row[0]: CountedEntry(row[1], Row._make(row[2:end]), row[end:]) for row in rows}


def rows_of(ids: Collection[int]) -> dict[int, Row]:
    """Return the columns of these entries, without locking them."""
    rows = LedgerEntry.objects.filter(pk__in=bulk.listed(ids)).order_by()
    return {pk: Row._make(row) for pk, *row in rows.values_list("pk", *COLUMNS)}


def differences_of(ids: Collection[int]) -> dict[int, dict[str, int | None]]:
    """
    Return each entry's divergences that are not signed for, each with the number of what covers it.

    An entry without any is left out.
    """
    found: dict[int, dict[str, int | None]] = defaultdict(dict)
    rows = Divergence.objects.filter(entry_id__in=bulk.listed(ids), cured_at=None).order_by()
    for pk, klass, known in rows.values_list("entry_id", "klass", "known_id"):
        found[pk][klass] = known
    return found


@contextmanager
def counted(ids: Collection[int], changes: Changes | None = None) -> Iterator[None]:
    """
    Recount entries that the block changes, in one transaction. Loose entries stay loose.

    Such blocks must not be nested over the same entries: each takes them out of the bucket that they stood in before
    it.

    Args:
        ids: the entries that may be changed; they are locked.
        changes: those of a longer transaction that locks more entries and writes them itself, at its end.
    """
    with transaction.atomic():
        before = {pk: old for pk, old in counted_entries(ids).items() if old.bucket_id is not None}
        yield
        mine = Changes() if changes is None else changes
        _count_again(before, mine)
        if changes is None:
            mine.write()


def take_in(ids: Collection[int]) -> None:
    """Count loose entries as they are now."""
    changes = Changes()
    with transaction.atomic():
        loose = {pk: old for pk, old in counted_entries(ids).items() if old.bucket_id is None}
        differences = differences_of(loose) if loose else {}
        to: dict[int, list[int]] = defaultdict(list)
        for pk, old in loose.items():
            to[changes.move(old, old.row, differences.get(pk))].append(pk)
        _give(to)
        changes.write()


def _give(to: Mapping[int, list[int]]) -> None:
    """Store on the entries in which bucket they stand. ``to`` has their ids by bucket."""
    for bucket, pks in sorted(to.items()):
        LedgerEntry.objects.filter(pk__in=pks).update(bucket_id=bucket)


def _count_again(before: dict[int, CountedEntry], changes: Changes) -> None:
    after = counted_entries(before) if before else {}
    differences = differences_of(after) if after else {}
    to: dict[int, list[int]] = defaultdict(list)
    for pk, old in before.items():
        now_there = after.get(pk)
        if now_there is None:  # it was removed
            changes.leave(old.bucket_id)
            changes.place(bins_of(old.row), -1)
            continue
        new = changes.move(old, now_there.row, differences.get(pk))
        if new != old.bucket_id:
            to[new].append(pk)
    _give(to)
