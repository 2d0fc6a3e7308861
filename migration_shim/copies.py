"""
Writing one copy, in a worker, after the authoritative side has answered.

A deferred copy is a backfill of one row: only the course and the submission's identity go through the broker, answer
and files come from the authoritative system. A lost task is found by the next backfill.
"""

from __future__ import annotations

import hmac
import logging

from django.conf import settings as django_settings
from django.db import DatabaseError

from . import breaker, ledger, toggles
from .backfill.one import write_shadow_of
from .conf import ShimSettings, load
from .core.identity import reverse_header
from .data import Leg
from .errors import Malformed, TargetWriteFailed, Unfit
from .legacy.client import LegacyClient
from .metrics import count, timed
from .models import LedgerEntry
from .target import reader

log = logging.getLogger(__name__)

SHADOW, REVERSE = "shadow", "reverse"


def write_shadow(identity: str) -> str:
    """
    Write the shadow of one submission out of legacy's row, and return what became of it, as one word.

    Raises:
        TargetWriteFailed, DatabaseError: the target could not take it now; the worker may try again.
    """
    if toggles.kill_switch_on():
        count("shadow_stopped_by_kill_switch")
        return "stopped by the kill switch"
    settings = load()
    try:
        with timed("shadow_leg"):
            word = write_shadow_of(identity, settings)
    except (TargetWriteFailed, DatabaseError) as error:
        breaker.failed(SHADOW, settings)
        count("shadow_failed", error)
        raise
    breaker.succeeded(SHADOW)
    count(f"shadow_{word}")
    return word


def write_reverse(identity: str) -> str:
    """
    Write the reverse shadow of one submission on legacy, out of the target's rows, and return what became of it.

    XQueue supersedes by callback, and the sink's token is one per learner and input: written twice, the older row is
    retired by XQueue itself, so a repeated task harms nobody.
    """
    if toggles.kill_switch_on():
        count("reverse_stopped_by_kill_switch")
        return "stopped by the kill switch"
    settings = load()
    entry = LedgerEntry.objects.filter(identity=identity).first()
    if entry is None or entry.legacy_leg not in (Leg.MISSING, Leg.FAILED) or entry.purged_at is not None:
        return "nothing to do"
    if entry.superseded_at is not None:  # written now, it would retire the newer attempt's reverse shadow
        LedgerEntry.objects.filter(pk=entry.pk).update(legacy_leg=Leg.NONE, legacy_reason="superseded")
        return "superseded"
    try:
        submission = reader.contents(entry.target_submission_id or 0)
        if submission is None:
            return _reverse_failed(entry, "target_row_gone", settings)
        body = ledger.legacy_body(entry, submission.answer)
        url = sink_url(entry.sink_token, settings)
        header = reverse_header(url, entry.identity, entry.queue_name + settings.reverse_queue_suffix)
    except (Malformed, Unfit) as error:
        return _reverse_failed(entry, error.reason, settings)
    with timed("reverse_leg"):
        error, message = LegacyClient().submit(header, body, submission.files, correlation=entry.identity[:16])
    if error:
        return _reverse_failed(entry, f"refused: {message}", settings)
    LedgerEntry.objects.filter(pk=entry.pk).update(legacy_leg=Leg.STORED, legacy_reason="")
    breaker.succeeded(REVERSE)
    count("reverse_stored")
    return "stored"


def _reverse_failed(entry: LedgerEntry, reason: str, settings: ShimSettings) -> str:
    LedgerEntry.objects.filter(pk=entry.pk).update(legacy_leg=Leg.FAILED, legacy_reason=reason[:64])
    breaker.failed(REVERSE, settings)
    count("reverse_failed")
    log.warning("migration_shim: a reverse shadow was not written: %s", reason)
    return reason


def sink_token(learner: str, item_id: str, input_key: str) -> str:
    """An unguessable token, one for a learner, problem and input: legacy supersedes as for the real submissions."""
    text = "\n".join((learner, item_id, input_key)).encode("utf-8", "surrogatepass")
    return hmac.new(b"migration_shim.sink" + django_settings.SECRET_KEY.encode(), text, "sha256").hexdigest()[:32]


def sink_url(token: str, settings: ShimSettings) -> str:
    """The whole callback URL of a reverse shadow."""
    root = settings.sink_root or getattr(django_settings, "LMS_ROOT_URL", "") + "/migration_shim"
    return f"{root}/sink/{token}/"
