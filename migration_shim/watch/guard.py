"""Hold one course to its bounds: observe it, tell of each breach, and step it back where the target failed."""

from __future__ import annotations

import logging

from .. import toggles
from ..conf import ShimSettings
from ..core import codes
from ..core.bounds import Bounds, Breach, breaches
from ..core.data import Authority, Phase
from ..core.documents.reconcile_course import ReconciledCourse
from ..core.documents.watch import BreachDocument, GuardedCourse, StepOfWatch
from ..delivery import ungradable
from ..ledger import phase_memory
from ..metrics import count
from ..models import CoursePhase
from ..signals import course_out_of_bounds
from .observation import observe
from .step_back import WATCH, step_back

log = logging.getLogger(__name__)

_HANDOFF = "xqueue_backfill --mode handoff --course {course} --execute"
_RETURN = "xqueue_backfill --mode return --course {course} --execute"


def guard(course_id: str, settings: ShimSettings, reconciled: ReconciledCourse | None) -> GuardedCourse:
    """
    Check a course against its bounds, tell of every breach, and step the course back where the target failed.

    A breach is logged as an error and sent with the signal ``course_out_of_bounds``. The step back has to be switched
    on (``WATCH_STEP_BACK``).

    Args:
        course_id: the course.
        settings: the settings in force.
        reconciled: the course's part of the reconcile document, of a run that has just come to its end; else None.

    Returns:
        ``phase`` (as it was before a step), ``breaches``, ``stepped_back``, ``not_stepped_back`` (why), and ``next``:
        the commands that an operator has to run.
    """
    decision = toggles.phase_of(course_id)
    phase_memory.remember(course_id, decision.phase)  # the cache may have lost it since the step
    record = CoursePhase.objects.filter(course_id=course_id).first()
    since = record.since if record else None
    seen = observe(course_id, decision.phase, since, settings, reconciled)
    found = breaches(seen, Bounds(thresholds=settings.thresholds(), overdue=settings.watch_overdue_limit))
    failed = [breach for breach in found if breach.target_failed]
    step: StepOfWatch = {"stepped_back": False, "not_stepped_back": ""}
    if failed:
        step = step_back(course_id, seen, since, failed, settings)
    if found:
        _tell(course_id, seen.phase, found, stepped_back=step["stepped_back"])
    commands = []
    if seen.wrong_side and not _is_legacy(seen.phase, step):
        commands.append(_HANDOFF.format(course=course_id))
    mend = bool(failed) or any(item.side is Authority.TARGET and not item.copies for item in seen.stuck)
    then = [_RETURN.format(course=course_id)] if mend and _is_legacy(seen.phase, step) else []
    if seen.in_vain:
        then.append(ungradable.command(course_id))
    return {
        "phase": decision.phase.value,
        "breaches": [_described(breach) for breach in found],
        **step,
        "next": commands + then,
    }


def _is_legacy(phase: Phase, step: StepOfWatch) -> bool:
    """Return whether new submissions go to legacy by now: only then rows may be returned there."""
    return step["stepped_back"] or phase.authority is Authority.LEGACY


def _tell(course_id: str, phase: Phase, found: tuple[Breach, ...], *, stepped_back: bool) -> None:
    count("watch_breach")
    texts = "; ".join(f"{breach.bound}: {breach.text}" for breach in found)
    what = "stepped back to legacy" if stepped_back else f"in {phase}"
    log.error("migration_shim.out_of_bounds: %s is out of its bounds, %s: %s", course_id, what, texts)
    answers = course_out_of_bounds.send_robust(
        sender=WATCH,
        course_id=course_id,
        phase=phase.value,
        breaches=[_described(breach) for breach in found],
        stepped_back=stepped_back,
    )
    for receiver, answer in answers:
        if isinstance(answer, Exception):
            name = getattr(receiver, "__name__", type(receiver).__name__)
            log.error("migration_shim.receiver_failed: the receiver %s failed: %s", name, type(answer).__name__)


def _described(breach: Breach) -> BreachDocument:
    return {
        "bound": breach.bound.value,
        "rows": breach.rows,
        "text": breach.text,
        "target_failed": breach.target_failed,
        "page": codes.page("bound", breach.bound),
    }
