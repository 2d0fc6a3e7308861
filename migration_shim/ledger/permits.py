"""
Permits: what lets a flag make the target authoritative, what each permit is bound to, and what withdraws it.

A permit holds only for what its verdict was based on. See docs/decisions/0023.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from datetime import datetime
from typing import Any

from django.utils.timezone import now

from ..conf import load
from ..core.data import Phase
from ..core.errors import ConfigurationError
from ..models import CoursePhase, KnownDifference, Run
from ..runs import records as run_records

#: The settings that a verdict depends on besides the gate's thresholds. Settings that may differ between containers
#: (a pause file, a URL, a time-out) are left out: with them a permit would hold in some processes and not in others.
BOUND_TO = (
    "presence_grace_seconds",
    "grading_deadline_seconds",
    "late_reply_seconds",
    "delivery_grace_seconds",
    "score_receivers",
    "legacy_primary",
    "lease_seconds",
    "lease_limit",
    "sample_percent",
    "shadow_queue_suffix",
    "reverse_queue_suffix",
    "echo_queue_suffix",
    "side_effect_queues",
    "callback_hosts",
    "foreign_callback_hosts",
    "twin_percent",
)
#: The runs whose results are evidence.
_EVIDENCE = ("reconcile", "preflight")
_REGISTER = ("pk", "klass", "course_id", "queue_name", "item_id", "expires_at")


def basis(course_id: str, phase: str, step: str) -> dict[str, Any]:
    """
    Return everything that a permit for this step rests on now.

    Raises:
        ConfigurationError: the settings are not usable.
    """
    settings = load()
    ended = Run.objects.filter(scope=run_records.scope_name(course_id), complete=True).order_by("-id")
    in_force = KnownDifference.objects.filter(
        course_id__in=("", course_id), withdrawn_at=None, expires_at__gt=now()
    ).order_by("pk")
    return {
        "step": [str(phase), str(step)],
        # Without their documents, which are long: this is asked in a learner's submission.
        "runs": {kind: ended.filter(kind=kind).values_list("pk", flat=True).first() for kind in _EVIDENCE},
        "versions": run_records.versions(),
        "thresholds": dataclasses.asdict(settings.thresholds()),
        "settings": {name: getattr(settings, name) for name in BOUND_TO},
        # By scope, class and validity, not by hits: how often an entry was hit says nothing about what it covers.
        "register": [list(map(str, row)) for row in in_force.values_list(*_REGISTER)],
    }


def holds(record: CoursePhase) -> bool:
    """
    Tell whether the basis of a course's permit is still the same. Five statements; the caller holds the row's lock.

    Settings that are not usable are no basis: the course stays where it is.
    """
    try:
        found = basis(record.course_id, record.phase, record.permit)
    except ConfigurationError:
        return False
    return record.permit_basis == run_records.digest(found)


def grant(record: CoursePhase, step: Phase, until: datetime, run: Run | None = None) -> None:
    """
    Grant or renew a permit on the present basis.

    The caller holds the row's lock, and has seen the evidence under it. ``run`` is the run that the verdict rests on.
    """
    record.permit, record.permit_until = step.value, until
    record.permit_basis = run_records.digest(basis(record.course_id, record.phase, step))
    if run is not None:
        record.permit_run = run
    record.save(update_fields=["permit", "permit_until", "permit_basis", "permit_run"])


def clear(record: CoursePhase) -> None:
    """Clear the permit on a course's record. The caller holds the row's lock, and saves the record."""
    record.permit, record.permit_until, record.permit_run, record.permit_basis = "", None, None, ""


def lock(course_ids: Collection[str]) -> None:
    """
    Lock courses, in their order, before something is stored that ends a permit.

    A verdict takes the same lock. So a verdict sees everything that was stored before it, and whatever is stored after
    it finds the permit. Entries are locked after courses, never before.
    """
    list(CoursePhase.objects.select_for_update().filter(course_id__in=course_ids).order_by("pk").values_list("pk"))


def locked(course_id: str, *, nowait: bool = False) -> CoursePhase:
    """
    Return the record of a course under its lock, until the caller's transaction ends.

    The caller has made the record before that transaction. It is made again where it was removed in between
    (``cutover/forget.py``).

    Raises:
        OperationalError: ``nowait``, and another session holds the lock.
    """
    rows = CoursePhase.objects.select_for_update(nowait=nowait).filter(course_id=course_id)
    while (record := rows.first()) is None:
        # No look before it: above READ COMMITTED that would find the one that was removed, again and again.
        CoursePhase.objects.bulk_create([CoursePhase(course_id=course_id)], ignore_conflicts=True)
    return record


def withdraw(course_ids: Collection[str]) -> None:
    """Withdraw the permits of courses. The caller's transaction holds their locks."""
    rows = CoursePhase.objects.filter(course_id__in=course_ids).exclude(permit="")
    rows.update(permit="", permit_until=None, permit_run=None, permit_basis="")


def at_work(course_id: str) -> bool:
    """Tell whether a run is at work that will judge the course when it ends."""
    last = (run_records.last(kind, course_id) for kind in _EVIDENCE)
    return any(run is not None and run_records.is_alive(run.pk) for run in last)
