"""
Superseding older attempts of the same learner and input on both systems, at every authoritative write.

XQueue supersedes by the first 128 characters of the callback: too much (sibling inputs, other problems) and, across
systems, too little. Here it is exact: by the input recovered from the lms_key, and where that finds nothing, nothing.
"""

from __future__ import annotations

import logging

from django.db import DatabaseError, transaction
from django.utils.timezone import now

from . import breaker, stamp
from .conf import ShimSettings
from .core.identity import digests, input_key
from .core.wire import Envelope, parse_envelope, parse_header
from .data import Authority, LegacyRow, Move
from .errors import Malformed
from .legacy import retire, rows
from .metrics import count
from .models import LedgerEntry
from .target.supersession import supersede

log = logging.getLogger(__name__)


def supersede_older(envelope: Envelope, key: str, identity: str, authority: Authority, settings: ShimSettings) -> None:
    """
    Retire what the submission ``identity`` replaces. Never raises: what cannot be retired is counted.

    Args:
        envelope: the submission that was just accepted.
        key: its ``input_key``; empty where the input cannot be told.
        identity: its identity digest.
        authority: the system that accepted it. When it is legacy, XQueue has retired its own rows already.
        settings: the settings in force.
    """
    if not key:
        count("supersession_input_unknown")
        return
    try:
        older = LedgerEntry.objects.filter(input_key=key, superseded_at=None).exclude(identity=identity)
        targets = {}
        for pk, move, submission_id in older.values_list("pk", "move", "target_submission_id"):
            if move in (Move.HELD, Move.FENCED):
                submission_id = _supersede_held(pk)
            if submission_id is not None:
                targets[submission_id] = pk
        superseded = supersede(targets)
        if superseded:
            entries = [targets[submission_id] for submission_id in superseded]
            LedgerEntry.objects.filter(pk__in=entries).update(superseded_at=now())
            count("superseded_on_target")
    except DatabaseError as error:
        count("supersession_failed_on_target", error)
        log.warning("migration_shim: older attempts were not superseded on the target: %s", type(error).__name__)
    if authority is Authority.TARGET:
        _on_legacy(envelope, key, settings)


def _supersede_held(pk: int) -> int | None:
    """
    Let an older attempt that a handoff holds never be released; the id of the target row that is left to retire.

    Under the entry's lock, which a release takes too: either the release finds this, or this finds the released row.
    The held row itself is dropped by the handoff; until then no grader polls its queue.
    """
    with transaction.atomic():
        entry = LedgerEntry.objects.select_for_update().get(pk=pk)
        if entry.move in (Move.HELD, Move.FENCED):
            entry.superseded_at = now()
            entry.save(update_fields=["superseded_at"])
            count("superseded_held")
    return entry.target_submission_id


def _on_legacy(envelope: Envelope, key: str, settings: ShimSettings) -> None:
    if stamp.complaint():
        count("supersession_on_legacy_refused")
        return
    if not breaker.allows("legacy_rows"):
        count("supersession_on_legacy_paused")
        return
    try:
        replaced = [row for row in rows.open_rows(envelope.header.callback_url) if _replaced(row, key, envelope)]
        if replaced and retire.retire(row.id for row in replaced):
            count("superseded_on_legacy")
            # Legacy keeps no word of it: without this the row would look given up, or collided.
            groups = [digests(parse_header(row.xqueue_header), row.xqueue_body, ()).group for row in replaced]
            entries = LedgerEntry.objects.filter(
                input_key=key, group__in=groups, superseded_at=None, authority=Authority.LEGACY
            )
            entries.update(superseded_at=now())
        breaker.succeeded("legacy_rows")
    except DatabaseError as error:
        breaker.failed("legacy_rows", settings)
        count("supersession_failed_on_legacy", error)
        log.warning("migration_shim: older attempts were not superseded on legacy: %s", type(error).__name__)


def _replaced(row: LegacyRow, key: str, submission: Envelope) -> bool:
    if (row.xqueue_header, row.xqueue_body) == (submission.raw_header, submission.raw_body):
        return False  # the very same submission
    try:
        return input_key(parse_envelope(row.xqueue_header, row.xqueue_body)) == key
    except Malformed:
        return False
