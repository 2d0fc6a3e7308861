"""Finish the rows that a handoff or a return has left between the two systems, course by course, from the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial

from django.db import DatabaseError
from django.db.models import QuerySet

from ..conf import ShimSettings
from ..core.data import Move
from ..core.errors import ShimError
from ..ledger import stamp
from ..legacy import privileges
from ..legacy import rows as legacy_rows
from ..legacy.files import legacy_storage
from ..models import LedgerEntry
from .give_back import steps as give_back_steps
from .handoff import finish as handoff_finish
from .handoff.steps import retry_step

#: After so many failures in a row the rows are not to blame, and the error is raised.
FAILED_LIMIT = 3
PAGE = 200


def finish_handoff(course_id: str, settings: ShimSettings, check: Callable[[], None]) -> dict[str, int]:
    """
    Take every row of a course that a handoff holds, or has just released, one step further if its time has come.

    Args:
        course_id: the course.
        settings: the settings in force.
        check: called before every row; it may raise to stop.

    Returns:
        How many rows came to which ``handoff.steps.Done``, or failed with which error.

    Raises:
        LegacyNotWritable: the alias ``xqueue`` may not write, or is not known to be the primary, or the ledger is
            another LMS's.
        ShimError, DatabaseError: several rows in a row could not be finished.
    """
    entries = handoff_finish.on_the_way(frozenset([course_id]))
    if not entries.exists():
        return {}
    stamp.check()
    privileges.check_may_update()
    clock = legacy_rows.clock()

    def finish(entry: LedgerEntry) -> str:
        return retry_step(partial(handoff_finish.finish, entry, settings, clock)).value

    return _each(entries.order_by("id"), finish, check)


def finish_return(course_id: str, settings: ShimSettings, check: Callable[[], None]) -> dict[str, int]:
    """
    Give legacy every row of a course that a return has fenced but not written yet.

    Args:
        course_id: the course.
        settings: the settings in force.
        check: called before every row; it may raise to stop.

    Returns:
        How many rows came to which end, or failed with which error.

    Raises:
        LegacyNotWritable: legacy's database may not be written as needed, or the ledger is another LMS's.
        ShimError, DatabaseError: several rows in a row could not be finished.
    """
    entries = LedgerEntry.objects.filter(course_id=course_id, move=Move.RETURNING)
    if not entries.exists():
        return {}
    stamp.check()
    privileges.check_may_write()
    source = legacy_storage(settings)

    def finish(entry: LedgerEntry) -> str:
        decision = give_back_steps.finish(entry.pk, source, execute=True)
        return decision.reason or decision.row_class.value

    return _each(entries.order_by("id"), finish, check)


def _each(
    entries: QuerySet[LedgerEntry], finish: Callable[[LedgerEntry], str], check: Callable[[], None]
) -> dict[str, int]:
    """Finish entries one by one. An entry that fails is counted by its error, and holds up no other."""
    done: Counter[str] = Counter()
    failed = 0
    for entry in _all(entries):
        check()
        try:
            done[finish(entry)] += 1
        except (ShimError, DatabaseError) as error:
            done[f"failed_{type(error).__name__}"] += 1
            failed += 1
            if failed == FAILED_LIMIT:
                raise
        else:
            failed = 0
    return dict(sorted(done.items()))


def _all(entries: QuerySet[LedgerEntry]) -> Iterator[LedgerEntry]:
    after = 0
    while page := list(entries.filter(id__gt=after)[:PAGE]):
        yield from page
        after = page[-1].pk
