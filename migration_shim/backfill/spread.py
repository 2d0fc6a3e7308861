"""The ranges of a run that is spread over workers, as the command that leads it sees them. See ``ranges``."""

from __future__ import annotations

import bisect
import copy
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from django.db import transaction

from .. import runs
from ..conf import load
from ..errors import RunLocked, WorkersFailed
from ..legacy import rows as legacy_rows
from ..models import Checkpoint, Run
from . import ranges
from .control import Control
from .position import Position
from .request import Request
from .tally import Tally

log = logging.getLogger(__name__)

PREFIX = "range:"
POLL_SECONDS = 0.5
#: A range that was sent so often and has never moved will not move by being sent again.
SENDS = 5


class Spread:
    """The ranges of one run, as the command that leads it sees them."""

    def __init__(
        self,
        request: Request,
        record: Run,
        control: Control,
        position: Position,
        *,
        total: int,
        safe: int,
        wanted: frozenset[int],
    ) -> None:
        self.request, self.record, self.control, self.position = request, record, control, position
        self.total, self.safe, self.wanted = total, safe, sorted(wanted)
        self.settings = load()
        self.finished = Tally()
        #: Ranges that are not finished, in the order of their ids.
        self.open: dict[int, _Sent] = {}
        self.number = 0
        #: The end of what is finished without a gap.
        self.prefix = position.last_id

    def run(self, send: Callable[[int], None], progress: Callable[[Tally], None]) -> None:
        """
        Send every range, follow them to their end, and send again what does not move.

        Raises:
            Stopped: the ranges are to be taken back.
            WorkersFailed: a worker met an error that no other would be spared, or nobody moves a range.
            RunLocked: another run has taken this one's place.
        """
        self._make()
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

    def take_back(self) -> Tally:
        """
        Take all ranges out of the workers' hands, and return what was counted: all that is committed, and nothing else.

        A batch that is being written at this moment finds its range gone, and is rolled back.
        """
        with transaction.atomic():
            list(Checkpoint.objects.select_for_update().filter(pk__in=self.open).order_by("pk").values_list("pk"))
            self._look()
            Checkpoint.objects.filter(name__startswith=f"{PREFIX}{self.record.pk}:").delete()
        self.control.tell("")
        return self._counted()

    def _make(self) -> None:
        """A row a range. The last one is open at its end: what arrives meanwhile is in it."""
        for name in Checkpoint.objects.filter(name__startswith=PREFIX).values_list("name", flat=True):
            if not runs.is_alive(int(name.split(":")[1])):
                Checkpoint.objects.filter(name=name).delete()  # of a command that was killed
        after = self.position.last_id
        ends = list(
            legacy_rows.range_ends(
                after=after, unretired_only=ranges.unretired_only(self.request), size=self.settings.range_rows
            )
        )
        for number, end in enumerate(ends):
            upto = None if end == ends[-1] else end
            first, last = bisect.bisect_right(self.wanted, after), bisect.bisect_right(self.wanted, end)
            plan_of_range = {
                "run": self.record.pk,
                "request": self.request.to_json(),
                "number": number,
                "total": self.total,
                "upto": upto,
                "wanted": self.wanted[first : last if upto else None],
            }
            name = f"{PREFIX}{self.record.pk}:{number}"
            checkpoint = Checkpoint.objects.create(name=name, last_id=after, plan=plan_of_range)
            self.open[checkpoint.pk] = _Sent(last_id=after)
            self.control.beat()
            after = end
        self.number = len(ends)

    def _look(self) -> bool:
        """Read the open ranges, and let the run's own position follow. Whether anything has moved since."""
        rows = Checkpoint.objects.filter(pk__in=self.open).order_by("pk").defer("plan")
        found, moved, gap = {row.pk: row for row in rows}, False, False
        if len(found) < len(self.open):
            raise RunLocked("Another run has taken this one's place; it was thought dead.")
        for range_id, row in found.items():
            if error := row.counts.get("error"):
                raise WorkersFailed(error)
            sent = self.open[range_id]
            moved |= sent.seen(row)
            if not gap:
                self.prefix = row.last_id
            if row.counts.get("done"):
                self.finished.join(sent.tally)
                del self.open[range_id]
            else:
                gap = True
        to = max(self.position.last_id, min(self.prefix, self.safe))
        if to > self.position.last_id:
            self.position.move(to)
            self.position.moved(to)
        return moved

    def _counted(self) -> Tally:
        counted = copy.deepcopy(self.finished)
        for sent in self.open.values():
            counted.join(sent.tally)
        return counted

    def _tell(self) -> None:
        begun = sum(sent.begun for sent in self.open.values())
        done = self.number - len(self.open)
        self.control.tell(f"{done} of {self.number} ranges done, {begun} with workers")

    def _stalled(self, moved: bool) -> list[int]:
        """Ranges that nobody seems to work on: begun and not moved; or never begun, while no other moves either."""
        limit = self.settings.range_stall_seconds
        still = {range_id for range_id, sent in self.open.items() if sent.still() > limit}
        waiting = len(still) == len(self.open) and not moved
        return [range_id for range_id in still if waiting or self.open[range_id].begun]

    def _send_again(self, range_id: int, send: Callable[[int], None]) -> None:
        sent = self.open[range_id]
        if sent.times >= SENDS:
            raise WorkersFailed(
                f"The workers have not moved the range behind legacy id {sent.last_id}, sent {sent.times} times. Is a "
                f"worker at work on the Celery queue {self.settings.celery_queue or '(the default one)'}? Its log "
                "says what it met."
            )
        log.warning("migration_shim: the range behind legacy id %s is sent to the workers again", sent.last_id)
        send(range_id)
        sent.sent()


@dataclass(slots=True, kw_only=True)
class _Sent:
    """What the command has last seen of one range."""

    last_id: int
    updated_at: datetime | None = None
    begun: bool = False
    tally: Tally = field(default_factory=Tally)
    times: int = 0
    #: By this process's own clock: that of the workers may be another.
    since: float = field(default_factory=time.monotonic)

    def sent(self) -> None:
        """It was sent."""
        self.times += 1
        self.since = time.monotonic()

    def seen(self, row: Checkpoint) -> bool:
        """Take in its row; whether it shows a sign of life that is new."""
        if row.updated_at == self.updated_at:
            return False
        if row.last_id != self.last_id:
            self.times = 1
        first = self.updated_at is None
        self.last_id, self.updated_at, self.begun = row.last_id, row.updated_at, bool(row.counts.get("begun"))
        self.tally, self.since = Tally.from_json(row.counts), time.monotonic()
        return not first or self.begun

    def still(self) -> float:
        """For how many seconds it has shown no sign of life."""
        return time.monotonic() - self.since
