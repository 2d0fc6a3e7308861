"""What commands, views and the LMS may call. Nothing else of the app is an entrance."""

from __future__ import annotations

from typing import Any

from . import cutover as _cutover
from . import evidence as _evidence
from . import preflight as _preflight
from . import reconcile as _reconcile
from . import status as _status
from .backfill import run as _backfill
from .backfill.run import Request as BackfillRequest
from .data import Document, Grading, Phase
from .dual_write import QueueInterface
from .models import CoursePhase, LedgerEntry

__all__ = [
    "BackfillRequest",
    "backfill",
    "cutover",
    "gate",
    "known_courses",
    "preflight",
    "queue_interface",
    "reconcile",
    "remove_shadows",
    "status",
]


def queue_interface(block: Any = None, *, seconds: float | None = None) -> QueueInterface:
    """The router's door for one problem block: an object with CAPA's ``send_to_queue``. See ``QueueInterface``."""
    return QueueInterface(block, seconds=seconds)


def known_courses() -> list[str]:
    """Every course that has a phase on record or a ledger entry."""
    phases = set(CoursePhase.objects.values_list("course_id", flat=True))
    entries = set(LedgerEntry.objects.order_by().values_list("course_id", flat=True).distinct())
    return sorted(phases | entries)


def preflight(course_id: str, progress: _preflight.Progress) -> Document:
    """What would break on the target. See ``preflight.run``."""
    return _preflight.run(course_id, progress)


def backfill(request: BackfillRequest, progress: _backfill.Progress) -> Document:
    """Import legacy rows as shadows. See ``backfill.run.run``."""
    return _backfill.run(request, progress)


def reconcile(
    courses: list[str], progress: _reconcile.Progress, on_divergence: Any, *, grading: Grading = Grading.SHADOW
) -> Document:
    """Compare both sides of every submission. See ``reconcile.run``."""
    return _reconcile.run(courses, progress, on_divergence, grading=grading)


def gate(course_id: str) -> Document:
    """The verdict from stored evidence. See ``evidence.run_gate``."""
    return _evidence.run_gate(course_id)


def cutover(course_id: str, to: Phase, *, reason: str, execute: bool, user: str, login: str | None) -> Document:
    """Move a course to another phase. See ``cutover.run``."""
    return _cutover.run(course_id, to, reason=reason, execute=execute, user=user, login=login)


def remove_shadows(course_id: str, *, execute: bool, progress: _reconcile.Progress) -> Document:
    """Remove the shadows of a course that is complete. See ``cutover.remove_shadows``."""
    return _cutover.remove_shadows(course_id, execute=execute, progress=progress)


def status(courses: list[str], *, watcher_config: bool = False) -> Document:
    """Where courses stand. See ``status.run``."""
    return _status.run(courses, watcher_config=watcher_config)
