"""Writing copies that are owed: what a lost task, a dead worker or a paused breaker has left MISSING or FAILED."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db.models import Exists, OuterRef, QuerySet
from django.utils.timezone import now

from . import breaker, copies, publish, toggles
from .backfill import run as backfill
from .backfill.request import Mode, Request
from .conf import ShimSettings
from .data import Authority, Leg, State
from .models import LedgerEntry

#: Reverse shadows started in one round: workers that do not keep up are not buried.
REVERSE_BATCH = 200
#: Why a reverse shadow can never be written; nobody tries again.
FOR_GOOD = ("sink_url_too_long", "queue_name_too_long", "target_row_gone", "no_residue")
_OWED = (Leg.MISSING, Leg.FAILED)


def _owed(settings: ShimSettings) -> QuerySet[LedgerEntry]:
    """Entries that a worker has had its time for."""
    before = now() - timedelta(seconds=settings.presence_grace_seconds)
    return LedgerEntry.objects.filter(created_at__lt=before, purged_at=None)


def shadows(courses: list[str], settings: ShimSettings, tell: Callable[[str], None]) -> dict[str, Any] | None:
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
    return backfill.run(request, lambda done, total: tell(""), tell).content


def reverse_shadows(course_id: str, settings: ShimSettings, check: Callable[[], None]) -> dict[str, int]:
    """
    Start the reverse shadows that a course in ``live`` is owed, or write them here where there is no Celery.

    Returns how many are ``owed`` and how many were ``started``. An older attempt waits while XQueue has a newer one of
    the same input in flight: it would retire that one.
    """
    newer = LedgerEntry.objects.filter(
        input_key=OuterRef("input_key"), arrived_at__gt=OuterRef("arrived_at"), legacy_leg=Leg.STORED
    ).exclude(legacy_state__in=[state.value for state in State if state.is_final])
    owed = _owed(settings).filter(course_id=course_id, authority=Authority.TARGET, legacy_leg__in=_OWED)
    owed = owed.exclude(legacy_reason__in=FOR_GOOD).exclude(Exists(newer.exclude(input_key="")))
    found, started = owed.count(), 0
    for identity in list(owed.order_by("id").values_list("identity", flat=True)[:REVERSE_BATCH]):
        check()
        if toggles.kill_switch_on():
            break
        if publish.copy_tasks is not None:
            publish.publish(copies.REVERSE, course_id, identity, settings)
        elif breaker.allows(copies.REVERSE):
            copies.write_reverse(identity)
        if breaker.is_open(copies.REVERSE):
            break  # one try at a time, and this was it
        started += 1
    return {"owed": found, "started": started}
