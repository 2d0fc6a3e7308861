"""How far a scan has come: a checkpoint that only one process moves at a time."""

from __future__ import annotations

from django.utils.timezone import now

from ..core.errors import RunLocked
from ..models import Checkpoint


class Position:
    """
    A checkpoint, with the id at which this process believes it to be.

    Every move is one conditional UPDATE. A process that seemed dead and comes back (a machine that slept, a task
    delivered twice) finds that another process has moved the checkpoint since, and its batch is rolled back.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint

    @property
    def last_id(self) -> int:
        """The legacy id up to which rows are done."""
        return self.checkpoint.last_id

    def move(self, last_id: int, **columns: object) -> None:
        """
        Move the checkpoint in the open transaction. After the commit call ``moved``, because a retry may undo this.

        Raises:
            RunLocked: another process has moved it.
        """
        mine = Checkpoint.objects.filter(pk=self.checkpoint.pk, last_id=self.checkpoint.last_id)
        if not mine.update(last_id=last_id, updated_at=now(), **columns):
            raise RunLocked("Another run has taken this one's place; it was thought dead.")

    def moved(self, last_id: int) -> None:
        """Remember a move that was committed."""
        self.checkpoint.last_id = last_id
