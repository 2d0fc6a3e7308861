"""
Of a crowd, which rows decide about others: of a whole course perhaps, whose callbacks agree in their first 128
characters, so that XQueue takes all of its rows for attempts of one learner.

A page of a reconcile or a backfill needs few of them. The rest is not read: each page would hold the whole course.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..conf import LEGACY_ALIAS
from ..core.data import LegacyRow
from ..core.errors import Malformed
from ..core.wire import url_of_header
from ..db import bulk
from ..models import LegacySubmission

#: More rows than these that share a truncated callback are a crowd. Fewer are read, or compared by the server.
CROWD = 100
#: Headers that are read at once.
HEADERS = 5000


def deciding(crowd: list[int], rows: Iterable[LegacyRow], *, open_only: bool) -> set[int]:
    """
    Return the ids, of a crowd's, of the rows that may decide what these ``rows`` of the same crowd are.

    They are the newest row, and those with the whole callback of one of ``rows``: these are all attempts at the same
    inputs, and all that were sent twice. Only headers are read, with ``open_only`` those of unretired rows.
    """
    wanted = {_whole_callback(row.xqueue_header) for row in rows}
    found = _headers(crowd, open_only)
    return {max(crowd), *(row_id for row_id, header in found if _whole_callback(header) in wanted)}


def _headers(ids: list[int], open_only: bool) -> Iterator[tuple[int, str]]:
    columns, retired = ("id", "xqueue_header"), [False] if open_only else [False, True]
    for start in range(0, len(ids), HEADERS):
        page = ids[start : start + HEADERS]
        yield from bulk.select(LegacySubmission, columns, using=LEGACY_ALIAS, id=page, retired=retired)


def _whole_callback(header: str) -> str:
    """Return the full callback of a header, without regard to case, as XQueue compares it; empty where it has none."""
    try:
        return url_of_header(header).lower()
    except Malformed:
        return ""
