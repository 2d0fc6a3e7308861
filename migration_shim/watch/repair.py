"""Copies that are owed and that no worker has taken: what a paused breaker, an older release or a lost row has left."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db.models import QuerySet
from django.utils.timezone import now

from .. import toggles
from ..backfill import run as backfill_run
from ..backfill.request import Mode, Request
from ..conf import ShimSettings
from ..copies import outbox
from ..copies.write import FOR_GOOD
from ..core.data import Authority, Leg
from ..models import LedgerEntry

PAGE = 500
_OWED = (Leg.MISSING, Leg.FAILED)


def _owed(settings: ShimSettings) -> QuerySet[LedgerEntry]:
    """Entries that a worker has had its time for."""
    before = now() - timedelta(seconds=settings.presence_grace_seconds)
    return LedgerEntry.objects.filter(created_at__lt=before, purged_at=None)


def drain(settings: ShimSettings, check: Callable[[], object]) -> dict[str, int]:
    """
    Do what the outbox of every course owes, whatever phase it is in by now; what came of it.

    Shadows that are owed without standing in the outbox are put there first: processes of the release before write
    entries so.
    """
    forgotten = _owed(settings).filter(
        authority=Authority.LEGACY, target_leg=Leg.MISSING, superseded_at=None, copy_due=None
    )
    _owe(forgotten)
    return dict(outbox.drain(settings, check=check))


def _owe(forgotten: QuerySet[LedgerEntry]) -> None:
    # In no order: those that nothing can be written for (collided, retired long ago) come again every time.
    found = list(forgotten.order_by("?").values_list("pk", flat=True)[:PAGE])
    if found:
        LedgerEntry.objects.filter(pk__in=found, copy_due=None).update(copy_due=now())


def write_owed_shadows(
    courses: list[str], settings: ShimSettings, tell: Callable[[str], None]
) -> dict[str, Any] | None:
    """
    Write the shadows that these courses are owed, as ``xqueue_backfill --mode shadow`` does; None where none is owed.

    ``tell`` is called while it works or waits.

    Raises:
        RunLocked: such a backfill is at work.
    """
    owed = _owed(settings).filter(
        course_id__in=courses, authority=Authority.LEGACY, target_leg__in=_OWED, superseded_at=None
    )
    if not owed.exists() or toggles.kill_switch_on():
        return None
    request = Request(mode=Mode.SHADOW, courses=frozenset(courses), execute=True)
    return backfill_run.run(request, lambda done, total: tell(""), tell).content


def write_owed_reverse_shadows(course_id: str, settings: ShimSettings, check: Callable[[], object]) -> dict[str, int]:
    """
    Write the reverse shadows that a course is owed; how many are ``owed``, and how many were ``started``.

    What a worker has in hand, or tries again later, is left to it.
    """
    owed = _owed(settings).filter(
        course_id=course_id, authority=Authority.TARGET, legacy_leg__in=_OWED, superseded_at=None
    )
    owed = owed.exclude(legacy_reason__in=FOR_GOOD)
    found = owed.count()
    _owe(owed.filter(copy_due=None))
    done = outbox.drain(settings, courses=[course_id], check=check)
    return {"owed": found, "started": done["reverse_done"] + done["reverse_owed"]}
