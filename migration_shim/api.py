"""What commands, views and the LMS may call. Nothing else of the app is an entrance."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

from . import audit as _audit
from . import counts as _counts
from . import cures as _cures
from . import cutover as _cutover
from . import diff_report as _diff_report
from . import evidence as _evidence
from . import in_vain as _in_vain
from . import known as _known
from . import link as _link
from . import preflight as _preflight
from . import reconcile as _reconcile
from . import release as _release
from . import retirement as _retirement
from . import stamp as _stamp
from . import status as _status
from . import toggles as _toggles
from . import undelivered as _undelivered
from . import watch as _watch
from . import wave as _wave
from .backfill import give_back as _give_back
from .backfill import handoff as _handoff
from .backfill import run as _backfill
from .backfill.request import Mode
from .backfill.request import Request as BackfillRequest
from .conf import load as _load
from .data import DivergenceClass, Document, Grading, Phase
from .dual_write import QueueInterface
from .errors import ConfigurationError
from .models import CoursePhase
from .reports.report import Report

try:
    from . import broker as _broker
except ImportError:  # Celery is an extra
    _broker = None  # type: ignore[assignment]  # a module, or none

__all__ = [
    "BackfillRequest",
    "add_known_difference",
    "adopt",
    "audit",
    "backfill",
    "cutover",
    "cutover_wave",
    "diff_report",
    "fail",
    "gate",
    "known_courses",
    "known_differences",
    "new_work_cycle",
    "preflight",
    "queue_interface",
    "reconcile",
    "release",
    "relink",
    "remove_shadows",
    "retire_learner",
    "status",
    "undelivered",
    "watch",
    "withdraw_known_difference",
]


def queue_interface(block: Any = None, *, seconds: float | None = None) -> QueueInterface:
    """The router's door for one problem block: an object with CAPA's ``send_to_queue``. See ``QueueInterface``."""
    return QueueInterface(block, seconds=seconds)


def known_courses() -> list[str]:
    """Every course that has a phase on record or a ledger entry."""
    phases = set(CoursePhase.objects.values_list("course_id", flat=True))
    return sorted(phases | set(_counts.courses()))


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
    return _backfill.run(request, progress, tell, send=_workers().send_backfill)


def reconcile(
    courses: list[str],
    progress: _reconcile.Progress,
    on_divergence: Any,
    *,
    grading: Grading = Grading.SHADOW,
    full: bool = False,
    workers: str | None = None,
    tell: Callable[[str], None] = _reconcile.nothing,
) -> Document:
    """Compare both sides of every submission, or let ``workers`` (celery) do so. See ``reconcile.run``."""
    send = None if workers is None else _workers().send_reconcile
    return _reconcile.run(courses, progress, on_divergence, grading=grading, full=full, tell=tell, send=send)


def relink() -> int:
    """Let every legacy row be linked anew. See ``link.relink``."""
    return _link.relink(_load())


def _workers() -> ModuleType:
    if _broker is None:
        raise ConfigurationError("--workers celery needs Celery, which is not installed.")
    return _broker


def diff_report(reconcile: dict[str, Any], divergences: Any, *, include_content: bool = False) -> Report:
    """What the renderers of ``reports`` make files of. See ``diff_report.gather``."""
    return _diff_report.gather(reconcile, divergences, include_content=include_content)


def gate(course_id: str) -> Document:
    """The verdict from stored evidence. See ``evidence.run_gate``."""
    return _evidence.run_gate(course_id)


def cutover(course_id: str, to: Phase, **how: Any) -> Document:
    """Move a course to another phase. See ``cutover.run``."""
    return _cutover.run(course_id, to, **how)


def adopt(host: str, **how: Any) -> Document:
    """Say that the ledger of a copied database, or of an LMS with a new name, is this LMS's. See ``stamp.adopt``."""
    return _stamp.adopt(host, **how)


def cutover_wave(courses: list[str], to: Phase, **how: Any) -> Document:
    """Move many courses to another phase, the first of them as a canary. See ``wave.run``."""
    return _wave.run(courses, to, **how)


def release(
    course_id: str, *, reason: str, execute: bool, user: str, login: str | None, override: bool = False
) -> Document:
    """Turn on the platform's own flag for a course that is complete. See ``release.run``."""
    return _release.run(course_id, reason=reason, execute=execute, user=user, login=login, override=override)


def audit(courses: list[str], noted: Any = None) -> Document:
    """Show and verify the log of phase changes, with ``noted``, the content of an earlier audit. See ``audit.run``."""
    return _audit.run(courses, noted=None if noted is None else _audit.heads_of(noted))


def fail(course_id: str, submissions: Iterable[int], *, reason: str, user: str, execute: bool) -> Document:
    """Fail submissions on the target of which no grader gives a result. See ``in_vain.fail``."""
    return _in_vain.fail(course_id, list(submissions), reason=reason, user=user, execute=execute)


def undelivered(course_id: str, *, learners: bool, reason: str, user: str) -> Document:
    """Who waits for a grade that nobody brings; who names learners is written down. See ``undelivered.listing``."""
    return _undelivered.listing(course_id, learners=learners, reason=reason, by=user)


def known_differences() -> Document:
    """The register of known differences. See ``known.listing``."""
    return _known.listing()


def add_known_difference(klass: DivergenceClass, **what: Any) -> Document:
    """Register a known difference. See ``known.add``."""
    return _known.add(klass, **what)


def withdraw_known_difference(number: int) -> Document:
    """Take a known difference out of force. See ``known.withdraw``."""
    return _known.withdraw(number)


def cure(klass: DivergenceClass, *, course_id: str, reason: str, by: str) -> Document:
    """Sign for a broken promise that is mended. See ``cures.cure``."""
    return _cures.cure(klass, course_id=course_id, reason=reason, by=by)


def remove_shadows(course_id: str, *, execute: bool, progress: _reconcile.Progress) -> Document:
    """Remove the shadows of a course that is complete. See ``cutover.remove_shadows``."""
    return _cutover.remove_shadows(course_id, execute=execute, progress=progress)


def status(courses: list[str] | None = None, *, watcher_config: bool = False) -> Document:
    """Where courses stand; without any named, the site with all of its courses. See ``status.run``."""
    site = courses is None and not watcher_config
    return _status.run(known_courses() if courses is None else courses, watcher_config=watcher_config, site=site)


def new_work_cycle() -> None:
    """Forget what a request may cache. Whatever runs longer than a request calls it before it looks again."""
    _toggles.new_work_cycle()


def watch(courses: list[str] | None = None, *, purge: bool = False) -> Document:
    """Watch over courses once: finish, compare, guard, repair, purge. See ``watch.run``."""
    return _watch.run(courses, purge=purge)


def retire_learner(anonymous_ids: Iterable[str]) -> dict[str, int]:
    """Forget a learner, for the LMS's user retirement. See ``retirement.retire_learner``."""
    return _retirement.retire_learner(anonymous_ids)
