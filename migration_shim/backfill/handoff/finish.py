"""
A handoff's later steps, settle and watch. They need the ledger only, so any run can finish what another began.

A row on its way is in one of three states:

- ``held``: its real target row is on a queue that no grader polls; legacy may still have it;
- ``fenced``: legacy's row bears our mark; until the settle time ends, a pull that read the row before may undo that;
- ``released``: the target's graders have it; legacy is looked at once more.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial

from django.db import transaction
from django.db.models import QuerySet
from django.utils.timezone import now

from ...conf import ShimSettings
from ...core.data import HELD, Authority, Leg, Move, PairStatus
from ...core.supersession import submission_time
from ...ledger import attempts, moves, permits
from ...ledger.buckets import counted
from ...legacy import give_back, reading, writes
from ...legacy import rows as legacy_rows
from ...models import LedgerEntry
from ...target import transitions
from ..request import in_scope
from .steps import Done, Side, drop, drop_locked, is_ours, legacy_side, retry_step, unchanged, update_unchanged

#: Moves that a handoff has not finished with.
ON_THE_WAY = (*HELD, Move.RELEASED)
PAGE = 200


def on_the_way(
    courses: frozenset[str] | None = None, queues: frozenset[str] | None = None, moves: tuple[Move, ...] = ON_THE_WAY
) -> QuerySet[LedgerEntry]:
    """Return the entries of a scope that a handoff has not finished with; None stands for all courses or queues."""
    return in_scope(LedgerEntry.objects.filter(move__in=moves), courses, queues)


def finish_held(
    settings: ShimSettings, courses: frozenset[str] | None = None, queues: frozenset[str] | None = None
) -> Iterator[tuple[LedgerEntry, Done]]:
    """
    Take every row on its way one step further whose time has come; yield each entry as it was, and what was done.

    It is one pass without waiting: call it again until nothing is left. The kill switch does not stop it.
    """
    entries, after = on_the_way(courses, queues), 0
    while page := list(entries.filter(id__gt=after).order_by("id")[:PAGE]):
        after, clock = page[-1].pk, legacy_rows.clock()
        for entry in page:
            yield entry, retry_step(partial(finish, entry, settings, clock))


def finish(entry: LedgerEntry, settings: ShimSettings, clock: datetime) -> Done:
    """Take an entry one step further, if its time has come. ``clock`` is the time of legacy's database."""
    if entry.moved_at is not None and clock < entry.moved_at + wait_of(entry.move, settings):
        return Done.WAITING
    if entry.move == Move.HELD:
        return _finish_unfenced(entry, settings)
    return _settle(entry, settings) if entry.move == Move.FENCED else watch(entry)


def wait_of(move: str, settings: ShimSettings) -> timedelta:
    """Return how long a row stays in a state before the next step."""
    delay = settings.processing_delay_seconds if move == Move.RELEASED else settings.handoff_settle_seconds
    return timedelta(seconds=delay)


def _finish_unfenced(entry: LedgerEntry, settings: ShimSettings) -> Done:
    """Finish a held row whose session seems to have died before the fence, or between the fence and the ledger."""
    for row in legacy_side(entry)[1]:
        writes.void(row, entry.real_submission_id or 0)
    side, alive = legacy_side(entry)
    if side is not Side.OURS or entry.superseded_at is not None:
        return drop(entry, alive, settings)
    # When it was fenced is not known: the settle time begins now.
    fenced = moves.compare_and_set(entry, Move.FENCED, unchanged(entry), moved_at=legacy_rows.clock())
    return Done.FENCED if fenced else Done.ELSEWHERE


def _settle(entry: LedgerEntry, settings: ShimSettings) -> Done:
    """Step 3: release the row if legacy can never have it again; else leave it to legacy."""
    clock = legacy_rows.clock()
    side, alive = legacy_side(entry)
    awaited = attempts.is_awaited(entry.raw_header, entry.student_info, entry.learner)
    with counted([entry.pk]):
        locked = unchanged(entry).select_for_update().first()
        if locked is None:
            return Done.ELSEWHERE
        known = (locked.input_key, locked.identity, locked.student_info, locked.arrived_at)
        if locked.superseded_at is None and is_replaced(*known, awaited):
            locked.superseded_at = now()
        if locked.superseded_at is not None or side is not Side.OURS:
            return drop_locked(locked, alive, settings)
        held_queue = locked.queue_name + settings.held_queue_suffix
        released = transitions.release(locked.real_submission_id or 0, held_queue, locked.queue_name)
        if released:
            _release(locked, clock)
    if not released:
        # The held row was deleted: legacy gets its own back. If this is cut off here, the next run finds it alive.
        writes.revive(entry.legacy_id or 0, writes.mark_of(entry.pk))
        return drop(entry, [], settings)
    _set_shadow_aside(locked)
    return Done.RELEASED


def _release(entry: LedgerEntry, clock: datetime) -> None:
    """Make the real row the entry's target row, and set aside what the entry knows of the shadow."""
    entry.shadow_submission_id, entry.shadow_lease_key = entry.target_submission_id, entry.lease_key
    entry.lease_key, entry.leased_at, entry.leases = "", None, 0
    entry.echo, entry.copy_due = False, None
    entry.target_submission_id, entry.target_leg, entry.target_reason = entry.real_submission_id, Leg.STORED, ""
    moves.assign(entry, Move.RELEASED)
    entry.authority, entry.moved_at = Authority.TARGET, clock
    # Row and shadow were evidence for a step that was taken. There is one side left, and no pair.
    entry.result, entry.divergences, entry.known, entry.graded_pair = PairStatus.NONE, "", "", False
    entry.seen, entry.settled_at, entry.payload_compared_at = "", None, None
    entry.learner_said, entry.learner_settled_at = "", None  # its learner waits for an answer again
    entry.save()


def _set_shadow_aside(entry: LedgerEntry) -> None:
    """Retire an ungraded shadow, whose grade is of no use. Not under the entry's lock, which storing a grade needs."""
    if entry.shadow_submission_id is not None:
        transitions.supersede([entry.shadow_submission_id])


def watch(entry: LedgerEntry) -> Done:
    """
    Step 4: look at legacy once more. If the row is alive again both systems have had it; it is retired again.

    The ledger is read after legacy. As long as it says that the row is the target's, no return has revived the rows
    that were read.
    """
    main, rows = reading.rows_of(entry.raw_header, entry.legacy_id or 0)
    fresh = unchanged(entry).first()
    if fresh is None or fresh.moved_at is None:
        return Done.ELSEWHERE
    alive = [row for row in rows if not row.retired]
    returned = any(row.return_time is not None and row.return_time >= fresh.moved_at for row in rows)
    double = alive or returned or not is_ours(main, entry)
    if double:
        with transaction.atomic():  # before the row is retired again: a crash must not hide it
            permits.lock([entry.course_id])
            update_unchanged(entry, double_authority=True)
            permits.withdraw([entry.course_id])
    mark = writes.mark_of(entry.pk)
    fenced = [row for row in alive if writes.fence(row, mark)]
    _set_shadow_aside(fresh)  # a crash may have come between
    if moves.compare_and_set(entry, Move.WATCHED, unchanged(entry)):
        return Done.DOUBLE if double else Done.WATCHED
    if LedgerEntry.objects.filter(pk=entry.pk, move__in=(Move.RETURNING, Move.RETURNED)).exists():
        # A return came between the look at the ledger and the fence: legacy's graders are to have these rows.
        for row in fenced:
            writes.revive(row.id, mark)
    return Done.ELSEWHERE


def is_replaced(input_key: str, identity: str, student_info: str, arrived_at: datetime, awaited: bool | None) -> bool:
    """
    Tell whether the target has a newer attempt of the same learner at the same input.

    Args:
        input_key: stands for learner, problem and input; empty where the input is not known.
        identity: of the attempt that is asked about.
        student_info: its student_info, which holds the time of submission.
        arrived_at: when it arrived.
        awaited: whether the learner's state waits for it (``ledger.attempts.is_awaited``); then nothing replaces it.
    """
    if not input_key or awaited:
        return False
    others = LedgerEntry.objects.filter(input_key=input_key, authority=Authority.TARGET).exclude(identity=identity)
    own, gap = (submission_time(student_info), arrived_at), attempts.supersession_gap(awaited)
    found = others.values_list("student_info", "arrived_at")
    return any(give_back.was_made_after(submission_time(info), arrived, *own, gap) for info, arrived in found)
