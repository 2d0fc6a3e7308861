"""
One copy is written here, by a worker, after the authoritative system has answered.

A shadow is a backfill of one row (``backfill/single.py``). Answer and files come from the authoritative system, and
nothing of the submission goes through the broker.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from django.db import DatabaseError

from .. import toggles
from ..backfill.single import write_shadow_of
from ..conf import ShimSettings, load
from ..core.data import Leg, State
from ..core.errors import Malformed, TargetWriteFailed, Unfit
from ..core.identity import reverse_header
from ..ledger import entries as ledger_entries
from ..legacy.client import LegacyClient, answered, is_about_size
from ..metrics import count, timed
from ..models import LedgerEntry
from ..target import reader
from . import breaker, sink

log = logging.getLogger(__name__)

SHADOW, REVERSE = "shadow", "reverse"
#: Reasons for which a reverse shadow can never be written: it is not tried again.
FOR_GOOD = (
    "sink_url_too_long",
    "queue_name_too_long",
    "target_row_gone",
    "no_residue",
    "residue_not_json",
    "residue_too_deep",
    "residue_too_long",
    "answer_too_deep",
)
#: How often a shadow's row is looked up on legacy before it is left to the next backfill.
LOOKUPS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """
    What became of one copy.

    ``word`` says it for a log. ``again``: the copy is still owed. ``refused``: XQueue answers, but takes nothing that
    goes to this queue.
    """

    word: str
    again: bool = False
    refused: bool = False


def write_copy(kind: str, entry: LedgerEntry, settings: ShimSettings) -> Written:
    """
    Write the copy that an entry is owed; ``kind`` is SHADOW or REVERSE.

    Raises:
        TargetWriteFailed, DatabaseError: it could not be written now.
    """
    return _shadow(entry, settings) if kind == SHADOW else _reverse(entry, settings)


def write_shadow(identity: str) -> str:
    """
    Write the shadow of one submission from legacy's row, unless the kill switch is on; return what became of it.

    Raises:
        TargetWriteFailed, DatabaseError: the target could not take it now.
    """
    return _write(SHADOW, identity)


def write_reverse(identity: str) -> str:
    """
    Write the reverse shadow of one submission from the target's rows, unless the kill switch is on; return the outcome.

    XQueue supersedes by callback, and the sink has one token for each learner and input. If a reverse shadow is written
    twice, XQueue itself retires the older row, so that a repeated task does no harm.
    """
    return _write(REVERSE, identity)


def _write(kind: str, identity: str) -> str:
    if toggles.kill_switch_on():
        count("worker_stopped_by_kill_switch")
        return "stopped by the kill switch"
    entry = LedgerEntry.objects.filter(identity=identity).first()
    return "nothing to do" if entry is None else write_copy(kind, entry, load()).word


def _shadow(entry: LedgerEntry, settings: ShimSettings) -> Written:
    if entry.target_leg == Leg.NONE:
        return Written(word="nothing to do")  # not wanted, or given back since
    try:
        with timed("shadow_leg"):
            word = write_shadow_of(entry.identity, settings)
    except (TargetWriteFailed, DatabaseError) as error:
        # A row that fails again and again counts once: it says nothing about the others.
        if not entry.tries:
            breaker.failed(SHADOW, settings)
        count("shadow_failed", error)
        raise
    breaker.succeeded(SHADOW)
    count(f"shadow_{word}")
    return Written(word=word, again=word == "no_legacy_row" and entry.tries < LOOKUPS)


def _reverse(entry: LedgerEntry, settings: ShimSettings) -> Written:
    if entry.legacy_leg not in (Leg.MISSING, Leg.FAILED) or entry.purged_at is not None:
        return Written(word="nothing to do")
    superseded = LedgerEntry.objects.filter(pk=entry.pk, superseded_at__isnull=False)
    if superseded.update(legacy_leg=Leg.NONE, legacy_reason="superseded"):
        return Written(word="superseded")  # written now, it would retire the newer attempt's reverse shadow
    if _newer_at_work(entry):
        return Written(word="waits for a newer attempt", again=True)
    try:
        submission = reader.answer_and_files(entry.target_submission_id or 0)
        if submission is None:
            return _reverse_failed(entry, "target_row_gone")
        body = ledger_entries.legacy_body(entry, submission.answer)
        url = sink.url(entry.sink_token, settings)
        header = reverse_header(url, entry.identity, entry.queue_name + settings.reverse_queue_suffix)
    except (Malformed, Unfit) as odd:
        return _reverse_failed(entry, odd.reason)
    with timed("reverse_leg"):
        error, message = LegacyClient().submit(header, body, submission.files, correlation=entry.identity[:16])
    # An answer, even a refusal, closes the breaker: what one queue is refused says nothing of the others.
    if not error or answered(message):
        breaker.succeeded(REVERSE)
    elif not entry.tries or breaker.is_open(REVERSE):
        breaker.failed(REVERSE, settings)
    if error:
        whole_queue = answered(message) and not is_about_size(message)
        return replace(_reverse_failed(entry, f"refused: {message}"), refused=whole_queue)
    LedgerEntry.objects.filter(pk=entry.pk).update(legacy_leg=Leg.STORED, legacy_reason="")
    count("reverse_stored")
    return Written(word="stored")


def _newer_at_work(entry: LedgerEntry) -> bool:
    """Tell whether XQueue has a newer attempt at the same input in flight, which it would retire for this one."""
    if not entry.input_key:
        return False
    stored = LedgerEntry.objects.filter(input_key=entry.input_key, pk__gt=entry.pk, legacy_leg=Leg.STORED)
    return stored.exclude(legacy_state__in=[state.value for state in State if state.is_final]).exists()


def _reverse_failed(entry: LedgerEntry, reason: str) -> Written:
    LedgerEntry.objects.filter(pk=entry.pk).update(legacy_leg=Leg.FAILED, legacy_reason=reason[:64])
    count("reverse_failed")
    log.warning("migration_shim.reverse_failed: a reverse shadow was not written: %s", reason)
    return Written(word=reason, again=reason not in FOR_GOOD)
