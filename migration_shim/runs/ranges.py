"""
The worker's side of work that is spread over workers: ranges of ids, each a row with its task and its counts.

A worker takes one range and moves its position, and the counts with it, batch by batch. So a worker may die at any
point, a range may be handed out twice, and the counts still add up. Only the range's number leaves the database. The
command holds the lock and the heartbeat; a worker goes on only while that run is alive.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Generic, Protocol, Self, TypeVar

from ..core.errors import RunLocked, ShimError, TargetWriteFailed
from ..models import Checkpoint
from . import records as run_records
from .checkpoints import Position
from .control import Control, Stopped


class Counts(Protocol):
    """The counts of a range, kept on its row as plain data."""

    def join(self, other: Self) -> None:
        """Add what another process has counted."""

    def to_json(self) -> dict[str, Any]:
        """Return the counts as plain data."""

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Return the counts of a row; empty counts from a row that has counted nothing yet."""


T = TypeVar("T", bound=Counts)


class Range(Generic[T]):
    """One range in the hands of one worker."""

    def __init__(self, checkpoint: Checkpoint, kind: type[T], stop: Callable[[], str]) -> None:
        self.plan, self.position = checkpoint.plan, Position(checkpoint)
        self.tally = kind.from_json(checkpoint.counts)
        # Each look at the control shows that a worker has the range, also while it waits for its turn.
        self.control = Control(stop, beat=lambda: self.keep(begun=True))

    def is_wanted(self) -> bool:
        """Tell whether the run that the range belongs to is still alive."""
        return run_records.is_alive(self.plan["run"])

    def keep(self, **marks: Any) -> None:
        """Store marks beside the counts, without moving the position."""
        self.position.move(self.position.last_id, counts=self.tally.to_json() | marks)


def work(range_id: int, kind: type[T], do: Callable[[Range[T]], str], stop: Callable[[], str]) -> str:
    """
    Work through a range from where it stands, and return what became of it, as a word for a log.

    Args:
        range_id: its number.
        kind: the class of its counts.
        do: does the work of one range.
        stop: returns why the work has to stop before its next batch; see ``Control``.

    Raises:
        TargetWriteFailed, DatabaseError: the target does not accept writes now; the command sends the range again.
    """
    checkpoint = Checkpoint.objects.filter(pk=range_id).first()
    if checkpoint is None or not checkpoint.plan or checkpoint.counts.get("done"):
        return "nothing to do"
    taken = Range(checkpoint, kind, stop)
    try:
        taken.keep(begun=True)
        return do(taken)
    except RunLocked:
        return "another worker has it"
    except Stopped as stopped:
        return f"stopped: {stopped}"
    except TargetWriteFailed:
        raise
    except ShimError as error:  # every other worker would meet it too, so the command has to know
        with contextlib.suppress(RunLocked):
            taken.keep(error=f"{type(error).__name__}: {error}")
        return "failed"
