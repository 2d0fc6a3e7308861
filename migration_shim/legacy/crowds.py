"""
Of a crowd, which rows decide about others: of a whole course perhaps, whose callbacks agree in their first 128
characters, so that XQueue takes all of its rows for attempts of one learner.

A page of a reconcile or a backfill needs few of them. The rest is not read: each page would hold the whole course.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from urllib.parse import unquote

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

    They are the newest row, and those of the same learner and problem as one of ``rows``: these are all attempts at the
    same inputs, and all that were sent twice. Only headers are read, with ``open_only`` those of unretired rows.
    """
    wanted = {_whose_problem(row.xqueue_header) for row in rows}
    found = _headers(crowd, open_only)
    return {max(crowd), *(row_id for row_id, header in found if _whose_problem(header) in wanted)}


def _headers(ids: list[int], open_only: bool) -> Iterator[tuple[int, str]]:
    columns, retired = ("id", "xqueue_header"), [False] if open_only else [False, True]
    for start in range(0, len(ids), HEADERS):
        page = ids[start : start + HEADERS]
        yield from bulk.select(LegacySubmission, columns, using=LEGACY_ALIAS, id=page, retired=retired)


def _whose_problem(header: str) -> str:
    """
    Return what names the problem and the learner in a header's callback, however its letters are quoted; empty where
    there is none. Only text is compared: to parse each callback of a crowd takes three times as long.
    """
    try:
        url = url_of_header(header)
    except Malformed:
        return ""
    return unquote(url.partition("?")[0].partition("#")[0]).lower()
