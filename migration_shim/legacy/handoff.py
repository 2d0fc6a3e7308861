"""
Legacy's side of a handoff: taking one row from its graders. Every write is one conditional UPDATE of one row.

XQueue reads a row without a lock and later saves all of its columns, so none of these is sure to last: whoever calls
looks again after the settle time.
"""

from __future__ import annotations

from ..core.mapping import MARK
from ..core.wire import parse_header
from ..data import LegacyRow
from . import rows
from .retire import to_change


def mark_of(entry_id: int) -> str:
    """What a fenced row has in ``grader_id``."""
    return f"{MARK}{entry_id}"


def fence(row: LegacyRow, mark: str) -> bool:
    """
    Retire a row with our mark, if it still is what was read, to the letter; say whether it was.

    The empty pullkey stops a grader that had the row long ago: ``put_result`` does not look at ``retired``. Every pull
    writes a new pull_time and pullkey, so a row that was pulled since it was read is left alone.

    Raises:
        DatabaseError: nothing is known of the row now.
    """
    same = to_change([row.id], retired=False).filter(
        pull_time=row.pull_time, pullkey=row.pullkey, grader_id=row.grader_id
    )
    return same.update(retired=True, pullkey="", grader_id=mark) > 0


def void(row: LegacyRow, held_id: int) -> None:
    """
    See to it that no fence of another session succeeds any more, for the held row ``held_id`` is about to be dropped.

    That session may have stalled between the held row and the fence. The fence asks for the grader_id that it has read;
    this writes one that nobody can have read. For XQueue the column means nothing before the next pull, which sets it.
    """
    to_change([row.id], retired=False).update(grader_id=f"not handed off: {held_id}")


def rows_of(raw_header: str, row_id: int) -> tuple[LegacyRow | None, list[LegacyRow]]:
    """
    (the row with this id, or None where it is gone; all rows of that very submission, this one among them).

    A submission that was sent twice has several rows with one queuekey, and it counts once, whichever is graded.
    """
    found = [
        row for row in rows.with_callback(parse_header(raw_header).callback_url) if row.xqueue_header == raw_header
    ]
    main = next((row for row in found if row.id == row_id), None)
    return main, [row for row in found if main is None or row.xqueue_body == main.xqueue_body]
