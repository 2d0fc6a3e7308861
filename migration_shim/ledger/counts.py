"""
Read the counters of courses. Loose entries, which no comparison has counted yet, are read one by one.

So a count costs as much as there are buckets (problems times days, with some for each) and entries that came since the
last reconcile, however large the ledger is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from django.db.models import Count, F, Q, QuerySet, Sum

from ..core.buckets import Facts, Flag, Row, bucket_id, facts_of
from ..core.histograms import Bin, Kind, bins_of
from ..db import bulk
from ..models import Bucket, CoursePhase, Histogram, LedgerEntry
from .buckets import differences_of, rows_of

PAGE = 2000
_OF_BUCKETS = f"FROM {Bucket._meta.db_table} WHERE course_id = %s AND number <> 0"
_OF_LOOSE = f"FROM {LedgerEntry._meta.db_table} WHERE course_id = %s AND bucket_id IS NULL"
_BUCKETS = f"SELECT id, number, {', '.join(Facts._fields)} {_OF_BUCKETS}"
_BINS = f"SELECT number, {', '.join(Bin._fields)} FROM {Histogram._meta.db_table} WHERE course_id = %s AND number <> 0"
_LOOSE = f"SELECT id {_OF_LOOSE}"
_QUEUES = " UNION ALL ".join(
    f"SELECT MIN(queue_name) {entries} GROUP BY MD5(queue_name)" for entries in (_OF_BUCKETS, _OF_LOOSE)
)
Numbers = list[tuple[Facts, int]]


def loose_of(course_id: str) -> QuerySet[LedgerEntry]:
    """Return the entries of a course that stand in no bucket."""
    return LedgerEntry.objects.filter(course_id=course_id, bucket_id=None)


def facts(course_id: str, wanted: Q | None = None) -> Numbers:
    """
    Return the facts of a course's entries, with how many entries share them.

    Args:
        course_id: the course.
        wanted: which of the loose entries are counted; None for all.
    """
    return joined(bucketed(course_id), loose(course_id, wanted))


def joined(compared: Numbers, still_loose: Counter[Facts]) -> Numbers:
    """Return the numbers of counted and loose entries together: equal facts have one number."""
    found = Counter(still_loose)
    for one, number in compared:
        found[one] += number
    return list(found.items())


def bucketed(course_id: str) -> Numbers:
    """Return the facts of a course's entries that stand in a bucket, with how many entries share them."""
    return list(buckets(course_id).values())


def buckets(course_id: str) -> dict[int, tuple[Facts, int]]:
    """Return the buckets of a course in which entries stand, by id: their facts, and how many entries."""
    return {pk: (Facts._make(values), number) for pk, number, *values in bulk.ask(_BUCKETS, [course_id])}


def loose(course_id: str, wanted: Q | None = None) -> Counter[Facts]:
    """Return the facts of a course's loose entries, with how many entries share them. ``wanted`` is as in ``facts``."""
    return Counter(facts for facts, _ in _loose_facts(course_id, wanted))


def among(course_id: str, asked: Collection[Facts], wanted: Q) -> Counter[Facts]:
    """
    Return how many entries of the buckets ``asked`` meet the condition ``wanted``. All entries of these buckets are
    read.

    This serves questions about times within a day, because a bucket knows no hour.
    """
    by_id = {bucket_id(facts): facts for facts in asked}
    rows = LedgerEntry.objects.filter(wanted, course_id=course_id, bucket_id__in=by_id).order_by()
    found = Counter({by_id[pk]: number for pk, number in rows.values_list("bucket_id").annotate(Count("id"))})
    found.update({facts: number for facts, number in loose(course_id, wanted).items() if facts in by_id.values()})
    return found


def bins(course_id: str, *kinds: Kind, wanted: Q | None = None) -> list[tuple[Bin, int]]:
    """
    Return the bins of some histograms of a course, with how many entries each holds. ``wanted`` is as in ``facts``.
    """
    more: Counter[Bin] = Counter()
    for page in _loose_rows(course_id, wanted):
        more.update(place for _, row in page for place in bins_of(row) if place.kind in kinds)
    return [*counted_bins(course_id, *kinds), *more.items()]


def counted_bins(course_id: str, *kinds: Kind) -> list[tuple[Bin, int]]:
    """Return the bins of some histograms of a course, with how many entries that stand in a bucket each holds."""
    among = ", ".join(["%s"] * len(kinds))
    rows = bulk.ask(f"{_BINS} AND kind IN ({among})", [course_id, *kinds])
    return [(Bin._make(values), number) for number, *values in rows]


def loose_with_bins(course_id: str) -> tuple[Counter[Facts], Counter[Bin]]:
    """Return what ``loose`` returns, and the bins in which these entries would stand."""
    found: Counter[Facts] = Counter()
    places: Counter[Bin] = Counter()
    for facts, row in _loose_facts(course_id, None):
        found[facts] += 1
        places.update(bins_of(row))
    return found, places


def loose_pages(course_id: str, wanted: Q | None = None) -> Iterator[list[int]]:
    """
    Yield the ids of the loose entries of a course in pages, by one statement. ``wanted`` is as in ``facts``.

    These are not keyset pages: while nothing stands in a bucket, MariaDB would read the course's index from its
    beginning for each of them.
    """
    if wanted is not None:
        return _cut(loose_of(course_id).filter(wanted).order_by().values_list("pk", flat=True), PAGE)
    return _cut((pk for (pk,) in bulk.ask(_LOOSE, [course_id])), PAGE)


def compared_loose_pages(course_id: str, size: int) -> Iterator[list[int]]:
    """Yield the ids of the loose entries of a course that were compared, like ``loose_pages``."""
    return _cut((pk for (pk,) in bulk.ask(f"{_LOOSE} AND compared_at IS NOT NULL", [course_id])), size)


def _cut(ids: Iterable[int], size: int) -> Iterator[list[int]]:
    there = sorted(ids)
    yield from (there[start : start + size] for start in range(0, len(there), size))


def _loose_rows(course_id: str, wanted: Q | None) -> Iterator[list[tuple[int, Row]]]:
    for ids in loose_pages(course_id, wanted):
        yield list(rows_of(ids).items())


def _loose_facts(course_id: str, wanted: Q | None) -> Iterator[tuple[Facts, Row]]:
    for page in _loose_rows(course_id, wanted):
        differences = differences_of([pk for pk, _ in page])
        yield from ((facts_of(row, differences.get(pk)), row) for pk, row in page)


def queues(course_id: str) -> list[str]:
    """Return the queues of a course, by the names that CAPA gave them, byte for byte (see ``fields.exact``)."""
    return sorted({name for (name,) in bulk.ask(_QUEUES, [course_id, course_id])})


def queues_of_all() -> set[str]:
    """Return the queues of all courses. A statement for each course: ask for it where there is a doubt only."""
    return {name for course_id in courses() for name in queues(course_id)}


def courses() -> list[str]:
    """Return all courses that have an entry. The database skips from one to the next in the index."""
    return sorted(LedgerEntry.objects.order_by().values_list("course_id", flat=True).distinct())


def known_courses() -> list[str]:
    """Return every course that has a phase on record or a ledger entry."""
    phases = set(CoursePhase.objects.values_list("course_id", flat=True))
    return sorted(phases | set(courses()))


class Size(NamedTuple):
    """The number of a course's entries, and of those whose residue was dropped."""

    entries: int
    dropped: int


def sizes() -> dict[str, Size]:
    """Return the size of every course's ledger, by course. Three statements, however many courses there are."""
    found = dict.fromkeys(courses(), Size(0, 0))
    compared = Bucket.objects.order_by().annotate(bit=F("flags").bitand(int(Flag.PURGED))).values_list("course_id")
    still_loose = LedgerEntry.objects.filter(course_id__in=found, bucket_id=None).order_by().values_list("course_id")
    for rows in (
        compared.annotate(entries=Sum("number"), dropped=Sum("number", filter=~Q(bit=0))),
        still_loose.annotate(entries=Count("id"), dropped=Count("purged_at")),
    ):
        for course_id, entries, dropped in rows:
            before = found.get(course_id, Size(0, 0))
            found[course_id] = Size(before.entries + entries, before.dropped + (dropped or 0))
    return found
