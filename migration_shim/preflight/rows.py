"""Count a course's legacy rows: read once in the order of their ids, each with the rows that share its callback."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator

from ..backfill import classing
from ..conf import ShimSettings
from ..core.classification import ParsedRow, parse_row
from ..core.data import LegacyRow, Whose
from ..core.hosts import course_of_header, host_of_header, whose
from ..core.row_counts import CourseRowCounts, RowContext
from ..core.siblings import Siblings
from ..ledger import hosts
from ..legacy import by_callback, reading
from ..legacy import rows as legacy_rows
from ..lms import lti
from ..lms.points import points_possible
from ..models import Run
from ..runs import records as run_records
from ..target import prediction

#: Headers, and rows with their answers, that are held in memory at once.
HEADERS, PAGE = 2000, 500
#: A callback with more rows than this has them read once and kept without answers.
LARGE = 100


def count_rows(
    course_id: str,
    settings: ShimSettings,
    record: Run,
    progress: Callable[[int, int], None],
    *,
    predictable: bool,
    by_host: Counter[str],
) -> CourseRowCounts:
    """
    Count every legacy row of a course, except those of other LMSs.

    Args:
        course_id: the course, in its canonical form.
        settings: the settings in force.
        record: the run's record, whose heartbeat is kept alive.
        progress: called with (headers read, rows of all courses).
        predictable: whether the installed edx-submissions can tell what it would store for a reply.
        by_host: a counter to which the course's rows are added by callback host, those of other LMSs included.
    """
    counted, families = CourseRowCounts(counting_context(course_id, settings, predictable=predictable)), _Families()
    total = legacy_rows.count(after=0, unretired_only=False)
    read = 0
    for page in legacy_rows.headers(size=HEADERS):
        run_records.beat(record)
        named = [(row_id, host_of_header(header)) for row_id, header in page if course_of_header(header) == course_id]
        by_host.update(host for _, host in named)
        known = hosts.known()
        wanted = [row_id for row_id, host in named if whose(host, known) is Whose.OURS]
        for start in range(0, len(wanted), PAGE):
            for parsed, siblings in families.with_siblings(wanted[start : start + PAGE]):
                counted.see(parsed, siblings)
        read += len(page)
        progress(read, max(total, read))
    return counted


def counting_context(course_id: str, settings: ShimSettings, *, predictable: bool) -> RowContext:
    """Return what counting the rows of a course needs besides the rows."""

    @functools.lru_cache(maxsize=1024)
    def points_of(item_id: str) -> tuple[int, bool]:
        return points_possible(None, course_id, item_id, resolver=settings.points_resolver)

    return RowContext(
        policy=classing.policy(settings, history=True, unsampled=True),
        shadow_suffix=settings.shadow_queue_suffix,
        lease_seconds=settings.lease_seconds,
        points_of=points_of,
        predict=prediction.predicted_points if predictable else None,
        lti=lti.returns_scores(course_id),
    )


class _Families:
    """
    The rows that share a callback with a row of the page.

    A large family reaches over many pages: it is read once and kept without answers, not read again with each page.
    """

    def __init__(self) -> None:
        self.large: dict[str, Siblings] = {}

    def with_siblings(self, ids: list[int]) -> Iterator[tuple[ParsedRow, list[ParsedRow]]]:
        """Yield each of these rows with the others of its callback, by which it is classified."""
        rows = [row for _, row in sorted(legacy_rows.by_id(ids).items())]
        page, there = [_parse(row) for row in rows], {row.id for row in rows}
        outside: list[int] = []
        unknown = [row for row in rows if by_callback.callback_key(row.lms_callback_url) not in self.large]
        for key, same in by_callback.sibling_ids(unknown).items():
            if len(same) > LARGE:
                self.large[key] = Siblings(_read(same), light=True)
            else:
                outside += [row_id for row_id in same if row_id not in there]
        small = [parsed for parsed in page if by_callback.callback_key(parsed.row.lms_callback_url) not in self.large]
        families = self.large | reading.siblings_by_callback([*small, *_read(outside)])
        for parsed in page:
            yield parsed, reading.siblings_of(parsed, families)


def _read(ids: list[int]) -> Iterator[ParsedRow]:
    for start in range(0, len(ids), PAGE):
        yield from map(_parse, legacy_rows.by_id(ids[start : start + PAGE]).values())


def _parse(row: LegacyRow) -> ParsedRow:
    """
    Parse one row without reading file names from a storage, which would take too long for a whole history.

    The column ``s3_keys`` stands in for the names: XQueue derives keys from header and name, so equal names give equal
    columns.
    """
    return parse_row(row, () if row.s3_keys in ("", "{}") else (row.s3_keys,))
