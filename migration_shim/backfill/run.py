"""The run of ``xqueue_backfill --mode shadow``: page by page, one transaction a page, plan by default."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from django.core.files.storage import Storage
from django.db import IntegrityError, OperationalError, transaction
from django.utils.timezone import now

from .. import runs, toggles
from ..conf import ShimSettings, load
from ..data import Authority, Document, ExitCode, Leg, LegacyRow, RowClass
from ..errors import TargetWriteFailed
from ..legacy import rows as legacy_rows
from ..models import Checkpoint, LedgerEntry, Run
from . import files, plan
from .one import rows_of
from .write import write_rows

SCHEMA = "migration_shim.xqueue_backfill/1"
#: Classes of rows that stay behind on legacy and that an operator must know of.
_LEFT_BEHIND = (RowClass.DRAIN, RowClass.MALFORMED)
TRIES = 4

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the operator asked for. ``courses`` and ``queues`` are None for all."""

    courses: frozenset[str] | None
    queues: frozenset[str] | None
    history: bool
    unsampled: bool
    per_problem: int
    execute: bool
    batch_size: int
    limit: int | None
    restart: bool

    @property
    def scope(self) -> str:
        """A name for the scope and mode of this run, under which its checkpoint is kept."""
        parts = ["history" if self.history else "open"]
        parts += sorted(self.courses or ()) + sorted(f"queue:{queue}" for queue in self.queues or ())
        return "shadow " + " ".join(parts)


def run(request: Request, progress: Progress) -> Document:
    """
    Import legacy rows as fenced shadows; without ``execute`` only say what would be done.

    Every row read gets exactly one class. An interrupted run goes on from its checkpoint; a finished one starts over,
    because a copy can be missing anywhere in the open set, and what is there is ``present``. Submissions that the
    router owes a shadow get it too, though legacy has finished them since.

    Args:
        request: the scope and the options.
        progress: called after every page with (rows read in all, rows there were to read).

    Raises:
        RunLocked: another run of this scope is at work.
        ConfigurationError: the settings are not usable.
    """
    settings = load()
    if not request.execute:
        return _Walk(request, settings).run(progress, None)
    with runs.running("backfill", request.scope[:255]) as record:
        document = _Walk(request, settings).run(progress, record)
        record.document, record.complete = document.content, document.content["complete"]
        return document


class _Walk:
    """One walk over the pages of a request, with what it counts."""

    def __init__(self, request: Request, settings: ShimSettings) -> None:
        self.request, self.settings = request, settings
        self.storage: Storage | None = files.legacy_storage(settings)
        self.policy = plan.policy(
            settings,
            courses=request.courses,
            queues=request.queues,
            history=request.history,
            unsampled=request.unsampled,
        )
        self.checkpoint = _checkpoint(request)
        self.counts: Counter[tuple[RowClass, str]] = Counter()
        self.written = 0

    def run(self, progress: Progress, record: Run | None) -> Document:
        """Read, class and, where there is a run record, write every page."""
        started = time.monotonic()
        request, after = self.request, self.checkpoint.last_id
        wanted = plan.newest_per_problem(request.per_problem, request.batch_size) if request.history else frozenset()
        total = legacy_rows.count(after=after, unretired_only=not request.history)
        safe = legacy_rows.safe_checkpoint(self.settings.overlap_seconds, legacy_rows.clock())
        stopped = limited = False
        for page, movable in self._pages(after):
            toggles.new_work_cycle()
            if toggles.kill_switch_on():
                stopped = True
                break
            page = page[: request.limit - self.counts.total()] if request.limit else page
            if record is None:
                classed = plan.class_page(page, self.policy, self.storage, wanted)
            else:
                classed = self._write(page, wanted, min(page[-1].id, safe) if movable else 0)
                runs.beat(record)
            self.counts.update((item.decision.row_class, item.decision.reason) for item in classed)
            progress(self.counts.total(), max(total, self.counts.total()))
            if request.limit and self.counts.total() >= request.limit:
                limited = True
                break
        if record is not None and not (stopped or limited):
            Checkpoint.objects.filter(pk=self.checkpoint.pk).update(last_id=0)
        return self._document(time.monotonic() - started, complete=not (stopped or limited), stopped=stopped)

    def _pages(self, after: int) -> Iterator[tuple[list[LegacyRow], bool]]:
        """(page, whether the checkpoint may follow it): the rows in order of id, then what the router still owes."""
        size = self.request.batch_size
        for page in legacy_rows.pages(after=after, unretired_only=not self.request.history, size=size):
            yield page, True
        if not self.request.history:
            yield from ((page, False) for page in _owed(self.request))

    def _write(self, page: list[LegacyRow], wanted: frozenset[int], last_id: int) -> list[plan.ClassedRow]:
        """Write a page and its checkpoint in one transaction; on contention the whole page once more, a few times."""
        for tried in range(1, TRIES + 1):
            try:
                with transaction.atomic():
                    classed = plan.class_page(page, self.policy, self.storage, wanted)
                    written = write_rows(classed, self.settings, self.storage)
                    self.checkpoint.last_id = max(self.checkpoint.last_id, last_id)
                    self.checkpoint.save()
                self.written += written
                return classed
            except (TargetWriteFailed, OperationalError, IntegrityError):
                if tried == TRIES:
                    raise
                time.sleep(0.1 * 2**tried)
        raise AssertionError("unreachable")

    def _document(self, seconds: float, *, complete: bool, stopped: bool) -> Document:
        classes: Counter[str] = Counter()
        reasons: dict[str, dict[str, int]] = {}
        for (row_class, reason), number in sorted(self.counts.items()):
            classes[row_class.value] += number
            if reason:
                reasons.setdefault(row_class.value, {})[reason] = number
        exit_code = ExitCode.OK
        if any(classes[row_class.value] for row_class in _LEFT_BEHIND):
            exit_code |= ExitCode.LEFT_BEHIND
        if stopped:
            exit_code |= ExitCode.STOPPED
        content = {
            "schema": SCHEMA,
            "mode": "shadow",
            "executed": self.request.execute,
            "sample_percent": {} if self.request.unsampled else self.settings.sample_percent,
            "scope": self.request.scope,
            "finished_at": now().isoformat(),
            "read": self.counts.total(),
            "written": self.written,
            "classes": {row_class.value: classes[row_class.value] for row_class in RowClass},
            "reasons": reasons,
            "checkpoint": self.checkpoint.last_id,
            "complete": complete,
            "seconds": round(seconds, 3),
        }
        return Document(content=content, exit_code=exit_code)


def _checkpoint(request: Request) -> Checkpoint:
    name = f"backfill:{runs.digest({'scope': request.scope})[:32]}"
    if request.execute:
        checkpoint, _ = Checkpoint.objects.get_or_create(name=name)
    else:
        checkpoint = Checkpoint.objects.filter(name=name).first() or Checkpoint(name=name)
    if request.restart:
        checkpoint.last_id = 0
    return checkpoint


def _owed(request: Request) -> Iterator[list[LegacyRow]]:
    """Retired legacy rows of submissions that the router owes a shadow; the unretired ones are in the other pages."""
    owed = LedgerEntry.objects.filter(
        target_leg__in=(Leg.MISSING, Leg.FAILED), authority=Authority.LEGACY, superseded_at=None
    )
    if request.courses is not None:
        owed = owed.filter(course_id__in=request.courses)
    if request.queues is not None:
        owed = owed.filter(queue_name__in=request.queues)
    after = 0
    while entries := list(owed.filter(id__gt=after).order_by("id")[: request.batch_size]):
        after = entries[-1].pk
        rows = {row.id: row for entry in entries for row in rows_of(entry) if row.retired}
        if rows:
            yield [rows[row_id] for row_id in sorted(rows)]
