"""
A run spread over workers: ranges of legacy ids, each a row of its own with what is to be done and what was counted.

A worker takes one range and moves its position, and the counts with it, in the transaction of every batch. So it may
die at any point, a range may be handed out twice, and the counts still add up. Only the range's number leaves the
database. The command holds the lock and the heartbeat; a worker goes on only while that run is alive.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import time
from typing import Any

from .. import runs
from ..conf import ShimSettings, load
from ..data import LegacyRow
from ..errors import RunLocked, ShimError, TargetWriteFailed
from ..legacy import rows as legacy_rows
from ..models import Checkpoint
from . import files, plan, verify
from .batch import Job, write_page
from .control import Control, Stopped
from .pace import Pace
from .position import Position
from .request import Request
from .tally import Tally


def unretired_only(request: Request) -> bool:
    """Whether the walk may leave out legacy's retired rows, of which there may be millions."""
    return not (request.history or request.collided)


def job(request: Request, settings: ShimSettings, wanted_history: frozenset[int]) -> Job:
    """What the batches of a request share, in whatever process they are made. Each has still to be told to verify."""
    policy = plan.policy(
        settings,
        courses=request.courses,
        queues=request.queues,
        history=request.history,
        collided=request.collided,
        unsampled=request.unsampled,
    )
    storage = files.legacy_storage(settings)
    return Job(policy=policy, settings=settings, storage=storage, wanted_history=wanted_history, verify=False)


def work(range_id: int) -> str:
    """
    Work through a range from where it stands, and return what became of it, as a word for a log.

    Raises:
        TargetWriteFailed, DatabaseError: the target does not take it now; the command sends the range again.
    """
    checkpoint = Checkpoint.objects.filter(pk=range_id).first()
    if checkpoint is None or not checkpoint.plan or checkpoint.counts.get("done"):
        return "nothing to do"
    taken = _Range(checkpoint)
    try:
        return taken.work()
    except RunLocked:
        return "another worker has it"
    except Stopped as stopped:
        return f"stopped: {stopped}"
    except TargetWriteFailed:
        raise
    except ShimError as error:  # no other worker would fare better: the command has to hear of it
        with contextlib.suppress(RunLocked):
            taken.keep(error=f"{type(error).__name__}: {error}")
        return "failed"


class _Range:
    """One range in the hands of one worker."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.plan, self.position = checkpoint.plan, Position(checkpoint)
        self.tally = Tally.from_json(checkpoint.counts)
        # Each look at the control shows that the range is in somebody's hands, also while it waits for its turn.
        self.control = Control(beat=lambda: self.keep(begun=True))

    def keep(self, **marks: Any) -> None:
        """Keep marks beside the counts, without a move."""
        last_id = self.position.last_id
        self.position.move(last_id, counts=self.tally.to_json() | marks)

    def work(self) -> str:
        """Batch by batch, to the end of the range."""
        request, settings = Request.from_json(self.plan["request"]), load()
        own = job(request, settings, frozenset(self.plan["wanted"]))
        pace, batch = Pace(request.batch_size), self.plan["number"]
        self.keep(begun=True)
        while runs.is_alive(self.plan["run"]):
            self.control.turn()
            page = legacy_rows.page(
                after=self.position.last_id,
                upto=self.plan["upto"],
                unretired_only=unretired_only(request),
                size=pace.size,
            )
            if not page:
                self.keep(done=True)
                return "done"
            started = time.monotonic()
            self._batch(page, dataclasses.replace(own, verify=verify.due(batch, self.plan["total"], settings)))
            batch += 1
            pace.took(len(page), time.monotonic() - started)
        return "the run is over"

    def _batch(self, page: list[LegacyRow], own: Job) -> None:
        to, counted = page[-1].id, self.tally

        def save(classed: list[plan.ClassedRow], written: int) -> None:
            nonlocal counted
            counted = copy.deepcopy(self.tally)  # anew: the transaction may have been tried before
            counted.add(classed, written)
            counted.waited.update(self.control.waited)
            self.position.move(to, counts=counted.to_json() | {"begun": True})

        write_page(page, own, save)
        self.position.moved(to)
        self.tally = counted
        self.control.waited.clear()
