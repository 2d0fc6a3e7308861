"""Where a backfill of a scope resumes."""

from __future__ import annotations

from ..models import Checkpoint
from ..runs import records as run_records
from ..runs.checkpoints import Position
from .request import Request


def position_of_scope(request: Request) -> Position:
    """Return the position of a request's scope and mode. A plan stores no new position and moves no stored one."""
    name = f"backfill:{run_records.digest({'scope': request.scope})[:32]}"
    if request.execute:
        checkpoint, _ = Checkpoint.objects.get_or_create(name=name)
    else:
        checkpoint = Checkpoint.objects.filter(name=name).first() or Checkpoint(name=name)
    position = Position(checkpoint)
    if request.restart:
        if request.execute:
            position.move(0)
        position.moved(0)
    return position
