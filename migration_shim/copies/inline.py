"""A shadow that is written in the learner's own submit, where the setting ``COPIES`` is ``inline``."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.utils.timezone import now

from ..conf import ShimSettings
from ..core.data import Leg
from ..core.errors import TargetWriteFailed, Unfit
from ..core.identity import shadow_placement
from ..core.wire import Envelope
from ..metrics import count, timed
from ..models import LedgerEntry
from ..target import writer
from . import breaker
from .write import SHADOW

log = logging.getLogger(__name__)


def write_inline_shadow(
    envelope: Envelope, entry: LedgerEntry, contents: Mapping[str, Any], settings: ShimSettings
) -> None:
    """
    Write the shadow of a submission that legacy has just stored, and note on its entry what became of it.

    It raises nothing for a shadow that cannot be written. What the target cannot hold (``Unfit``) is owed no more.
    Anything else stays owed, and a worker tries again.

    Args:
        envelope: the submission as parsed.
        entry: its ledger entry, inserted already.
        contents: the uploaded files by the names that XQueue gives to its graders, each readable from its beginning.
        settings: the settings in force.
    """
    try:
        writer.check_fits(envelope.body, contents, envelope.header.queue_name, suffixes=settings.suffixes)
        placement = shadow_placement(envelope, entry.identity, settings.shadow_queue_suffix)
        with (
            timed("shadow_leg"),
            writer.stored_files(placement.queue_name, contents) as stored,
            transaction.atomic(),
        ):
            submission_id = writer.insert(placement, envelope.body, stored, points_possible=entry.points_possible)
            stored_leg = {"target_leg": Leg.STORED, "target_submission_id": submission_id}
            stored_leg |= {"copy_due": None, "copied_at": now()}
            LedgerEntry.objects.filter(pk=entry.pk).update(**stored_leg)
    except (Unfit, TargetWriteFailed) as error:
        failed: dict[str, str | None] = {"target_leg": Leg.FAILED, "target_reason": error.reason[:64]}
        failed |= {"copy_due": None} if isinstance(error, Unfit) else {}
        LedgerEntry.objects.filter(pk=entry.pk).update(**failed)
        if isinstance(error, TargetWriteFailed):
            breaker.failed(SHADOW, settings)
        count("shadow_failed", error)
        log.warning("migration_shim.shadow_failed: a shadow was not written: %s", error.reason)
        return
    breaker.succeeded(SHADOW)
