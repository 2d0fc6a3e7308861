"""
Writes to legacy's rows: retired for a later attempt, taken from graders, put back. Each is one conditional UPDATE.

XQueue reads a row without a lock and later saves all of its columns, so none of these is sure to last: whoever calls
looks again after the settle time. New rows are written by ``give_back``.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import ExpressionWrapper, F, IntegerField, QuerySet

from ..conf import LEGACY_ALIAS
from ..core.classification import MARK
from ..core.data import LegacyRow
from ..ledger import stamp
from ..models import LegacySubmission


def to_change(ids: Iterable[int], *, retired: bool) -> QuerySet[LegacySubmission]:
    """
    The rows with these ids that are retired, or are not, for an UPDATE that finds them by the primary key.

    Every UPDATE of legacy's rows begins here, so here a ledger that is another LMS's is refused once more.

    The sum keeps MariaDB from finding them by XQueue's index on ``retired``: an UPDATE that locks the index before the
    row deadlocks with put_result, which locks them the other way round, and XQueue's transaction may be the one that is
    rolled back, after its result has reached the LMS.

    Raises:
        LedgerNotOurs: the ledger belongs to another LMS.
    """
    stamp.check()
    rows = LegacySubmission.objects.using(LEGACY_ALIAS).filter(id__in=list(ids))
    state = ExpressionWrapper(F("retired") + 0, output_field=IntegerField())
    return rows.annotate(state=state).filter(state=int(retired))


def retire(ids: Iterable[int]) -> int:
    """
    Retire those of these rows that are not retired yet, and return how many.

    The empty pullkey stops a grader that is at work: XQueue's put_result does not look at ``retired``. A pull that had
    read the row before may still bring it back (XQueue saves all columns); its late reply carries a key that CAPA does
    not wait for any more.

    Raises:
        DatabaseError: the alias may not write, or is not there.
    """
    return to_change(ids, retired=False).update(retired=True, pullkey="")


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


def revive(row_id: int, mark: str) -> bool:
    """Put a row that was handed off back into its queue, if it still bears the handoff's mark."""
    marked = to_change([row_id], retired=True).filter(grader_id=mark)
    return marked.update(retired=False, pull_time=None, pullkey="", grader_id="") > 0
