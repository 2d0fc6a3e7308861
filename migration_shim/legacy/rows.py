"""
Read XQueue's table: frozen rows, in keyset pages. Nothing here writes.

Every row says whose it is, because another LMS may use the same XQueue, with the same course ids. What is ours is
decided here, once; code that classifies, links, counts or supersedes rows goes by it
(``core.classification.parse_row``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import connections
from django.db.models import Max, Min, Q, QuerySet
from django.db.models.expressions import RawSQL

from ..conf import LEGACY_ALIAS
from ..core.data import LegacyRow, Whose
from ..core.hosts import whose_header
from ..core.wire import parse_header
from ..db import bulk, converted
from ..fields import exact, holds
from ..ledger import hosts
from ..models import LegacySubmission
from .crowds import CROWD, deciding

_COLUMNS = tuple(name for name in LegacyRow.__dataclass_fields__ if name != "whose")
_HEADER = _COLUMNS.index("xqueue_header")


def _rows(queryset: QuerySet[LegacySubmission]) -> list[LegacyRow]:
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


def _all() -> QuerySet[LegacySubmission]:
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
    return _rows(_walk(after, unretired_only, upto)[:size])


def range_ends(*, after: int, unretired_only: bool, size: int) -> Iterator[int]:
    """Yield the ids that cut the rows above ``after`` into ranges of ``size`` rows; the last range may hold fewer."""
    last = _walk(0, unretired_only).order_by("-id").values_list("id", flat=True).first() or 0
    while after < last:
        end = _walk(after, unretired_only, last).values_list("id", flat=True)[size - 1 : size].first()
        after = end or last
        yield after


def _walk(after: int, unretired_only: bool, upto: int | None = None) -> QuerySet[LegacySubmission]:
    rows = _all().filter(retired=False) if unretired_only else _all()
    rows = rows.filter(id__gt=after) if upto is None else rows.filter(id__gt=after, id__lte=upto)
    return rows.order_by("id")


def count(*, after: int, unretired_only: bool) -> int:
    """Return how many rows have an id above ``after``."""
    return _walk(after, unretired_only).count()


def by_id(ids: Iterable[int]) -> dict[int, LegacyRow]:
    """Return the rows with these ids, by id. Missing rows are left out."""
    return {row.id: row for row in _rows(_all().filter(id__in=bulk.listed(ids)))}


def by_id_with(ids: Iterable[int], sql: str) -> dict[int, tuple[LegacyRow, Any]]:
    """Return the rows with these ids, by id, each with the value of an SQL expression over ``queue_submission``."""
    wanted = _all().filter(id__in=bulk.listed(ids)).annotate(_more=RawSQL(sql, ()))  # noqa: S611 - never of input
    rows = _converted(wanted.values_list(*_COLUMNS, "_more"))
    made = _made([row[: len(_COLUMNS)] for row in rows])
    return {row.id: (row, values[-1]) for row, values in zip(made, rows, strict=True)}


def existing(ids: Iterable[int]) -> set[int]:
    """Return which of these ids exist."""
    return {row_id for (row_id,) in bulk.select(LegacySubmission, ("id",), using=LEGACY_ALIAS, id=list(ids))}


def callback_key(url: str) -> str:
    """
    Return the key by which XQueue compares callbacks: two rows supersede each other where it is equal.

    XQueue's database compares the first 128 characters, without regard to case.
    """
    return url[:128].lower()


def siblings(rows: Iterable[LegacyRow]) -> dict[str, list[LegacyRow]]:
    """
    Return all rows that share the truncated callback of any of ``rows``, these included, by ``callback_key``.

    XQueue's index on ``lms_callback_url`` serves it.
    """
    found: dict[str, list[LegacyRow]] = defaultdict(list)
    for row in _rows(_all().filter(lms_callback_url__in=_callbacks(rows)).order_by("id")):
        found[callback_key(row.lms_callback_url)].append(row)
    return found


def _callbacks(page: Iterable[LegacyRow]) -> list[str]:
    """Return the truncated callbacks of these rows, without those that the column cannot hold."""
    return holdable("lms_callback_url", {row.lms_callback_url for row in page})


def holdable(column: str, texts: Iterable[str]) -> list[str]:
    """Return those of these texts that a column can hold: with the others XQueue has no row."""
    here, field = connections[LEGACY_ALIAS], LegacySubmission._meta.get_field(column)
    return [text for text in texts if holds(here, field, text)]


def sibling_ids(page: Iterable[LegacyRow]) -> dict[str, list[int]]:
    """
    Return the ids of all rows that share a truncated callback with one of ``page``, by ``callback_key``.

    Only the index is read.
    """
    found: dict[str, list[int]] = defaultdict(list)
    wanted = ("id", "lms_callback_url")
    for row_id, url in bulk.select(LegacySubmission, wanted, using=LEGACY_ALIAS, lms_callback_url=_callbacks(page)):
        found[callback_key(url)].append(row_id)
    return found


def siblings_outside(page: Iterable[LegacyRow], *, retired_too: bool = False) -> list[LegacyRow]:
    """
    Return the rows outside of ``page`` that share the truncated callback of one of its rows, of a crowd only those that
    may decide what a row of the page is (see ``crowds``).

    The ids come first, from XQueue's index on ``lms_callback_url``. Most rows have no sibling, so their rows are not
    read twice. What became of an unretired row cannot depend on a retired one. So for a page of unretired rows no more
    of a learner's past is read, unless ``retired_too`` asks for it.
    """
    rows = {row.id: row for row in page}
    open_only = not retired_too and not any(row.retired for row in rows.values())
    outside: list[int] = []
    for key, ids in sibling_ids(rows.values()).items():
        beside = [row_id for row_id in ids if row_id not in rows]
        if len(beside) > CROWD:
            same = [row for row in rows.values() if callback_key(row.lms_callback_url) == key]
            outside += deciding(beside, same, open_only=open_only)
        else:
            outside += beside
    if not outside:
        return []
    wanted = _all().filter(id__in=outside)
    if open_only:
        wanted = wanted.filter(retired=False)
    return _rows(wanted.order_by("id"))


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
    recent = _all().filter(id__gt=after, arrival_time__gte=now - timedelta(seconds=overlap_seconds)).order_by("id")
    oldest = recent.values_list("id", flat=True).first()
    settled = _all() if oldest is None else _all().filter(id__lt=oldest)
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
    queryset = _all().filter(~failed_push, lms_ack=True, retired=True)
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
    ids = _all().aggregate(first=Min("id"), last=Max("id"))
    found = by_id(set(ids.values()) - {None})
    return (found[min(found)], found[max(found)]) if found else None


def newest(*, upto: int) -> LegacyRow | None:
    """Return the row with the highest id that is not above ``upto``, or None."""
    return next(iter(_rows(_all().filter(id__lte=upto).order_by("-id")[:1])), None)


def open_rows(callback_url: str) -> list[LegacyRow]:
    """Return our unretired rows with the truncated callback of ``callback_url``. XQueue's index on it serves this."""
    found = _rows(_all().filter(lms_callback_url=callback_url[:128], retired=False).order_by("id"))
    return [row for row in found if row.whose is Whose.OURS]


def with_callback(callback_url: str) -> list[LegacyRow]:
    """Return every row with the truncated callback of ``callback_url``, including retired rows and other LMSs' rows."""
    return _rows(_all().filter(lms_callback_url=callback_url[:128]).order_by("id"))


def with_headers(headers: Iterable[str]) -> list[LegacyRow]:
    """
    Return every row with one of these headers, in one statement.

    XQueue's index on the callback finds them. Of a crowd that shares one, the server drops the others.

    Raises:
        Malformed: a header names no callback.
    """
    wanted = set(headers)
    urls = {parse_header(header).callback_url[:128] for header in wanted}
    found = _all().filter(
        lms_callback_url__in=holdable("lms_callback_url", urls), xqueue_header__in=holdable("xqueue_header", wanted)
    )
    return [row for row in _rows(found.order_by("id")) if row.xqueue_header in wanted]


def was_pulled_since(queue_name: str, moment: datetime) -> bool:
    """Tell whether a grader has pulled a row of this queue since ``moment``, by the clock of XQueue's service."""
    # ``retired`` is named so that XQueue's index on (queue_name, retired, pull_time) serves it.
    rows = _all().filter(queue_name=queue_name, retired__in=(False, True), pull_time__gte=moment)
    return queue_name in exact(rows, "queue_name")


def has_queue(queue_name: str) -> bool:
    """Tell whether XQueue has a row, finished or not, of exactly this queue."""
    rows = _all().filter(queue_name=queue_name, retired__in=(False, True))  # as above
    return rows.filter(queue_name__startswith=queue_name).exists()  # byte for byte, which the collation is not
