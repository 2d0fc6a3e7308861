"""
Writes to legacy's rows: retire, fence, void and revive. Each is one conditional UPDATE.

XQueue reads a row without a lock and later saves all of its columns, so none of these writes is sure to last. Callers
have to look again after the settle time. New rows are inserted by ``give_back``.
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
    Return the rows with these ids that are retired, or are not, for an UPDATE that finds them by the primary key.

    Every UPDATE of legacy's rows begins here, so this also refuses a ledger that is another LMS's.

    The sum in the condition keeps MariaDB from using XQueue's index on ``retired``. An UPDATE that locks the index
    before the row deadlocks with put_result, which locks them the other way round. XQueue's transaction may then be the
    one that is rolled back, after its result has reached the LMS.

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

    The empty pullkey stops a grader that is at work, because XQueue's put_result does not look at ``retired``. A pull
    that had read the row before may still bring it back (XQueue saves all columns). Its late reply carries a key that
    CAPA no longer waits for.

    Raises:
        DatabaseError: the alias may not write, or does not exist.
    """
    return to_change(ids, retired=False).update(retired=True, pullkey="")


def mark_of(entry_id: int) -> str:
    """Return what a row that was fenced for this ledger entry has in ``grader_id``."""
    return f"{MARK}{entry_id}"


def fence(row: LegacyRow, mark: str) -> bool:
    """
    Retire a row with our mark if it is still exactly what was read, and tell whether it was.

    The empty pullkey stops a grader that had the row long ago: ``put_result`` does not look at ``retired``. Every pull
    writes a new pull_time and pullkey, so a row that was pulled since it was read is left alone.

    Raises:
        DatabaseError: the state of the row is unknown now.
    """
    same = to_change([row.id], retired=False).filter(
        pull_time=row.pull_time, pullkey=row.pullkey, grader_id=row.grader_id
    )
    return same.update(retired=True, pullkey="", grader_id=mark) > 0


def void(row: LegacyRow, held_id: int) -> None:
    """
    Make sure that no other session's fence of this row succeeds, because the held row ``held_id`` is about to be
    dropped.

    Another session may have stalled between the held row and the fence. Its fence requires the grader_id that it has
    read, and this function writes one that no session can have read. To XQueue the column means nothing before the next
    pull, which sets it.
    """
    to_change([row.id], retired=False).update(grader_id=f"not handed off: {held_id}")


def revive(row_id: int, mark: str) -> bool:
    """
    Put a row that was handed off back into its queue if it still bears the handoff's mark, and tell whether it did.
    """
    marked = to_change([row_id], retired=True).filter(grader_id=mark)
    return marked.update(retired=False, pull_time=None, pullkey="", grader_id="") > 0
