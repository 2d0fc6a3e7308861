"""
Supersession: a worker retires, on both systems, the attempts that a learner has left behind.

XQueue supersedes by the first 128 characters of the callback. That is too much, for it hits sibling inputs and other
problems, and across systems it is too little. The app supersedes by the input, which it recovers from the lms_key;
where it cannot, it supersedes nothing. ``core/supersession.py`` decides which attempts are replaced.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from django.db import transaction
from django.utils.timezone import now

from ..conf import ShimSettings
from ..core.data import BETWEEN, HELD, Authority, LegacyRow, Move
from ..core.errors import Malformed
from ..core.identity import digests, input_key
from ..core.supersession import STALL, Attempt, Queued, superseded
from ..core.wire import parse_envelope, parse_header
from ..ledger import attempts, stamp
from ..legacy import by_callback, timeouts, writes
from ..metrics import count
from ..models import LedgerEntry
from ..target.open_rows import queues_of_in_flight
from ..target.transitions import revive, supersede
from . import breaker

log = logging.getLogger(__name__)

#: How soon a row is looked at again that a grader's session holds or that a return is moving.
BUSY = timedelta(seconds=5)
#: For how long after an attempt XQueue's database is tried. Where it was switched off for good, nothing is owed to it.
AWAY = timedelta(days=1)


def retire_replaced_attempts(entry: LedgerEntry, state: Queued | None, settings: ShimSettings) -> datetime | None:
    """
    Retire the attempts at an entry's input that a newer attempt has replaced.

    Args:
        entry: an accepted submission. If the target is authoritative for it, legacy's rows are looked at too. If legacy
            is, XQueue has retired its own.
        state: what the learner's state waits for, as it was after the hold; None where it cannot be read.
        settings: the settings in force.

    Returns:
        When to look again; None where waiting changes nothing.

    Raises:
        DatabaseError: a system could not be asked; what was done before stands.
    """
    if not entry.input_key:
        count("supersession_input_unknown")
        return None
    whole = family = list(LedgerEntry.objects.filter(input_key=entry.input_key))
    if state is not None and state.key is not None:
        _bring_back(family, state.key)
    family = [one for one in family if one.superseded_at is None]
    flying = set(
        queues_of_in_flight(one.target_submission_id for one in family if one.target_submission_id is not None)
    )
    known = [attempts.attempt(one, alive=_is_alive(one, flying)) for one in family]
    gone, again = superseded(known, state, now())
    # Also what a handoff or a linker has called superseded, whose row on the target may be in flight yet.
    busy = _on_target([one for one in whole if one.pk in gone or one.superseded_at is not None])
    again = _earliest(again, _doubt(whole, gone), _copies_of(whole, gone))
    if entry.authority == Authority.TARGET and entry.move == Move.NONE:
        again = _earliest(again, _on_legacy(entry, family, state, settings))
    return _earliest(again, now() + BUSY if busy else None)


def _is_alive(entry: LedgerEntry, flying: set[int]) -> bool:
    """Tell whether an attempt is in flight on the target, on its way between the systems, or is owed a shadow."""
    moving = entry.move in BETWEEN
    return entry.target_submission_id in flying or moving or _is_owed(entry)


def _is_owed(entry: LedgerEntry) -> bool:
    return entry.authority == Authority.LEGACY and entry.copy_due is not None


def _copies_of(whole: list[LedgerEntry], gone: set[int]) -> datetime | None:
    """Return when to look for the shadows that replaced attempts are owed: less and less often, they may take long."""
    owed = [one for one in whole if (one.pk in gone or one.superseded_at is not None) and _is_owed(one)]
    return _earliest(*(now() + max(BUSY, (now() - one.arrived_at) / 4) for one in owed))


def _doubt(whole: list[LedgerEntry], gone: set[int]) -> datetime | None:
    """Return until when the LMS may still save the key of an attempt that was retired for one made beside it."""
    newest = max(one.arrived_at for one in whole)
    retired = [one for one in whole if one.pk in gone or one.superseded_at is not None]
    beside = any(newest - one.arrived_at <= STALL for one in retired)
    return newest + STALL if beside and newest + STALL > now() else None


def _bring_back(family: list[LedgerEntry], key: str) -> None:
    """
    Put the attempt that the learner's state waits for back into its queue, if it was superseded.

    Of two tabs at once the LMS may save the first tab's key last, and late. Its learner would wait for ever.
    """
    its = [one for one in family if attempts.key_of(one) == key]
    if not its or any(one.superseded_at is None for one in its):
        return
    last = max(its, key=lambda one: one.pk)
    if (last.authority, last.move) == (Authority.TARGET, Move.NONE) and revive(last.target_submission_id or 0):
        LedgerEntry.objects.filter(pk=last.pk).update(superseded_at=None, settled_at=None, learner_settled_at=None)
        last.superseded_at = None
        count("supersession_undone")


def _earliest(*times: datetime | None) -> datetime | None:
    return min((time for time in times if time is not None), default=None)


def _on_target(gone: list[LedgerEntry]) -> bool:
    """Retire replaced attempts on the target; return whether another session is at work on one of them."""
    busy, targets = False, {}
    for entry in gone:
        submission_id = entry.target_submission_id
        if entry.move == Move.RETURNING:
            busy = True
            continue
        if entry.move in HELD:
            submission_id = _supersede_held(entry.pk)
        if submission_id is not None:
            targets[submission_id] = entry.pk
    superseded = supersede(targets)
    if superseded:
        entries = [targets[submission_id] for submission_id in superseded]
        LedgerEntry.objects.filter(pk__in=entries, superseded_at=None).update(superseded_at=now())
        count("superseded_on_target")
    return busy or bool(queues_of_in_flight(targets))


def _supersede_held(pk: int) -> int | None:
    """
    Mark an attempt that a handoff holds as superseded, so that it is never released.

    It is done under the entry's lock, which a release takes too: either the release finds the mark, or this finds the
    released row. The handoff drops the held row itself; until then no grader polls its queue.

    Returns:
        The id of the target row that is left to retire.
    """
    with transaction.atomic():
        entry = LedgerEntry.objects.select_for_update().get(pk=pk)
        if entry.move in HELD:
            entry.superseded_at = now()
            entry.save(update_fields=["superseded_at"])
            count("superseded_held")
    return entry.target_submission_id


def _on_legacy(
    entry: LedgerEntry, family: list[LedgerEntry], state: Queued | None, settings: ShimSettings
) -> datetime | None:
    """Retire legacy's rows that a later attempt on the target has replaced; return when to look again."""
    if stamp.complaint():
        count("supersession_on_legacy_refused")
        return None
    if not entry.raw_header:
        return _give_up()
    waited = now() - entry.arrived_at
    if not breaker.allows("legacy_rows"):
        count("supersession_on_legacy_paused")
        # Less and less often: while XQueue's database is away, every submission waits for it here.
        pause = max(timedelta(seconds=settings.breaker_seconds), BUSY, waited / 4)
        return now() + pause if waited < AWAY else _give_up()
    try:
        again = _retire(entry, family, state)
    except timeouts.AWAY:
        if not entry.tries:  # a row that fails again and again counts once
            breaker.failed("legacy_rows", settings)
        count("supersession_failed_on_legacy")
        if waited < AWAY:
            raise
        return _give_up()
    breaker.succeeded("legacy_rows")
    return again


def _give_up() -> datetime | None:
    """Stop looking: the next attempt at the input, or a handoff, finds the rows that are still there."""
    count("supersession_on_legacy_given_up")
    log.warning("migration_shim.supersession_given_up: nobody could look for older attempts on legacy, for too long")
    return None


def _retire(entry: LedgerEntry, family: list[LedgerEntry], state: Queued | None) -> datetime | None:
    found = [row for row in by_callback.open_rows(parse_header(entry.raw_header).callback_url) if _is_of(row, entry)]
    known = {one.pk: attempts.attempt(one, alive=False) for one in family}
    own = [one for one in family if one.authority == Authority.LEGACY]
    theirs = [known[one.pk] for one in family if one.authority == Authority.TARGET]
    again = None
    for row in found:
        held_by = _entry_of(row, own)
        number = known[held_by.pk].number if held_by is not None else None
        one = Attempt(name=row.id, key=parse_header(row.xqueue_header).lms_key, began=row.arrival_time, number=number)
        gone, later = superseded((one, *theirs), state, now())
        again = _earliest(again, later)
        if gone and writes.retire(gone):
            count("superseded_on_legacy")
            if held_by is not None:
                # Legacy does not record why: without this the row would look given up, or collided.
                LedgerEntry.objects.filter(pk=held_by.pk, superseded_at=None).update(superseded_at=now())
    return again


def _is_of(row: LegacyRow, entry: LedgerEntry) -> bool:
    try:
        return input_key(parse_envelope(row.xqueue_header, row.xqueue_body)) == entry.input_key
    except Malformed:
        return False


def _entry_of(row: LegacyRow, entries: list[LedgerEntry]) -> LedgerEntry | None:
    """Return the entry of a row: the one linked to it, else the one with its digest, else the first of its group."""
    digest = digests(parse_header(row.xqueue_header), row.xqueue_body, ())
    for is_its in (
        lambda entry: entry.legacy_id == row.id,
        lambda entry: entry.identity == digest.identity,
        lambda entry: entry.group == digest.group and entry.legacy_id is None,  # it has files, which the digest names
    ):
        if (found := next(filter(is_its, entries), None)) is not None:
            return found
    return None
