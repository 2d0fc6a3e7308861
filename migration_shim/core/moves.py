"""The moves of a submission between the two systems: which may follow which."""

from __future__ import annotations

from .data import Move
from .errors import IllegalMove

#: The moves that may follow each, in the order of a handoff and a return. What is not here is never written.
PERMITTED: dict[Move, tuple[Move, ...]] = {
    # A handoff holds the row; a return takes the target's own row back.
    Move.NONE: (Move.HELD, Move.RETURNING),
    # The hold is dropped where legacy goes on with the row or a newer attempt has replaced it.
    Move.HELD: (Move.FENCED, Move.NONE),
    Move.FENCED: (Move.RELEASED, Move.NONE),
    Move.RELEASED: (Move.WATCHED, Move.RETURNING),
    # Looked at once more, where a later handoff finds legacy's row alive.
    Move.WATCHED: (Move.WATCHED, Move.RETURNING),
    # A return is over without a row on legacy where a newer attempt has replaced it.
    Move.RETURNING: (Move.RETURNED, Move.NONE),
    # There and back again: legacy's row may be handed off once more.
    Move.RETURNED: (Move.HELD, Move.RETURNING),
}


def may_follow(before: Move, to: Move) -> bool:
    """Tell whether a submission may come from one move to another."""
    return to in PERMITTED[before]


def check(before: str, to: Move) -> Move:
    """
    Return the move that is to be written.

    Raises:
        IllegalMove: it may not follow the one before.
    """
    if not may_follow(Move(before), to):
        raise IllegalMove(before, to)
    return to
