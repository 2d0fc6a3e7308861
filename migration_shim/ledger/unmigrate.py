"""Refuse to reverse the app's migrations while a course needs what is in its tables."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import Q
from django.db.models.signals import pre_migrate

from ..core.data import BETWEEN, Phase
from ..db.schema import APP
from ..models import CoursePhase, LedgerEntry


def refuse_to_unmigrate(
    sender: Any, using: str = DEFAULT_DB_ALIAS, plan: Any = (), app_config: Any = None, **kwargs: Any
) -> None:
    """
    Stop ``migrate migration_shim zero``, and any other reversal of our migrations, before anything is undone.

    The previous release runs on this schema as it is, so a removal is the only reason to reverse one.

    Raises:
        CommandError: a course still needs the shim; the message says which, and what to do.
    """
    backwards = any(is_backwards and migration.app_label == APP for migration, is_backwards in plan)
    if not backwards or getattr(app_config, "label", APP) != APP:
        return
    reasons = in_the_way(using)
    if reasons:
        raise CommandError(f"The tables of {APP} are needed: {'; '.join(reasons)}. See the runbook, 'Remove the shim'.")


def in_the_way(using: str = DEFAULT_DB_ALIAS) -> list[str]:
    """Return why the app cannot be removed now: courses that it moves, and rows between the two systems."""
    tables = set(connections[using].introspection.table_names())
    if not {CoursePhase._meta.db_table, LedgerEntry._meta.db_table} <= tables:
        return []
    courses = CoursePhase.objects.using(using).exclude(phase=Phase.LEGACY).order_by("course_id")
    # What was released is the platform's own.
    courses = courses.exclude(Q(phase=Phase.COMPLETE) & Q(released_at__isnull=False))
    found = [f"{course} is in {phase}" for course, phase in courses.values_list("course_id", "phase")]
    entries = LedgerEntry.objects.using(using).filter(move__in=BETWEEN).order_by("course_id")
    return found + [
        f"rows of {course} are held or returning: {entries.filter(course_id=course).count()}"
        for course in entries.values_list("course_id", flat=True).distinct()
    ]


def connect() -> None:
    """Connect the receiver. Calling it again changes nothing."""
    pre_migrate.connect(refuse_to_unmigrate, dispatch_uid="migration_shim.refuse_to_unmigrate")
