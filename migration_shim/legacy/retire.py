"""Retiring legacy rows: older attempts that a newer one has replaced."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import ExpressionWrapper, F, IntegerField, QuerySet

from .. import stamp
from ..conf import LEGACY_ALIAS
from ..models import LegacySubmission


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
