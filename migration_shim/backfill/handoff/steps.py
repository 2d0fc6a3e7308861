"""
A handoff's first two steps, hold and fence, and the undoing of a hold. Each is for one row, and is safe to repeat.

No lock is held across the two databases. Legacy was read before the ledger entry was locked. So every step checks under
that lock that the entry's move and its held row are still what they were then.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import TypeVar

from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from ...conf import ShimSettings
from ...core.classification import ParsedRow, is_handed_off
from ...core.data import Authority, Leg, LegacyRow, Move, Origin, Phase
from ...core.identity import Placement, held_placement
from ...core.moves import may_follow
from ...db.retry import collision, on_contention
from ...ledger import moves
from ...ledger.entries import new_entry, refill
from ...legacy import reading, writes
from ...legacy import rows as legacy_rows
from ...legacy.files import Source
from ...models import LedgerEntry
from ...target import transitions, writer
from .. import files
from ..target_rows import points_of

T = TypeVar("T")


class Done(enum.StrEnum):
    """What a step has done with a row."""

    FENCED = "fenced"
    RELEASED = "released"
    WATCHED = "watched"
    DOUBLE = "double_authority"  # watched, and found with both systems
    DROPPED = "dropped"  # the hold was undone: the row is legacy's again, or its learner does not wait for it
    WAITING = "waiting"  # its time has not come
    ELSEWHERE = "elsewhere"  # another session has it


class Side(enum.Enum):
    """Whose a submission's rows on legacy are while it is on its way."""

    OURS = "ours"  # every row of the submission is retired, its own with our mark (or gone)
    ALIVE = "alive"
    OTHER = "other"  # retired, but not by us: graded, replaced, given up


def retry_step(step: Callable[[], T]) -> T:
    """
    Do a step and return its result; on contention, a collision or a dropped connection try it again, a few times.

    Raises:
        OperationalError, TargetWriteFailed: it has failed every time.
    """
    return on_contention(step, also=collision)


def held_place(parsed: ParsedRow, keys: dict[str, str], settings: ShimSettings) -> Placement:
    """
    Return where on the target a row would be held. The plan asks this too.

    Raises:
        Unfit: the target cannot hold it.
    """
    assert parsed.envelope is not None  # only a row that was read is moved
    queue_name = parsed.envelope.header.queue_name
    writer.check_fits(parsed.envelope.body, keys, queue_name, folder=queue_name)
    return held_placement(parsed.envelope, settings.held_queue_suffix)


def hold(parsed: ParsedRow, keys: dict[str, str], source: Source, settings: ShimSettings) -> LedgerEntry | None:
    """
    Step 1: write the real target row on the holding queue, which no grader polls.

    Args:
        parsed: legacy's row as parsed.
        keys: its files' storage keys on legacy, by name.
        source: where legacy's files are.
        settings: the settings in force.

    Returns:
        The ledger entry; None where the row is not free: it was superseded, or another run or the target has it.

    Raises:
        Unfit, FileUnavailable: the target cannot hold it.
        TargetWriteFailed: nothing was written.
    """
    envelope, row = parsed.envelope, parsed.row
    assert envelope is not None and parsed.digests is not None  # only a row that was read is moved
    placement = held_place(parsed, keys, settings)
    clock = legacy_rows.clock()
    wanted = files.WantedFiles(row=row, keys=keys, queue_name=envelope.header.queue_name)
    with files.stored([wanted], source, settings) as stored:
        if row.id in stored.failed:
            raise stored.failed[row.id]
        try:
            with transaction.atomic():
                entry = _entry_of(parsed, settings)
                if entry.superseded_at is not None or entry.authority == Authority.TARGET or not _is_free(entry):
                    return None
                entry.real_submission_id = writer.insert(
                    placement,
                    envelope.body,
                    stored.files.get(row.id, []),
                    points_possible=entry.points_possible,
                    arrived_at=row.arrival_time,
                )
                moves.assign(entry, Move.HELD)
                entry.moved_at = clock
                entry.legacy_leg, entry.legacy_id = Leg.STORED, row.id
                entry.save(update_fields=["real_submission_id", "move", "moved_at", "legacy_leg", "legacy_id"])
                return entry
        except IntegrityError:
            return None  # another session has just made the entry of this identity


def _is_free(entry: LedgerEntry) -> bool:
    return may_follow(Move(entry.move), Move.HELD)


def _entry_of(parsed: ParsedRow, settings: ShimSettings) -> LedgerEntry:
    """Return the entry of a row, locked; make one where there is none."""
    assert parsed.envelope is not None and parsed.digests is not None
    # Found without a lock: a lock on a row that does not exist would be one on a gap, into which others insert.
    found = LedgerEntry.objects.filter(identity=parsed.digests.identity).values_list("pk", flat=True).first()
    if found is not None:
        entry = LedgerEntry.objects.select_for_update().get(pk=found)
        if entry.purged_at is not None:  # settled long ago; an operator has opened its row again
            refill(entry, parsed.envelope, parsed.digests, parsed.input_key)
        return entry
    entry = new_entry(
        parsed.envelope,
        parsed.digests,
        phase=Phase.LEGACY,  # in which it was accepted
        origin=Origin.HANDOFF,
        arrived_at=parsed.row.arrival_time,
        input_key=parsed.input_key,
    )
    callback = parsed.envelope.callback
    entry.points_possible = points_of(callback.course_id, callback.item_id, settings)
    entry.save(force_insert=True)
    return entry


def fence(entry: LedgerEntry, as_classed: list[LegacyRow], settings: ShimSettings) -> Done:
    """
    Step 2: take the row from legacy's graders, by retiring it with our mark.

    Args:
        entry: the entry that ``hold`` has returned.
        as_classed: the submission's rows as they were read when none of them was under a live pull.
        settings: the settings in force.

    Returns:
        FENCED; DROPPED where legacy has gone on with the row; ELSEWHERE where another session was quicker.
    """
    mark = writes.mark_of(entry.pk)
    took = [row.id for row in as_classed if not row.retired and writes.fence(row, mark)]
    side, alive = legacy_side(entry)
    if side is not Side.OURS:
        return drop(entry, alive, settings)
    if moves.compare_and_set(entry, Move.FENCED, unchanged(entry), moved_at=legacy_rows.clock()):
        return Done.FENCED
    if LedgerEntry.objects.get(pk=entry.pk).real_submission_id != entry.real_submission_id:
        # Another session took this one for dead and dropped the hold: without a held row it would never be graded.
        for row_id in took:
            writes.revive(row_id, mark)
    return Done.ELSEWHERE


def legacy_side(entry: LedgerEntry) -> tuple[Side, list[LegacyRow]]:
    """Return whose the submission's rows on legacy are, and those of them that are alive there."""
    main, rows = reading.rows_of(entry.raw_header, entry.legacy_id or 0)
    alive = [row for row in rows if not row.retired]
    if alive:
        return Side.ALIVE, alive
    return (Side.OURS if is_ours(main, entry) else Side.OTHER), []


def is_ours(row: LegacyRow | None, entry: LedgerEntry) -> bool:
    """Tell whether only this handoff has legacy's row; also True where XQueue's retention has removed the row."""
    return row is None or (is_handed_off(row) and row.grader_id == writes.mark_of(entry.pk))


def unchanged(entry: LedgerEntry) -> QuerySet[LedgerEntry]:
    """Return a queryset of the entry, empty if its move or its held row has changed since it was read."""
    return LedgerEntry.objects.filter(pk=entry.pk, move=entry.move, real_submission_id=entry.real_submission_id)


def update_unchanged(entry: LedgerEntry, **values: object) -> bool:
    """Update an entry's columns; return False where another session has changed its move or held row."""
    return unchanged(entry).update(**values) > 0


def drop(entry: LedgerEntry, alive: list[LegacyRow], settings: ShimSettings) -> Done:
    """
    Undo a hold: the held row is removed and the submission is legacy's again.

    ``alive`` are the submission's rows that legacy goes on with. ELSEWHERE means that another session was quicker.
    """
    with transaction.atomic():
        locked = unchanged(entry).select_for_update().first()
        return Done.ELSEWHERE if locked is None else drop_locked(locked, alive, settings)


def drop_locked(entry: LedgerEntry, alive: list[LegacyRow], settings: ShimSettings) -> Done:
    """Undo a hold as ``drop`` does, of an entry that the caller has locked. An entry that the hold made stays."""
    transitions.drop(entry.real_submission_id or 0, entry.queue_name + settings.held_queue_suffix)
    moves.assign(entry, Move.NONE)
    entry.moved_at, entry.real_submission_id = None, None
    if alive:
        entry.legacy_id = max(row.id for row in alive)
    entry.save(update_fields=["move", "moved_at", "real_submission_id", "legacy_id", "superseded_at"])
    return Done.DROPPED
