"""
The run of ``xqueue_backfill --mode return``: in-flight rows of the target go back to legacy, one by one.

Each row takes three commits (see ``steps``): the target row is fenced, legacy gets its row, the ledger says so. Rows
that an interrupted run has left between these are finished first by the next run. See docs/decisions/0011.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from django.db import DatabaseError
from django.db.models import Q, QuerySet
from django.utils.timezone import now

from ... import toggles
from ...conf import ShimSettings, load
from ...core.classification import Decision
from ...core.data import Authority, Document, Move, Phase, RowClass
from ...core.documents.backfill import BackfillDocument
from ...core.errors import LegacyNotWritable
from ...ledger import stamp
from ...legacy.files import legacy_storage
from ...legacy.give_back import WayBack, knows_queue
from ...legacy.privileges import check_may_write
from ...models import CoursePhase, LedgerEntry
from ...runs import records as run_records
from ...runs.control import Control, Progress, Stopped, nothing
from ...target import open_rows
from ...target.open_rows import RealRow
from .. import counts
from ..request import Request, in_scope
from .steps import finish, give_back

BATCH = 50
#: After so many refusals in a row the rows are not to blame. Each refused row is fenced already, so the run stops.
REFUSED_LIMIT = 3


def run(request: Request, progress: Progress, tell: Callable[[str], None] = nothing) -> Document[BackfillDocument]:
    """
    Give rows back to legacy; without ``execute`` only say what would be done.

    The kill switch does not stop it, because it is a way back. Rows of courses whose target is authoritative stay.

    Args:
        request: the scope and the options.
        progress: called after every row with (rows done, rows to do).
        tell: called with a short text while the run waits, and with an empty one when it goes on.

    Raises:
        RunLocked: another return of this scope is at work.
        LegacyNotWritable: legacy's database may not be written as needed, or the ledger is another LMS's
            (LedgerNotOurs); nothing was changed.
        ConfigurationError: the settings are not usable.
    """
    settings = load()
    if not request.execute:
        with Control(toggles.kill_switch_ignored, settings=settings, tell=tell) as control:
            return _Return(request, settings, control, progress).run(_refusal())
    with run_records.running("backfill", request.scope) as record:
        stamp.check()
        check_may_write()
        beat = partial(run_records.beat, record)
        with Control(toggles.kill_switch_ignored, settings=settings, beat=beat, tell=tell) as control:
            document = _Return(request, settings, control, progress).run("")
        record.document, record.complete = document.content, document.content["complete"]
        return document


def _refusal() -> str:
    """Return, for a plan, why the same with ``--execute`` would be refused; empty where it would not."""
    if said := stamp.complaint():
        return f"--execute would be refused: {said}"
    try:
        check_may_write()
    except LegacyNotWritable as error:
        return f"--execute would be refused: {error}"
    return ""


class _Return:
    """One run, with its counts."""

    def __init__(self, request: Request, settings: ShimSettings, control: Control, progress: Progress) -> None:
        self.request, self.settings, self.control, self.progress = request, settings, control, progress
        self.storage = legacy_storage(settings)
        self.row_counts = counts.RowCounts()
        self.known_queues: dict[str, bool] = {}
        self.refused = self.total = 0

    def run(self, refusal: str) -> Document[BackfillDocument]:
        """Finish what is fenced already, then give back what is in flight, in order of arrival."""
        started = time.monotonic()
        stopped_by, size = "", self.request.batch_size or BATCH
        scope = {"courses": self.request.courses, "queues": self.request.queues}
        left_over = in_scope(LedgerEntry.objects.filter(move=Move.RETURNING), **scope)
        self.total = left_over.count() + open_rows.count_real_rows(**scope)
        try:
            for entries in _pages(left_over, size):
                self.control.turn()
                for entry in entries:
                    self._count(self._try(finish, entry.pk))
            for rows in open_rows.real_rows(self.settings.lease_seconds, size, **scope):
                self.control.turn()
                self._give_back(rows)
            complete = True
        except _LimitReached:
            complete = False
        except Stopped as reason:
            stopped_by, complete = str(reason), False
        content = {"advice": [refusal] if refusal else [], "complete": complete, "stopped_by": stopped_by}
        return self._document(content, time.monotonic() - started)

    def _give_back(self, rows: list[RealRow]) -> None:
        phases = dict(CoursePhase.objects.values_list("course_id", "phase"))
        entries = _entries_of(rows)
        for row in rows:
            phase = Phase(phases.get(row.course_id, Phase.LEGACY))
            entry = entries.get(row.submission_id)
            if phase.authority is Authority.TARGET:
                self._count(Decision(row_class=RowClass.OUT_OF_SCOPE, reason=f"phase_{phase}"))
            elif entry is not None and not self._knows(entry.queue_name):
                self._count(Decision(row_class=RowClass.DRAIN, reason="queue_unknown_to_legacy"))
            else:
                self._count(self._try(give_back, row, entry, self.settings))

    def _knows(self, queue_name: str) -> bool:
        if queue_name not in self.known_queues:
            self.known_queues[queue_name] = knows_queue(queue_name)
        return self.known_queues[queue_name]

    def _try(self, work: Callable[..., Decision], *args: Any) -> Decision:
        try:
            decision = work(*args, self.storage, execute=self.request.execute)
        except DatabaseError as error:
            self.refused += 1
            if self.refused == REFUSED_LIMIT:
                raise
            return Decision(row_class=RowClass.DRAIN, reason=f"refused_{type(error).__name__}")
        self.refused = 0
        return decision

    def _count(self, decision: Decision) -> None:
        self.row_counts.classes[decision.row_class.value, decision.reason] += 1
        self.row_counts.written += self.request.execute and decision.reason in (WayBack.REVIVED, WayBack.INSERTED)
        self.progress(self.row_counts.read, max(self.total, self.row_counts.read))
        if self.request.limit and self.row_counts.read >= self.request.limit:
            raise _LimitReached

    def _document(self, ending: dict[str, Any], seconds: float) -> Document[BackfillDocument]:
        self.row_counts.waited.update(self.control.waited)
        content = {
            "schema": counts.SCHEMA,
            "mode": self.request.mode.value,
            "executed": self.request.execute,
            "scope": self.request.scope,
            "finished_at": now().isoformat(),
            "sample_percent": {},
            **self.row_counts.content(),
            "left": max(self.total - self.row_counts.read, 0),
            "checkpoint": 0,  # a returned row is not in flight any more: a run needs no other memory
            **ending,
            "seconds": round(seconds, 3),
        }
        return counts.document(content | {"next": counts.next_commands(self.request, content)})


class _LimitReached(Exception):
    """As many rows were read as were asked for."""


def _pages(entries: QuerySet[LedgerEntry], size: int) -> Iterator[list[LedgerEntry]]:
    after = 0
    while page := list(entries.filter(id__gt=after).order_by("id")[:size]):
        yield page
        after = page[-1].pk


def _entries_of(rows: list[RealRow]) -> dict[int, LedgerEntry]:
    """Return the ledger entries of target rows, by Submission id; a held row is in ``real_submission_id`` only."""
    ids = [row.submission_id for row in rows]
    found = {}
    for entry in LedgerEntry.objects.filter(Q(target_submission_id__in=ids) | Q(real_submission_id__in=ids)):
        for submission_id in (entry.target_submission_id, entry.real_submission_id):
            if submission_id is not None:
                found[submission_id] = entry
    return found
