"""What commands, views and the LMS may call. Nothing else of the app is an entrance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import cutover as _cutover
from . import diff_report as _diff_report
from . import evidence as _evidence
from . import known as _known
from . import preflight as _preflight
from . import publish as _publish
from . import reconcile as _reconcile
from . import status as _status
from .backfill import give_back as _give_back
from .backfill import handoff as _handoff
from .backfill import run as _backfill
from .backfill.request import Mode
from .backfill.request import Request as BackfillRequest
from .data import DivergenceClass, Document, Grading, Phase
from .dual_write import QueueInterface
from .errors import ConfigurationError
from .models import CoursePhase, LedgerEntry
from .reports.report import Report

__all__ = [
    "BackfillRequest",
    "add_known_difference",
    "backfill",
    "cutover",
    "diff_report",
    "gate",
    "known_courses",
    "known_differences",
    "preflight",
    "queue_interface",
    "reconcile",
    "remove_shadows",
    "status",
    "withdraw_known_difference",
]


def queue_interface(block: Any = None, *, seconds: float | None = None) -> QueueInterface:
    """The router's door for one problem block: an object with CAPA's ``send_to_queue``. See ``QueueInterface``."""
    return QueueInterface(block, seconds=seconds)


def known_courses() -> list[str]:
    """Every course that has a phase on record or a ledger entry."""
    phases = set(CoursePhase.objects.values_list("course_id", flat=True))
    entries = set(LedgerEntry.objects.order_by().values_list("course_id", flat=True).distinct())
    return sorted(phases | entries)


def preflight(course_id: str, progress: _preflight.Progress, *, probe: bool = False) -> Document:
    """What would break on the target. See ``preflight.run``."""
    return _preflight.run(course_id, progress, probe=probe)


def backfill(
    request: BackfillRequest, progress: _backfill.Progress, tell: Callable[[str], None] = _backfill.nothing
) -> Document:
    """Import legacy rows as shadows, or move what is in flight. See the ``run`` of each mode in ``backfill``."""
    if request.mode is Mode.HANDOFF:
        return _handoff.run(request, progress, tell)
    if request.mode is Mode.RETURN:
        return _give_back.run(request, progress, tell)
    if request.workers is None:
        return _backfill.run(request, progress, tell)
    if _publish.tasks is None:
        raise ConfigurationError("--workers celery needs Celery, which is not installed.")
    return _backfill.run(request, progress, tell, send=_publish.tasks.send_range)


def reconcile(
    courses: list[str],
    progress: _reconcile.Progress,
    on_divergence: Any,
    *,
    grading: Grading = Grading.SHADOW,
    full: bool = False,
) -> Document:
    """Compare both sides of every submission. See ``reconcile.run``."""
    return _reconcile.run(courses, progress, on_divergence, grading=grading, full=full)


def diff_report(reconcile: dict[str, Any], divergences: Any, *, include_content: bool = False) -> Report:
    """What the renderers of ``reports`` make files of. See ``diff_report.gather``."""
    return _diff_report.gather(reconcile, divergences, include_content=include_content)


def gate(course_id: str) -> Document:
    """The verdict from stored evidence. See ``evidence.run_gate``."""
    return _evidence.run_gate(course_id)


def cutover(
    course_id: str, to: Phase, *, reason: str, execute: bool, user: str, login: str | None, override: bool = False
) -> Document:
    """Move a course to another phase. See ``cutover.run``."""
    return _cutover.run(course_id, to, reason=reason, execute=execute, user=user, login=login, override=override)


def known_differences() -> Document:
    """The register of known differences. See ``known.listing``."""
    return _known.listing()


def add_known_difference(klass: DivergenceClass, **what: Any) -> Document:
    """Register a known difference. See ``known.add``."""
    return _known.add(klass, **what)


def withdraw_known_difference(number: int) -> Document:
    """Take a known difference out of force. See ``known.withdraw``."""
    return _known.withdraw(number)


def remove_shadows(course_id: str, *, execute: bool, progress: _reconcile.Progress) -> Document:
    """Remove the shadows of a course that is complete. See ``cutover.remove_shadows``."""
    return _cutover.remove_shadows(course_id, execute=execute, progress=progress)


def status(courses: list[str], *, watcher_config: bool = False) -> Document:
    """Where courses stand. See ``status.run``."""
    return _status.run(courses, watcher_config=watcher_config)
