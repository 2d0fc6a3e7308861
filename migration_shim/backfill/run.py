"""The run of ``xqueue_backfill --mode shadow``: it imports rows batch by batch, one transaction a batch."""

from __future__ import annotations

import bisect
import dataclasses
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from django.utils.timezone import now

from .. import toggles
from ..conf import ShimSettings, load
from ..core.data import Authority, Document, Leg, LegacyRow
from ..core.documents.backfill import BackfillDocument
from ..legacy import primary
from ..legacy import rows as legacy_rows
from ..models import LedgerEntry, Run
from ..runs import garbage
from ..runs import records as run_records
from ..runs.control import Control, Progress, Stopped, nothing
from ..runs.spread import Spread
from . import checkpoint, classing, ranges, verify
from .batch import class_only, write_page
from .batch_size import BatchSizer
from .counts import SCHEMA, RowCounts, document, next_commands
from .request import Request, in_scope
from .single import legacy_rows_of_all

#: How many headers are read at once where history is selected.
HEADERS = 2_000


def run(
    request: Request,
    progress: Progress,
    tell: Callable[[str], None] = nothing,
    send: Callable[[int], None] | None = None,
) -> Document[BackfillDocument]:
    """
    Import legacy rows as fenced shadows; without ``execute`` only say what would be done.

    Every row read gets exactly one class. A run that was interrupted, or killed, goes on from its checkpoint. A run
    after a finished one starts from the beginning, because a copy can be missing anywhere among the open rows; rows
    that have their copy are ``present``. Submissions that the router owes a shadow get it too, even if legacy has
    finished them since.

    Args:
        request: the scope and the options.
        progress: called after every batch with (rows read so far, rows to read).
        tell: called with a short text while the run waits, and with an empty one when it goes on.
        send: hands a range, by its id, to the workers. If it is given, they write the rows and not this process.

    Raises:
        RunLocked: another run of this scope is at work.
        ConfigurationError: the settings are not usable.
    """
    settings = load()
    if not request.execute:
        with Control(toggles.stop_reason, settings=settings, tell=tell) as control, garbage.left_alone():
            return _Run(request, settings, control, progress, None).document(None)
    with run_records.running("backfill", request.scope) as record:
        beat = partial(run_records.beat, record)
        with Control(toggles.stop_reason, settings=settings, tell=tell, beat=beat) as control, garbage.left_alone():
            answer = _Run(request, settings, control, progress, record).document(send)
        record.document, record.complete = answer.content, answer.content["complete"]
        return answer


class _Run:
    """One run, with its position and its counts. ``record`` is None for a plan."""

    def __init__(
        self, request: Request, settings: ShimSettings, control: Control, progress: Progress, record: Run | None
    ) -> None:
        self.request, self.settings, self.control = request, settings, control
        self.progress, self.record = progress, record
        self.position = checkpoint.position_of_scope(request)
        self.sizer, self.row_counts = BatchSizer(request.batch_size), RowCounts()
        self.total = self.batches = 0

    def document(self, send: Callable[[int], None] | None) -> Document[BackfillDocument]:
        """Do the work, to its end or until something stops it, and return the document of what became of it."""
        started, stopped_by = time.monotonic(), ""
        try:
            self._work(send)
        except Stopped as stopped:
            stopped_by = str(stopped)
        limited = self._room() == 0
        complete = not (stopped_by or limited)
        if complete and self.record is not None:
            self.position.move(0)
            self.position.moved(0)
        self.row_counts.waited.update(self.control.waited)
        content = {
            "schema": SCHEMA,
            "mode": self.request.mode.value,
            "executed": self.request.execute,
            "sample_percent": {} if self.request.unsampled else self.settings.sample_percent,
            "scope": self.request.scope,
            "finished_at": now().isoformat(),
            **self.row_counts.content(),
            "left": max(self.total - self.row_counts.read, 0),
            "checkpoint": self.position.last_id,
            "complete": complete,
            "stopped_by": stopped_by,
            "seconds": round(time.monotonic() - started, 3),
        }
        return document(content | {"next": next_commands(self.request, content)})

    def _work(self, send: Callable[[int], None] | None) -> None:
        unretired_only = ranges.unretired_only(self.request)
        self.total = legacy_rows.count(after=self.position.last_id, unretired_only=unretired_only)
        wanted = self._history() if self.request.history else frozenset()
        # Before the first row is read: the next run then reads again what commits later with a lower id.
        seen = primary.seen_until(legacy_rows.clock())
        safe = legacy_rows.safe_checkpoint(self.settings.overlap_seconds, seen)
        self.context = ranges.batch_context(self.request, self.settings, wanted)
        if send is not None and self.record is not None:
            spread = Spread(
                self.record, self.control, self.settings, RowCounts, follow=lambda done: self._follow(min(done, safe))
            )
            planned = self._planned(unretired_only, sorted(wanted))
            try:
                spread.run(planned, send, lambda counted: self.progress(counted.read, max(self.total, counted.read)))
            finally:
                self.row_counts.join(spread.take_back())
        else:
            after = self.position.last_id
            while page := self._page(after, unretired_only):
                after = page[-1].id
                self._batch(page, to=min(after, safe))
        if not self.request.history:
            for page in self._owed():
                self._batch(page, to=0)

    def _planned(self, unretired_only: bool, wanted: list[int]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield each range's start and plan. The last range has no end: it takes in what arrives meanwhile."""
        after = self.position.last_id
        ends = list(legacy_rows.range_ends(after=after, unretired_only=unretired_only, size=self.settings.range_rows))
        for end in ends:
            upto = None if end == ends[-1] else end
            first, last = bisect.bisect_right(wanted, after), bisect.bisect_right(wanted, end)
            yield (
                after,
                {
                    "request": self.request.to_json(),
                    "total": self.total,
                    "upto": upto,
                    "wanted": wanted[first : last if upto else None],
                },
            )
            after = end

    def _follow(self, to: int) -> None:
        """Move the run's own position to where its ranges have come."""
        if to > self.position.last_id:
            self.position.move(to)
            self.position.moved(to)

    def _room(self) -> int | None:
        """Return how many more rows ``--limit`` allows; None for any number."""
        return None if self.request.limit is None else max(self.request.limit - self.row_counts.read, 0)

    def _page(self, after: int, unretired_only: bool) -> list[LegacyRow]:
        self.control.turn()
        size, room = self.sizer.size, self._room()
        size = size if room is None else min(size, room)
        return legacy_rows.page(after=after, unretired_only=unretired_only, size=size) if size else []

    def _batch(self, page: list[LegacyRow], to: int) -> None:
        """Write one batch and move the position, in one transaction; in a plan only class it."""
        with self.sizer.timed(len(page)):
            if self.record is None:
                classed, written = class_only(page, self.context), 0
            else:
                to = max(self.position.last_id, to)
                context = dataclasses.replace(
                    self.context, verify=verify.is_due(self.batches, self.total, self.settings)
                )
                classed, written = write_page(page, context, lambda *_: self.position.move(to))
                self.position.moved(to)
        self.batches += 1
        self.row_counts.add(classed, written)
        self.progress(self.row_counts.read, max(self.total, self.row_counts.read))

    def _history(self) -> frozenset[int]:
        return classing.newest_per_problem(self.request.per_problem, self._watched(HEADERS))

    def _watched(self, size: int) -> Iterator[tuple[int, str]]:
        """Yield (id, header) of the graded rows; once a page, check for a reason to stop and give a sign of life."""
        for number, header in enumerate(legacy_rows.acknowledged_headers(size=size)):
            if number % size == 0:
                self.control.check()
            yield header

    def _owed(self) -> Iterator[list[LegacyRow]]:
        """Yield retired legacy rows of submissions that the router owes a shadow; unretired ones were read before."""
        owed = LedgerEntry.objects.filter(
            target_leg__in=(Leg.MISSING, Leg.FAILED), authority=Authority.LEGACY, superseded_at=None, purged_at=None
        )
        owed = in_scope(owed, self.request.courses, self.request.queues)
        after = 0
        while self._room() != 0:
            self.control.turn()
            entries = list(owed.filter(id__gt=after).order_by("id")[: self.sizer.size])
            if not entries:
                return
            after = entries[-1].pk
            rows = {row_id: row for row_id, row in legacy_rows_of_all(entries).items() if row.retired}
            if page := [rows[row_id] for row_id in sorted(rows)][: self._room()]:
                yield page
