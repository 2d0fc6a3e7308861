"""
The run of ``xqueue_backfill --mode handoff``: it moves in-flight legacy rows of courses whose target is authoritative.

Each row moves in four steps (``steps``, ``finish``), so that no submission is left without a grader and no queuekey is
applied twice. By default it plans only. See docs/decisions/0010.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from django.db.models import QuerySet
from django.utils.timezone import now

from ... import toggles
from ...conf import ShimSettings, load
from ...core.classification import Decision
from ...core.data import HELD, Authority, Document, ExitCode, LegacyRow, Move, RowClass
from ...core.documents.backfill import BackfillDocument
from ...core.errors import FileUnavailable, TargetWriteFailed, Unfit
from ...ledger import stamp
from ...legacy import files, privileges, writes
from ...legacy import rows as legacy_rows
from ...models import LedgerEntry
from ...runs import records as run_records
from ...runs.control import Control, Progress, Stopped, nothing
from ...target import collation
from ...target.transitions import supersede
from .. import collisions
from ..counts import SCHEMA, RowCounts, document, next_commands
from ..request import Request
from . import plan as handoff_plan
from .finish import ON_THE_WAY, finish_held, on_the_way, watch
from .plan import HandoffRow
from .steps import Done, fence, hold, retry_step

PAGE = 200
#: How often a run passes over the rows: between its fence and its release a row may come back to legacy.
PASSES = 4
#: Seconds between two looks while the run waits for a settle time, or for legacy to drain.
POLL_SECONDS = 1.0


def run(request: Request, progress: Progress, tell: Callable[[str], None] = nothing) -> Document[BackfillDocument]:
    """
    Move in-flight legacy rows to the target; without ``execute`` only say what would be done.

    Rows that an earlier run has left held are finished even if the kill switch is on: it stops new holds only.

    Args:
        request: the scope and the options.
        progress: called with (rows read, rows to read).
        tell: called with a short text while the run waits, and with an empty one when it goes on.

    Raises:
        LegacyNotWritable: the alias ``xqueue`` may not write, or is not known to be the primary, or the ledger is
            another LMS's (LedgerNotOurs). Nothing was moved.
        RunLocked: another run of this scope is at work.
        ConfigurationError: the settings are not usable.
    """
    settings = load()
    if not request.execute:
        with Control(toggles.stop_reason, settings=settings, tell=tell) as control:
            return _Run(request, settings, control, progress).document(handoff_plan.refusal())
    stamp.check()
    privileges.check_may_update()
    with run_records.running("backfill", request.scope) as record:
        with Control(
            toggles.stop_reason, settings=settings, tell=tell, beat=lambda: run_records.beat(record)
        ) as control:
            answer = _Run(request, settings, control, progress).document([])
        record.document, record.complete = answer.content, answer.content["complete"]
        return answer


class _Run:
    """One run, with its counts."""

    def __init__(self, request: Request, settings: ShimSettings, control: Control, progress: Progress) -> None:
        self.request, self.settings, self.control, self.progress = request, settings, control, progress
        #: The control of finishing held rows: a signal stops it, the kill switch does not.
        self.finishing = Control(toggles.kill_switch_ignored, settings=settings)
        self.policy = handoff_plan.policy(request, settings)
        self.source = files.legacy_storage(settings)
        self.taken = collation.Taken()
        #: The newest class of every row read, with its queue.
        self.rows: dict[int, tuple[Decision, str]] = {}
        self.done: Counter[Done] = Counter()
        #: Rows that were open in the newest pass and still are legacy's.
        self.open = self.total = 0

    def document(self, warnings: list[str]) -> Document[BackfillDocument]:
        """Do the work, to its end or until something stops it, and return the document of what became of it."""
        started, stopped_by = time.monotonic(), ""
        self.total = legacy_rows.count(after=0, unretired_only=True)
        try:
            if self.request.execute:
                with self.finishing:
                    stopped_by = self._execute()
            else:
                self._walk()
        except Stopped as stopped:
            stopped_by = str(stopped)
        return self._document(stopped_by, warnings, time.monotonic() - started)

    def _document(self, stopped_by: str, warnings: list[str], seconds: float) -> Document[BackfillDocument]:
        classes = Counter((decision.row_class.value, decision.reason) for decision, _ in self.rows.values())
        row_counts = RowCounts(classes=classes, written=self.done[Done.RELEASED], waited=self.control.waited)
        queues = handoff_plan.queues(self.rows.values(), self.settings)
        held = self._on_the_way(HELD).count()
        content: dict[str, Any] = {
            "schema": SCHEMA,
            "mode": self.request.mode.value,
            "executed": self.request.execute,
            "sample_percent": {},
            "scope": self.request.scope,
            "finished_at": now().isoformat(),
            **row_counts.content(),
            "left": max(self.total - row_counts.read, 0),
            "checkpoint": 0,
            "held": held,
            "released": self.done[Done.RELEASED],
            "dropped": self.done[Done.DROPPED],
            "double_authority": self.done[Done.DOUBLE],
            "queues": queues,
            "advice": warnings + ([] if self.request.execute else handoff_plan.advice(queues, self.settings)),
            "complete": not (stopped_by or self._is_limited() or (self.request.execute and held)),
            "stopped_by": stopped_by,
            "seconds": round(seconds, 3),
        }
        answer = document(content | {"next": next_commands(self.request, content)})
        different = ExitCode.DIFFERENCES if content["double_authority"] else ExitCode.OK
        return Document(content=answer.content, exit_code=answer.exit_code | different)

    def _is_limited(self) -> bool:
        return self.request.limit is not None and len(self.rows) >= self.request.limit

    def _on_the_way(self, moves: tuple[Move, ...]) -> QuerySet[LedgerEntry]:
        return on_the_way(self.request.courses, self.request.queues, moves)

    def _execute(self) -> str:
        """Pass over the rows until none is left to move, then finish them. Return what has stopped new holds, or ""."""
        stopped_by, moved, passes = "", 0, 0
        while not stopped_by and (passes == 0 or self._again(moved, passes)):
            dropped = self.done[Done.DROPPED]
            try:
                if passes and self.request.wait_drain:
                    self.control.sleep(POLL_SECONDS, kind="drain")
                moved = self._walk()
            except Stopped as stopped:
                if self.control.signal:
                    raise
                stopped_by = str(stopped)  # the kill switch: what is held is finished all the same
            self._finish(HELD)
            moved += self.done[Done.DROPPED] - dropped
            passes += 1
        self._finish(ON_THE_WAY)
        return stopped_by

    def _again(self, moved: int, passes: int) -> bool:
        if self._is_limited():
            return False
        return self.open > 0 if self.request.wait_drain else bool(moved) and passes < PASSES

    def _walk(self) -> int:
        """Read all open rows, hold and fence those that may be moved, and return how many were moved."""
        after, moved, self.open = 0, 0, 0
        seen: set[int] = set()
        while page := self._page(after, len(seen)):
            after = page[-1].id
            for item in self._planned(page):
                if self.request.execute:
                    moved += self._act(item)
                else:
                    item.decision = handoff_plan.planned_decision(item, self.source, self.settings)
                self._count(item)
                seen.add(item.row.id)
            if self.request.execute:
                self._finish_due()  # the first rows need not wait for the last
            self.progress(len(self.rows), max(self.total, len(self.rows)))
        self._look_again([row_id for row_id, (decision, _) in self.rows.items() if row_id not in seen])
        return moved

    def _page(self, after: int, read: int) -> list[LegacyRow]:
        self.control.turn()
        size = self.request.batch_size or PAGE
        if self.request.limit is not None:
            size = min(size, self.request.limit - read)
        return legacy_rows.page(after=after, unretired_only=True, size=size) if size > 0 else []

    def _classed(self, page: list[LegacyRow]) -> list[HandoffRow]:
        return handoff_plan.class_page(page, self.policy, self.source)

    def _planned(self, page: list[LegacyRow]) -> list[HandoffRow]:
        """Return the classed rows of a page; for a plan also by what otherwise only a write finds out."""
        items = self._classed(page)
        if not self.request.execute:
            moving = [row.parsed for row in items if row.decision.row_class is RowClass.IMPORTED]
            refused = collisions.colliding_ids(moving, self.taken)
            for item in items:
                if item.row.id in refused:
                    item.decision = Decision(row_class=RowClass.DRAIN, reason="student_item_differs")
        return items

    def _count(self, item: HandoffRow) -> None:
        row_class = item.decision.row_class
        self.open += row_class not in (RowClass.IMPORTED, RowClass.COPY, RowClass.OUT_OF_SCOPE)
        self.rows[item.row.id] = item.decision, item.row.queue_name

    def _look_again(self, row_ids: list[int]) -> None:
        """Class rows again that an earlier pass left to legacy and that are not open any more."""
        left = [row_id for row_id in row_ids if self.rows[row_id][0].row_class is RowClass.DRAIN]
        for start in range(0, len(left), PAGE):
            for item in self._classed(list(legacy_rows.by_id(left[start : start + PAGE]).values())):
                self.rows[item.row.id] = item.decision, item.row.queue_name

    def _act(self, item: HandoffRow) -> bool:
        """Do what a row's class asks for, and return whether the row was moved. Its class may change on the way."""
        decision, entry = item.decision, item.entry
        if decision.row_class is RowClass.IMPORTED:
            self.control.check()
            item.decision = self._move(item)
            return item.decision.row_class is RowClass.IMPORTED
        if decision.row_class is RowClass.SUPERSEDED and not item.row.retired:
            # The router could not retire it when the newer attempt came.
            writes.retire([item.row.id])
            if entry is not None:
                if entry.target_submission_id is not None:
                    supersede([entry.target_submission_id])  # its shadow, which graders would go on with
                replaced = LedgerEntry.objects.filter(pk=entry.pk, superseded_at=None, authority=Authority.LEGACY)
                replaced.update(superseded_at=now())
        elif decision.reason == "double_authority" and entry is not None and entry.move == Move.WATCHED:
            self.done[retry_step(lambda: watch(entry))] += 1
        return False

    def _move(self, item: HandoffRow) -> Decision:
        try:
            entry = retry_step(lambda: hold(item.parsed, item.keys, self.source, self.settings))
        except (Unfit, FileUnavailable) as error:
            return Decision(row_class=RowClass.DRAIN, reason=error.reason)
        except TargetWriteFailed as error:
            return Decision(row_class=RowClass.DRAIN, reason=f"target_refused_{error.reason}")
        if entry is None:
            return Decision(row_class=RowClass.PRESENT, reason="held")  # by another session, since it was classed
        done = retry_step(lambda: fence(entry, item.rows, self.settings))
        self.done[done] += 1
        if done is Done.DROPPED:
            return self._class_again(item.row.id)
        return item.decision if done is Done.FENCED else Decision(row_class=RowClass.PRESENT, reason="held")

    def _class_again(self, row_id: int) -> Decision:
        """Return a row's class after its hold was undone. A row that is free again waits for another pass."""
        for item in self._classed(list(legacy_rows.by_id([row_id]).values())):
            if item.decision.row_class is not RowClass.IMPORTED:
                return item.decision
        return Decision(row_class=RowClass.DRAIN, reason="back_on_legacy")

    def _finish(self, moves: tuple[Move, ...]) -> None:
        """Finish rows until none is left in the given moves. A signal stops it; the kill switch does not."""
        while self._on_the_way(moves).exists():
            self._finish_due()
            self._wait(min(POLL_SECONDS, self.settings.handoff_settle_seconds / 4))

    def _finish_due(self) -> None:
        for entry, done in finish_held(self.settings, self.request.courses, self.request.queues):
            self._wait(0)
            self.done[done] += 1
            row_id = entry.legacy_id or 0
            if done is Done.DROPPED and row_id in self.rows:
                self.open += 1
                self.rows[row_id] = self._class_again(row_id), self.rows[row_id][1]

    def _wait(self, seconds: float) -> None:
        self.finishing.check()
        self.finishing.sleep(seconds)
