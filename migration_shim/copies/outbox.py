"""
The outbox: a worker does here what accepted submissions are still owed, after the door has returned.

A ledger row says itself what it is owed, and when that is next to be tried. The worker that takes a row moves that time
on. So a worker may die at any point: another one takes the row at the new time, and finds done what was done. A failure
moves the time on as well, longer each time, so that a row that cannot be written holds up no other.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Generator
from contextlib import closing
from datetime import timedelta

from django.db import connection, connections, transaction
from django.db.models import QuerySet
from django.utils.timezone import now

from .. import toggles
from ..conf import ShimSettings
from ..core.data import Authority
from ..core.supersession import Queued
from ..ledger import attempts
from ..metrics import count
from ..models import LedgerEntry
from . import breaker, retire_replaced
from . import write as copies_write

log = logging.getLogger(__name__)

#: How long a row is left to the worker that has taken it.
LEASE = timedelta(minutes=2)
#: Rows taken at once. A copy on legacy may take as long as XQueue's timeouts.
SUPERSESSIONS, COPIES = 100, 10
#: How long a row waits after its first failure, and at most after many.
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=15), timedelta(hours=1)
#: Seconds after which a call takes no more rows: other tasks wait for the worker too.
TURN = 30.0


def drain(
    settings: ShimSettings,
    *,
    courses: list[str] | None = None,
    check: Callable[[], object] = lambda: None,
    seconds: float = TURN,
) -> Counter[str]:
    """
    Do what is due, until nothing is left: first supersession, then shadows, then reverse shadows.

    A row that fails raises nothing: it is tried again later. The kill switch stops copies, not supersession.

    Args:
        settings: the settings in force.
        courses: the courses to do it for; None for all.
        check: called before each row; it may raise to stop.
        seconds: after how many seconds no more rows are taken.

    Returns:
        How many rows came to which end, by word; ``unfinished`` where the time was over before the work was.
    """
    done: Counter[str] = Counter()
    until = time.monotonic() + seconds
    scope = LedgerEntry.objects.all() if courses is None else LedgerEntry.objects.filter(course_id__in=courses)
    while time.monotonic() < until:
        toggles.new_work_cycle()
        for one in connections.all(initialized_only=True):
            if not one.in_atomic_block:
                one.close_if_unusable_or_obsolete()  # the last row may have left it broken
        if _supersessions(scope, settings, check, done):
            continue
        if toggles.kill_switch_on():
            done["stopped_by_kill_switch"] += 1
            break
        took = _copies(copies_write.SHADOW, scope.filter(authority=Authority.LEGACY), settings, check, done)
        if not took + _copies(copies_write.REVERSE, scope.filter(authority=Authority.TARGET), settings, check, done):
            break
    else:
        done["unfinished"] += 1
    return done


def _supersessions(
    scope: QuerySet[LedgerEntry], settings: ShimSettings, check: Callable[[], object], done: Counter[str]
) -> int:
    claimed = _claim(scope, "supersession_due", SUPERSESSIONS)
    states = _states(claimed)
    with closing(_in_turn(claimed, "supersession_due", check)) as turn:
        for entry in turn:
            try:
                known = attempts.queued([entry]) if states is None else states
                again = retire_replaced.retire_replaced_attempts(entry, known.get(entry.pk), settings)
            except Exception as error:  # whatever one row raises, the others go on; it is counted and tried again
                count("supersession_failed", error)
                log.warning(
                    "migration_shim.supersession_failed: attempts were not superseded: %s", type(error).__name__
                )
                _failed(entry, "supersession_due")
                done["supersession_failed"] += 1
            else:
                LedgerEntry.objects.filter(pk=entry.pk).update(supersession_due=again)
                done["supersession"] += 1
    return len(claimed)


def _states(claimed: list[LedgerEntry]) -> dict[int, Queued] | None:
    """Return what the learners' states wait for; None where they cannot be read together, but one by one perhaps."""
    try:
        return attempts.queued(claimed) if claimed else {}
    except Exception as error:  # one unreadable state must not keep the others from being read
        count("learners_states_unreadable", error)
        return None


def _copies(
    kind: str,
    scope: QuerySet[LedgerEntry],
    settings: ShimSettings,
    check: Callable[[], object],
    done: Counter[str],
) -> int:
    trying = breaker.is_open(kind)
    if not breaker.allows(kind):
        done[f"{kind}_paused_by_breaker"] += 1
        return 0
    claimed = _claim(scope, "copy_due", 1 if trying else COPIES)
    refused: set[str] = set()
    with closing(_in_turn(claimed, "copy_due", check)) as turn:
        for entry in turn:
            if entry.queue_name in refused:
                _failed(entry, "copy_due", tried=False)
                continue
            try:
                written = copies_write.write_copy(kind, entry, settings)
            except Exception as error:  # as above
                count("copy_failed", error)
                log.warning("migration_shim.copy_failed: a %s copy was not written: %s", kind, type(error).__name__)
                written = copies_write.Written(word="failed", again=True)
            done[f"{kind}_{'owed' if written.again else 'done'}"] += 1
            if written.refused:
                refused.add(entry.queue_name)
            if written.again:
                _failed(entry, "copy_due")
            else:
                LedgerEntry.objects.filter(pk=entry.pk).update(copy_due=None, tries=0)
            if breaker.is_open(kind):
                break
    return len(claimed)


def _claim(scope: QuerySet[LedgerEntry], column: str, limit: int) -> list[LedgerEntry]:
    """
    Take up to ``limit`` rows whose time in ``column`` has come, the longest due first.

    They are found without a lock and then locked by their ids: a lock on a range of the index would also be one on its
    gaps, into which the doors insert.
    """
    moment = now()
    due = {f"{column}__lte": moment}
    found = list(scope.filter(**due).order_by(column).values_list("pk", flat=True)[:limit])
    if not found:
        return []
    with transaction.atomic():
        rows = LedgerEntry.objects.filter(pk__in=found, **due).order_by("pk")
        claimed = list(rows.select_for_update(skip_locked=connection.features.has_select_for_update_skip_locked))
        LedgerEntry.objects.filter(pk__in=[entry.pk for entry in claimed]).update(**{column: moment + LEASE})
    return claimed


def _in_turn(
    claimed: list[LedgerEntry], column: str, check: Callable[[], object]
) -> Generator[LedgerEntry, None, None]:
    """Yield the rows one by one while their lease surely holds; give back those that are left."""
    left, until = deque(claimed), time.monotonic() + LEASE.total_seconds() / 2
    try:
        while left and time.monotonic() < until:
            check()
            yield left.popleft()
    finally:
        if left:
            LedgerEntry.objects.filter(pk__in=[entry.pk for entry in left]).update(**{column: now()})


def _failed(entry: LedgerEntry, column: str, *, tried: bool = True) -> None:
    wait = min(FIRST_WAIT * 2 ** min(entry.tries, 20), LONGEST_WAIT)
    tries = min(entry.tries + tried, 1000)
    LedgerEntry.objects.filter(pk=entry.pk).update(**{column: now() + wait}, tries=tries)
