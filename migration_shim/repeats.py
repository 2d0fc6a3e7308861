"""
The repeat rule: what the router does with a submission that it has seen before.

CAPA and browsers send the same submission again. Its ledger entry is there already then, and ``identity`` is unique: so
the entry's own INSERT tells a repeat. Where one system holds the submission nothing is written twice. An entry that
says only that legacy refused the submission is taken over when the submission is accepted after all.
"""

from __future__ import annotations

import contextlib
import random
import time

from django.db import IntegrityError, OperationalError, connection, transaction

from .core.data import Authority, Leg, Move, Origin
from .core.errors import TargetWriteFailed
from .db import bulk_insert
from .ledger.buckets import counted
from .models import LedgerEntry

#: How often a send that is to take the place of a refusal is tried at most, and the longest pause after the first try,
#: in seconds. It doubles each time: a second and a half in all, for a learner whom an error would cost the attempt.
TRIES = 6
_FIRST_PAUSE = 0.05


class Held(Exception):
    """Another session has stored the submission meanwhile."""


class AtWork(TargetWriteFailed):
    """Another session has the submission's entry locked. It has undone nothing of the caller's but one statement."""


def find(entry: LedgerEntry) -> LedgerEntry | None:
    """Return the entry that the same submission has already, or None."""
    return LedgerEntry.objects.filter(identity=entry.identity).first()


def find_committed(entry: LedgerEntry, error: Exception) -> LedgerEntry | None:
    """
    Return the entry that the same submission has already, also one that another session has committed just now.

    Inside a caller's transaction a plain SELECT may see nothing newer than the transaction's first read. A locking read
    does. It takes a shared lock, which the refused INSERT has left anyway: of two sessions that asked for more each
    would wait for the other.

    Where ``error`` came of the entry itself, one of a refusal is not locked: who takes its place looks again, under a
    lock, and of two sessions that share the row until their transactions end neither could ever get that.
    """
    found = find(entry)
    of_entry = isinstance(error, AtWork | IntegrityError) and found is not None and _was_refused(found)
    if connection.vendor != "mysql" or not connection.in_atomic_block or of_entry:
        return found
    sql, parameters = LedgerEntry.objects.filter(identity=entry.identity).query.sql_with_params()
    return next(iter(LedgerEntry.objects.raw(f"{sql} LOCK IN SHARE MODE", parameters)), None)


def is_held(found: LedgerEntry | None) -> bool:
    """Tell from the entry that a submission has, or None, whether one of the systems holds the submission."""
    return found is not None and not _was_refused(found)


def insert_if_new(entry: LedgerEntry) -> bool:
    """
    Insert an entry that is written by itself; return False where the same submission has one already.

    The one statement is a transaction of its own. Only inside a caller's transaction does it get a savepoint, so that
    it can fail without the caller's work.
    """
    try:
        with transaction.atomic() if connection.in_atomic_block else contextlib.nullcontext():
            bulk_insert.insert_one(entry)
    except IntegrityError:
        return False
    return True


def let_others_end(tried: int, deadline: float) -> None:
    """
    Wait for the sessions that store the same submission at this moment, before it is tried once more.

    They have its entry locked, and are done in some milliseconds. Who tried again at once would have used up all tries
    by then, and would be told that a submission has failed which is stored.

    Args:
        tried: how often it was tried.
        deadline: until when the caller waits, by ``time.monotonic``.
    """
    pause = _FIRST_PAUSE * 2 ** (tried - 1) * random.uniform(0.5, 1)  # noqa: S311  (out of step, no secret)
    time.sleep(max(0.0, min(pause, deadline - time.monotonic())))


def replace_refused(entry: LedgerEntry, refused: LedgerEntry) -> None:
    """
    Save ``entry`` in the place of ``refused``, the entry of the same submission that legacy had refused.

    Raises:
        AtWork: another try may succeed.
        Held: one of the systems holds the submission by now.
    """
    try:
        # By its key: the refused INSERTs of other sessions have left locks on the identity, and not on the row.
        found = _lock(pk=refused.pk)
    except OperationalError as error:
        raise AtWork(type(error).__name__, passing=True, taken=True) from error
    if not _was_refused(found):
        raise Held
    # The linker may have found that legacy has the row after all: then it is to be retired, and counted if it is not.
    entry.pk, entry.legacy_id, entry.created_at = found.pk, found.legacy_id, found.created_at
    entry.bucket_id = found.bucket_id
    with _counted(found, found.bucket_id is not None):
        entry.save(force_update=True)


def take_over_in_shadow(entry: LedgerEntry) -> bool:
    """
    Bring the entry that a submission has up to date from ``entry``, which the router has just made in shadow.

    It does so for an entry of a refusal: refused the first time and stored the second, the submission is owed its
    shadow now. And for one that the linker has made out of legacy's row: the router knows more than the linker.
    ``entry`` gets the id of the saved row, and the time at which its copy is due.

    Returns:
        False where the router itself has stored this submission before: it is a repeat.

    Raises:
        OperationalError: another session is at work on that entry.
    """
    with transaction.atomic():
        found = _lock(identity=entry.identity)
        if not (_was_refused(found) or (found.origin == Origin.RECONCILE and found.authority == Authority.LEGACY)):
            return False
        found.legacy_leg, found.legacy_reason, found.origin = Leg.STORED, "", Origin.ROUTER
        if found.target_leg in (Leg.NONE, Leg.MISSING):
            found.target_leg, found.copy_due = Leg.MISSING, entry.copy_due
        found.supersession_due, found.phase = entry.supersession_due, entry.phase
        found.points_possible = entry.points_possible
        with _counted(found, found.target_score is not None):  # a score tells of its queue's style by the points
            found.save()
        entry.pk, entry.copy_due = found.pk, found.copy_due
    return True


def _was_refused(found: LedgerEntry) -> bool:
    """Tell whether an entry records nothing but legacy's refusal: no system holds the submission for its sender."""
    legs = (found.authority, found.legacy_leg, found.target_leg, found.move)
    return legs == (Authority.LEGACY, Leg.FAILED, Leg.NONE, Move.NONE)


def _lock(**unique: int | str) -> LedgerEntry:
    """
    Return the entry with this value of a unique column, locked without waiting.

    Raises:
        OperationalError: another session is at work on it.
    """
    nowait = connection.features.has_select_for_update_nowait
    return LedgerEntry.objects.select_for_update(nowait=nowait).get(**unique)


def _counted(entry: LedgerEntry, needed: bool) -> contextlib.AbstractContextManager[None]:
    """Count an entry anew where that cannot be left to its next comparison. That is rare: a learner waits meanwhile."""
    return counted([entry.pk]) if needed else contextlib.nullcontext()
