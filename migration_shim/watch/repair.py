"""Repair: write owed copies that no worker has written, after a paused breaker, an older release or a lost row."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from django.db.models import QuerySet
from django.utils.timezone import now

from .. import toggles
from ..backfill import run as backfill_run
from ..backfill.request import Mode, Request
from ..conf import ShimSettings
from ..copies import outbox
from ..copies.write import FOR_GOOD
from ..core.data import Authority, Leg
from ..core.documents.backfill import BackfillDocument
from ..core.documents.watch import OwedReverse
from ..models import LedgerEntry

PAGE = 500
_OWED = (Leg.MISSING, Leg.FAILED)


def _past_grace(settings: ShimSettings) -> QuerySet[LedgerEntry]:
    """Return the entries that are old enough for a worker to have written their copies."""
    before = now() - timedelta(seconds=settings.presence_grace_seconds)
    return LedgerEntry.objects.filter(created_at__lt=before, purged_at=None)


def drain(settings: ShimSettings, check: Callable[[], object]) -> dict[str, int]:
    """
    Write the copies that are due in the outbox, of all courses in any phase, and count the results by name.

    Missing shadows that are not in the outbox are put there first: processes of an older release create such entries.

    Args:
        settings: the settings in force.
        check: called between copies; it may raise to stop.
    """
    forgotten = _past_grace(settings).filter(
        authority=Authority.LEGACY, target_leg=Leg.MISSING, superseded_at=None, copy_due=None
    )
    _put_in_outbox(forgotten)
    return dict(outbox.drain(settings, check=check))


def _put_in_outbox(forgotten: QuerySet[LedgerEntry]) -> None:
    # In random order: entries whose copy cannot be written (collided, retired long ago) would else fill every page.
    found = list(forgotten.order_by("?").values_list("pk", flat=True)[:PAGE])
    if found:
        LedgerEntry.objects.filter(pk__in=found, copy_due=None).update(copy_due=now())


def write_owed_shadows(
    courses: list[str], settings: ShimSettings, tell: Callable[[str], None]
) -> BackfillDocument | None:
    """
    Write the owed shadows of the given courses as ``xqueue_backfill --mode shadow`` does.

    Args:
        courses: course ids.
        settings: the settings in force.
        tell: called with a text (or "") while the backfill works or waits.

    Returns:
        The backfill's document; None where no shadow is owed, or the kill switch is on.

    Raises:
        RunLocked: another backfill of these courses is at work.
    """
    owed = _past_grace(settings).filter(
        course_id__in=courses, authority=Authority.LEGACY, target_leg__in=_OWED, superseded_at=None
    )
    if not owed.exists() or toggles.kill_switch_on():
        return None
    request = Request(mode=Mode.SHADOW, courses=frozenset(courses), execute=True)
    return backfill_run.run(request, lambda done, total: tell(""), tell).content


def write_owed_reverse_shadows(course_id: str, settings: ShimSettings, check: Callable[[], object]) -> OwedReverse:
    """
    Write the owed reverse shadows of a course, and return how many are ``owed`` and how many were ``started``.

    Those that a worker has in hand, or will try again, are left to it.

    Args:
        course_id: the course.
        settings: the settings in force.
        check: called between copies; it may raise to stop.
    """
    owed = _past_grace(settings).filter(
        course_id=course_id, authority=Authority.TARGET, legacy_leg__in=_OWED, superseded_at=None
    )
    owed = owed.exclude(legacy_reason__in=FOR_GOOD)
    found = owed.count()
    _put_in_outbox(owed.filter(copy_due=None))
    done = outbox.drain(settings, courses=[course_id], check=check)
    return {"owed": found, "started": done["reverse_done"] + done["reverse_owed"]}
