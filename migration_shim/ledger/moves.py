"""The one writer of ``LedgerEntry.move``: every change is one that ``core/moves.py`` permits."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

from ..core import moves
from ..core.data import Move
from ..models import LedgerEntry


def compare_and_set(entry: LedgerEntry, to: Move, entries: QuerySet[LedgerEntry] | None = None, **values: Any) -> bool:
    """
    Move an entry as long as its move is still the one that was read; return False where another session was quicker.

    Args:
        entry: the entry as it was read.
        to: the move to write.
        entries: further conditions on the row; it must be the entry's.
        values: columns to write with it.

    Raises:
        IllegalMove: ``to`` may not follow the move that was read.
    """
    rows = LedgerEntry.objects.all() if entries is None else entries
    return rows.filter(pk=entry.pk, move=entry.move).update(move=moves.check(entry.move, to), **values) > 0


def assign(entry: LedgerEntry, to: Move) -> None:
    """
    Set the move of an entry that the caller saves, and whose row it has locked or made in the same transaction.

    Raises:
        IllegalMove: ``to`` may not follow the move that the locked row has.
    """
    entry.move = moves.check(entry.move, to)
