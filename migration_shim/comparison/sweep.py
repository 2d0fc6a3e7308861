"""
A sweep: all settled entries of the site are held against their two rows, and those that do not agree are opened.

A full run of all courses begins with one. It goes through the ledger in the order of its ids, and so through the tables
of both systems nearly in their own order. Course by course, the rows lie apart, and each page of a table is read again
for every course that has a row on it.

So after a sweep the run of a course needs to look at no settled entry: what has changed is not settled any more, and
the run finds by the digests that it has to compare it. Nothing else of an entry is touched, for a comparison goes by
what it says (of a row that is gone, for one). Whatever the run itself looks at a sweep leaves to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from ..ledger import counts
from ..models import LedgerEntry, Run
from ..runs.control import Control, Progress
from . import candidates


class Swept(NamedTuple):
    """When a sweep began and when it ended."""

    began: datetime
    ended: datetime

    def serves(self, run: Run, last: Run | None) -> bool:
        """
        Tell whether a run of a course can do without a look at what is settled; ``last`` is its last comparable one.

        It cannot if another run of the course was at work beside the sweep, which settles by a look that may be older,
        or if one that was not completed has come after ``last``: it may have judged by other rules.
        """
        others = Run.objects.filter(kind=run.kind, scope=run.scope, id__lt=run.pk).order_by("-id")
        if last is None or others.values_list("id", flat=True).first() != last.pk:
            return False
        before = others.filter(started_at__lte=self.ended).first()
        # One that has died has no end, and may have worked until then.
        return before is None or (before.finished_at is not None and before.finished_at < self.began)


def is_worth_it(courses: Iterable[str]) -> bool:
    """Tell whether a sweep serves these courses: several, with all that have an entry among them."""
    wanted = set(courses)
    return len(wanted) > 1 and wanted.issuperset(counts.courses())


def open_changed(control: Control, progress: Progress) -> int:
    """
    Open every settled entry of which a row, or what else its result depends on, has changed; return how many.

    By which rules a result was judged is left to the course's run: where they are others, it looks at everything.

    Args:
        control: asked before every page whether to stop.
        progress: called with (entries looked at, entries on record).

    Raises:
        Stopped: with the reason.
    """
    read = candidates.snapshot_reader(None, echo=False)
    after = looked_at = opened = 0
    total = sum(size.entries for size in counts.sizes().values())
    while True:
        control.turn()
        page = read("l.id > %s AND l.settled_at IS NOT NULL ORDER BY l.id", [after], candidates.PAGE + 1)
        if not page:
            return opened
        if changed := candidates.changed(page):
            entries = LedgerEntry.objects.filter(id__in=changed, settled_at__isnull=False)
            opened += entries.update(settled_at=None)
        after, looked_at = page[-1].id, looked_at + len(page)
        progress(looked_at, total)
        if page.is_last:
            return opened
