"""
The command's side of work that is spread over workers: it sends the ranges, follows them and takes them back.

See ``ranges`` for the worker's side.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic

from django.db import transaction

from ..conf import ShimSettings
from ..core.errors import RunLocked, WorkersFailed
from ..core.wording import counted
from ..models import Checkpoint, Run
from . import records as run_records
from .control import Control, nothing
from .ranges import T

log = logging.getLogger(__name__)

PREFIX = "range:"
POLL_SECONDS = 0.5
#: How often a range is sent while no range moves, before the command gives up.
SENDS = 5


class Spread(Generic[T]):
    """
    The ranges of one run, as the command that leads it sees them.

    Args:
        record: the run; workers go on only while it is alive.
        control: the run's control.
        settings: the settings in force.
        kind: the class of a range's counts.
        follow: called at every look with the id up to which all is done without a gap; in ``take_back`` inside its
            transaction.
    """

    def __init__(
        self,
        record: Run,
        control: Control,
        settings: ShimSettings,
        kind: type[T],
        *,
        follow: Callable[[int], None] = nothing,
    ) -> None:
        self.record, self.control, self.settings, self.kind, self.follow = record, control, settings, kind, follow
        self.finished = kind.from_json({})
        #: Ranges that are not finished, in the order of their ids.
        self.open: dict[int, _Sent[T]] = {}
        self.number = 0
        #: When a range moved last, by this process's own clock.
        self.moved_at = time.monotonic()
        #: The end of what is finished without a gap; None while there is no range.
        self.prefix: int | None = None

    def run(
        self, planned: Iterable[tuple[int, dict[str, Any]]], send: Callable[[int], None], progress: Callable[[T], None]
    ) -> None:
        """
        Send every range, follow them to their end, and send again those that do not move.

        Args:
            planned: of each range, in order, the id that it begins after and what a worker has to know of it.
            send: hands the number of a range to the workers.
            progress: called with what was counted so far.

        Raises:
            Stopped: the ranges are to be taken back.
            WorkersFailed: a worker met an error that every other would meet too, or no worker moves a range.
            RunLocked: another run has taken this one's place.
        """
        self._make(planned)
        for range_id, sent in self.open.items():
            self.control.check()
            send(range_id)
            sent.sent()
        while self.open:
            moved = self._look()
            progress(self._counted())
            self._tell()
            for range_id in self._stalled(moved):
                self._send_again(range_id, send)
            if self.open:
                self.control.sleep(POLL_SECONDS)

    def take_back(self) -> T:
        """
        Take all ranges out of the workers' hands, and return what was counted: all that is committed, and nothing else.

        A worker that is writing a batch at this moment finds its range gone, and the batch is rolled back.
        """
        with transaction.atomic():
            list(Checkpoint.objects.select_for_update().filter(pk__in=self.open).order_by("pk").values_list("pk"))
            self._look()
            Checkpoint.objects.filter(name__startswith=f"{PREFIX}{self.record.pk}:").delete()
        self.control.tell("")
        return self._counted()

    def _make(self, planned: Iterable[tuple[int, dict[str, Any]]]) -> None:
        """Create one row per range."""
        for name in Checkpoint.objects.filter(name__startswith=PREFIX).values_list("name", flat=True):
            if not run_records.is_alive(int(name.split(":")[1])):
                Checkpoint.objects.filter(name=name).delete()  # of a command that was killed
        for number, (after, plan) in enumerate(planned):
            name = f"{PREFIX}{self.record.pk}:{number}"
            plan_of_range = {**plan, "run": self.record.pk, "number": number}
            checkpoint = Checkpoint.objects.create(name=name, last_id=after, plan=plan_of_range)
            self.open[checkpoint.pk] = _Sent(last_id=after, tally=self.kind.from_json({}))
            self.control.beat()
        self.number = len(self.open)

    def _look(self) -> bool:
        """
        Read the open ranges, let the run's own position follow, and tell whether anything has moved since the last
        look.
        """
        rows = Checkpoint.objects.filter(pk__in=self.open).order_by("pk").defer("plan")
        found, moved, gap = {row.pk: row for row in rows}, False, False
        if len(found) < len(self.open):
            raise RunLocked("Another run has taken this one's place; it was thought dead.")
        for range_id, row in found.items():
            if error := row.counts.get("error"):
                raise WorkersFailed(error)
            sent = self.open[range_id]
            moved |= sent.seen(row, self.kind)
            if not gap:
                self.prefix = row.last_id
            if row.counts.get("done"):
                self.finished.join(sent.tally)
                del self.open[range_id]
            else:
                gap = True
        if moved:
            self.moved_at = time.monotonic()
        if self.prefix is not None:
            self.follow(self.prefix)
        return moved

    def _counted(self) -> T:
        counted = copy.deepcopy(self.finished)
        for sent in self.open.values():
            counted.join(sent.tally)
        return counted

    def _tell(self) -> None:
        begun = sum(sent.begun for sent in self.open.values())
        done = self.number - len(self.open)
        self.control.tell(f"{done} of {counted(self.number, 'range')} done, {begun} with workers")

    def _stalled(self, moved: bool) -> list[int]:
        """
        Return the ranges that no worker seems to work on: begun and not moved; or never begun, while no other moves
        either.
        """
        limit = self.settings.range_stall_seconds
        still = {range_id for range_id, sent in self.open.items() if sent.still() > limit}
        waiting = len(still) == len(self.open) and not moved
        return [range_id for range_id in still if waiting or self.open[range_id].begun]

    def _send_again(self, range_id: int, send: Callable[[int], None]) -> None:
        sent = self.open[range_id]
        if self.moved_at > sent.since:
            sent.times = 1  # the workers are at work on others: it may wait behind these in the queue
        if sent.times >= SENDS:
            raise WorkersFailed(
                f"The workers have not moved the range behind id {sent.last_id}, sent "
                f"{counted(sent.times, 'time')}. Is a "
                f"worker at work on the Celery queue {self.settings.celery_queue or '(the default one)'}? Its log "
                "says what it met."
            )
        log.warning(
            "migration_shim.range_sent_again: the range behind id %s is sent to the workers again", sent.last_id
        )
        send(range_id)
        sent.sent()


@dataclass(slots=True, kw_only=True)
class _Sent(Generic[T]):
    """What the command last saw of one range."""

    last_id: int
    tally: T
    updated_at: datetime | None = None
    begun: bool = False
    times: int = 0
    #: By this process's own clock: that of the workers may be another.
    since: float = field(default_factory=time.monotonic)

    def sent(self) -> None:
        """Note that the range was sent."""
        self.times += 1
        self.since = time.monotonic()

    def seen(self, row: Checkpoint, kind: type[T]) -> bool:
        """Take in the range's row, and tell whether it shows a new sign of life."""
        if row.updated_at == self.updated_at:
            return False
        if row.last_id != self.last_id:
            self.times = 1
        first = self.updated_at is None
        self.last_id, self.updated_at, self.begun = row.last_id, row.updated_at, bool(row.counts.get("begun"))
        self.tally, self.since = kind.from_json(row.counts), time.monotonic()
        return not first or self.begun

    def still(self) -> float:
        """Return for how many seconds the range has shown no sign of life."""
        return time.monotonic() - self.since
