"""
Read XQueue's table: frozen rows, in keyset pages and by their ids. Nothing here writes.

``by_callback`` reads the rows that share a callback.

Every row says whose it is, because another LMS may use the same XQueue, with the same course ids. What is ours is
decided here, once; code that classifies, links, counts or supersedes rows goes by it
(``core.classification.parse_row``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import connections
from django.db.models import Max, Min, Q, QuerySet
from django.db.models.expressions import RawSQL

from ..conf import LEGACY_ALIAS
from ..core.data import LegacyRow, Whose
from ..core.hosts import whose_header
from ..db import bulk, converted
from ..fields import exact, holds
from ..ledger import hosts
from ..models import LegacySubmission

_COLUMNS = tuple(name for name in LegacyRow.__dataclass_fields__ if name != "whose")
_HEADER = _COLUMNS.index("xqueue_header")


def frozen(queryset: QuerySet[LegacySubmission]) -> list[LegacyRow]:
    """Return the rows of a queryset, with whose each is."""
    return _made(_converted(queryset.values_list(*_COLUMNS)))


def _made(rows: Sequence[Sequence[Any]]) -> list[LegacyRow]:
    if not rows:
        return []
    known = hosts.known()
    # One value per column; mypy takes the star for any number of values.
    return [LegacyRow(*values, whose_header(values[_HEADER], known)) for values in rows]  # type: ignore[call-arg]


def _converted(queryset: QuerySet[LegacySubmission, Any]) -> list[tuple[Any, ...]]:
    """Return the rows of a ``values_list`` of ``_COLUMNS``, and of what else stands behind them."""
    return converted.values(LegacySubmission, _COLUMNS, bulk.raw(queryset), using=LEGACY_ALIAS)


def every() -> QuerySet[LegacySubmission]:
    """Return a queryset of all rows, of every LMS."""
    return LegacySubmission.objects.using(LEGACY_ALIAS)


def id_pages(*, after: int, size: int) -> Iterator[list[int]]:
    """Yield the ids of all rows above ``after``, in ascending order, in pages of ``size``. No row is read for it."""
    ids = _walk(after, unretired_only=False).values_list("id", flat=True)
    while page := list(ids.filter(id__gt=after)[:size]):
        yield page
        after = page[-1]


def newest_arrival(*, after: int, upto: int) -> datetime | None:
    """Return when the newest row with an id above ``after`` and up to ``upto`` arrived; None where none is left."""
    return _walk(after, unretired_only=False, upto=upto).aggregate(newest=Max("arrival_time"))["newest"]


def page(*, after: int, unretired_only: bool, size: int, upto: int | None = None) -> list[LegacyRow]:
    """
    Return the first ``size`` rows with an id above ``after`` and, where it is given, not above ``upto``, by id.

    Keyset pages are used because Django's ``iterator()`` holds the whole result in memory on MySQL. XQueue's index on
    ``retired`` serves unretired rows, the primary key serves all rows.
    """
    return frozen(_walk(after, unretired_only, upto)[:size])


def range_ends(*, after: int, unretired_only: bool, size: int) -> Iterator[int]:
    """Yield the ids that cut the rows above ``after`` into ranges of ``size`` rows; the last range may hold fewer."""
    last = _walk(0, unretired_only).order_by("-id").values_list("id", flat=True).first() or 0
    while after < last:
        end = _walk(after, unretired_only, last).values_list("id", flat=True)[size - 1 : size].first()
        after = end or last
        yield after


def _walk(after: int, unretired_only: bool, upto: int | None = None) -> QuerySet[LegacySubmission]:
    rows = every().filter(retired=False) if unretired_only else every()
    rows = rows.filter(id__gt=after) if upto is None else rows.filter(id__gt=after, id__lte=upto)
    return rows.order_by("id")


def count(*, after: int, unretired_only: bool) -> int:
    """Return how many rows have an id above ``after``."""
    return _walk(after, unretired_only).count()


def by_id(ids: Iterable[int]) -> dict[int, LegacyRow]:
    """Return the rows with these ids, by id. Missing rows are left out."""
    return {row.id: row for row in frozen(every().filter(id__in=bulk.listed(ids)))}


def by_id_with(ids: Iterable[int], sql: str) -> dict[int, tuple[LegacyRow, Any]]:
    """Return the rows with these ids, by id, each with the value of an SQL expression over ``queue_submission``."""
    wanted = every().filter(id__in=bulk.listed(ids)).annotate(_more=RawSQL(sql, ()))  # noqa: S611 - never of input
    rows = _converted(wanted.values_list(*_COLUMNS, "_more"))
    made = _made([row[: len(_COLUMNS)] for row in rows])
    return {row.id: (row, values[-1]) for row, values in zip(made, rows, strict=True)}


def existing(ids: Iterable[int]) -> set[int]:
    """Return which of these ids exist."""
    return {row_id for (row_id,) in bulk.select(LegacySubmission, ("id",), using=LEGACY_ALIAS, id=list(ids))}


def holdable(column: str, texts: Iterable[str]) -> list[str]:
    """Return those of these texts that a column can hold: with the others XQueue has no row."""
    here, field = connections[LEGACY_ALIAS], LegacySubmission._meta.get_field(column)
    return [text for text in texts if holds(here, field, text)]


def safe_checkpoint(overlap_seconds: int, now: datetime, *, after: int = 0) -> int:
    """
    Return the highest id that a checkpoint may name: that of the last row below all that arrived within the overlap.

    Ids are handed out before a transaction commits, so a lower id may still appear after a higher one was read. An id
    that no row has yet is never returned.

    Args:
        overlap_seconds: how long a transaction of XQueue may take to commit.
        now: until when the server has all rows: ``primary.seen_until()``.
        after: where the checkpoint stands. It has passed nothing recent, and rows below it are not read again, because
            no index of XQueue's serves the time of arrival.
    """
    recent = every().filter(id__gt=after, arrival_time__gte=now - timedelta(seconds=overlap_seconds)).order_by("id")
    oldest = recent.values_list("id", flat=True).first()
    settled = every() if oldest is None else every().filter(id__lt=oldest)
    return settled.order_by("-id").values_list("id", flat=True).first() or 0


def is_any_above(row_id: int) -> bool:
    """Tell whether there is any row with a higher id."""
    found = bulk.ask("SELECT id FROM queue_submission WHERE id > %s LIMIT 1", [row_id], using=LEGACY_ALIAS)
    return bool(found)


def clock() -> datetime:
    """Return the legacy database's own time, aware, in UTC."""
    connection = connections[LEGACY_ALIAS]
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("SELECT strftime('%%Y-%%m-%%dT%%H:%%M:%%f+00:00', 'now')", [])
        else:
            cursor.execute("SELECT DATE_FORMAT(UTC_TIMESTAMP(6), '%%Y-%%m-%%dT%%H:%%i:%%s.%%f+00:00')", [])
        return datetime.fromisoformat(cursor.fetchone()[0])


def acknowledged_headers(*, size: int) -> Iterator[tuple[int, str]]:
    """Yield (id, xqueue_header) of our rows whose return the LMS acknowledged, in ascending order of id."""
    after = 0
    # XQueue itself has reported to the LMS what it could not push; see core.classification.is_failed_push.
    failed_push = Q(push_time__isnull=False, num_failures__gt=0, grader_reply="")
    queryset = every().filter(~failed_push, lms_ack=True, retired=True)
    while page := list(queryset.filter(id__gt=after).order_by("id").values_list("id", "xqueue_header")[:size]):
        yield from ((row_id, header) for row_id, header in page if hosts.of_header(header) is Whose.OURS)
        after = page[-1][0]


def headers(*, size: int) -> Iterator[list[tuple[int, str]]]:
    """
    Yield pages of (id, xqueue_header) of every LMS's rows, by ascending id. Headers show whose a row is, without
    answers.
    """
    after = 0
    while page := list(_walk(after, unretired_only=False).values_list("id", "xqueue_header")[:size]):
        yield page
        after = page[-1][0]


def oldest_and_newest() -> tuple[LegacyRow, LegacyRow] | None:
    """Return the oldest and the newest row by id, or None where there are no rows."""
    ids = every().aggregate(first=Min("id"), last=Max("id"))
    found = by_id(set(ids.values()) - {None})
    return (found[min(found)], found[max(found)]) if found else None


def newest(*, upto: int) -> tuple[int, datetime] | None:
    """Return the highest id that is not above ``upto``, with the time of arrival of its row; None without a row."""
    sql = "SELECT id, arrival_time FROM queue_submission WHERE id <= %s ORDER BY id DESC LIMIT 1"
    found = bulk.ask(sql, [upto], using=LEGACY_ALIAS)
    return next(((row_id, bulk.moment(at, connections[LEGACY_ALIAS].timezone)) for row_id, at in found), None)


def was_pulled_since(queue_name: str, moment: datetime) -> bool:
    """Tell whether a grader has pulled a row of this queue since ``moment``, by the clock of XQueue's service."""
    # ``retired`` is named so that XQueue's index on (queue_name, retired, pull_time) serves it.
    rows = every().filter(queue_name=queue_name, retired__in=(False, True), pull_time__gte=moment)
    return queue_name in exact(rows, "queue_name")


def has_queue(queue_name: str) -> bool:
    """Tell whether XQueue has a row, finished or not, of exactly this queue."""
    rows = every().filter(queue_name=queue_name, retired__in=(False, True))  # as above
    return rows.filter(queue_name__startswith=queue_name).exists()  # byte for byte, which the collation is not
