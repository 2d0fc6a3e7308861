"""How far a walk has come: a checkpoint that one process moves at a time."""

from __future__ import annotations

from django.utils.timezone import now

from ..core.errors import RunLocked
from ..models import Checkpoint


class Position:
    """
    A checkpoint, with the id that this process believes it to be at.

    Every move is one conditional UPDATE. A process that was thought dead and comes back (a machine that slept, a task
    delivered twice) finds that another has moved the checkpoint since, and its batch is rolled back.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint

    @property
    def last_id(self) -> int:
        """The legacy id up to which rows are done."""
        return self.checkpoint.last_id

    def move(self, last_id: int, **columns: object) -> None:
        """
        Move it in the open transaction. That may be taken back and tried again: after its commit call ``moved``.

        Raises:
            RunLocked: somebody else has moved it.
        """
        mine = Checkpoint.objects.filter(pk=self.checkpoint.pk, last_id=self.checkpoint.last_id)
        if not mine.update(last_id=last_id, updated_at=now(), **columns):
            raise RunLocked("Another run has taken this one's place; it was thought dead.")

    def moved(self, last_id: int) -> None:
        """Remember a move that is committed."""
        self.checkpoint.last_id = last_id
