"""
XQueue's rows by their callback URL, by which XQueue itself tells which submission replaces another. Its column, which
has an index, holds the first 128 characters.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from ..conf import LEGACY_ALIAS
from ..core.data import LegacyRow, Whose
from ..core.wire import parse_header
from ..db import bulk
from ..models import LegacySubmission
from .crowds import CROWD, deciding
from .rows import every, frozen, holdable


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
    for row in frozen(every().filter(lms_callback_url__in=_callbacks(rows)).order_by("id")):
        found[callback_key(row.lms_callback_url)].append(row)
    return found


def _callbacks(page: Iterable[LegacyRow]) -> list[str]:
    """Return the truncated callbacks of these rows, without those that the column cannot hold."""
    return holdable("lms_callback_url", {row.lms_callback_url for row in page})


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
    wanted = every().filter(id__in=outside)
    if open_only:
        wanted = wanted.filter(retired=False)
    return frozen(wanted.order_by("id"))


def open_rows(callback_url: str) -> list[LegacyRow]:
    """Return our unretired rows with the truncated callback of ``callback_url``. XQueue's index on it serves this."""
    found = frozen(every().filter(lms_callback_url=callback_url[:128], retired=False).order_by("id"))
    return [row for row in found if row.whose is Whose.OURS]


def with_callback(callback_url: str) -> list[LegacyRow]:
    """Return every row with the truncated callback of ``callback_url``, including retired rows and other LMSs' rows."""
    return frozen(every().filter(lms_callback_url=callback_url[:128]).order_by("id"))


def with_headers(headers: Iterable[str]) -> list[LegacyRow]:
    """
    Return every row with one of these headers, in one statement.

    XQueue's index on the callback finds them. Of a crowd that shares one, the server drops the others.

    Raises:
        Malformed: a header names no callback.
    """
    wanted = set(headers)
    urls = {parse_header(header).callback_url[:128] for header in wanted}
    found = every().filter(
        lms_callback_url__in=holdable("lms_callback_url", urls), xqueue_header__in=holdable("xqueue_header", wanted)
    )
    return [row for row in frozen(found.order_by("id")) if row.xqueue_header in wanted]
