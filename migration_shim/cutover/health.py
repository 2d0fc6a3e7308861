"""Whether a course is well in the phase that it was moved to: by a reconcile that began since, and what it has seen."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

from django.utils.timezone import now

from ..conf import load
from ..core.campaign import Health
from ..core.data import Authority, Phase, State, Verdict
from ..core.evidence import Evidence
from ..core.gate import evaluate
from ..models import CoursePhase, LedgerEntry
from ..runs import records as run_records
from .evidence import gather


def is_reconciled(record: CoursePhase) -> bool:
    """Tell whether a complete reconcile has begun since the course came into its phase, and is fresh."""
    return not _unseen(record)


def health(record: CoursePhase, found: Evidence | None = None) -> tuple[Health, list[str]]:
    """
    Return how a course is in its phase, by the evidence since its step, and the reasons for it.

    What concerns only the next phase is no reason: neither a preflight blocker nor, in ``shadow``, how quick the
    target's graders are or whether they have graded anything yet.

    Args:
        record: the course's phase on record.
        found: its evidence, if the caller has gathered it already.
    """
    if unseen := _unseen(record, stale=False):
        return Health.UNKNOWN, [unseen]
    settings, phase = load(), Phase(record.phase)
    found = gather(record.course_id, settings) if found is None else found
    latency = None if phase is Phase.SHADOW else found.latency
    result = evaluate(dataclasses.replace(found, preflight_blockers=(), latency=latency), settings.thresholds())
    bad = {
        "fence leaks": found.fence_leaks,
        "double authority": found.double_authority,
        "undelivered": found.undelivered if found.learners_asked else 0,
        "on the wrong side": found.wrong_side,
        "overdue": found.overdue,
        "missing": found.missing,
        "lost": found.lost,
        "stuck": found.stuck,
    }
    bad |= {klass.value.replace("_", " "): number for klass, number in found.grave}
    reasons = [f"{number} {what}" for what, number in bad.items() if number]
    if result.verdict is Verdict.FAIL:
        reasons += result.reasons
    if reasons:
        return Health.FAILED, reasons
    if unknown := [f"nobody has looked for {what}" for what, number in bad.items() if number is None]:
        return Health.UNKNOWN, unknown
    # A step to shadow or complete does not change who grades. In live a shadow's grade shows nothing about the graders
    # of the learners' own submissions.
    if phase is Phase.LIVE and not _has_graded(record):
        return Health.UNKNOWN, ["no reconcile has seen a grade of the target since its step"]
    if unseen := _unseen(record):
        return Health.UNKNOWN, [unseen]
    return Health.WELL, []


def _has_graded(record: CoursePhase) -> bool:
    return LedgerEntry.objects.filter(
        course_id=record.course_id,
        authority=Authority.TARGET,
        target_state=State.GRADED,
        target_graded_at__gte=record.since,
    ).exists()


def _unseen(record: CoursePhase, *, stale: bool = True) -> str:
    """Return why no reconcile tells of the course in its phase; empty if one does. Without ``stale`` of any age."""
    reconciled = run_records.last_complete("reconcile", record.course_id)
    if reconciled is None or reconciled.finished_at is None or reconciled.started_at < record.since:
        return "no reconcile has begun and ended since its step"
    if stale and now() - reconciled.finished_at > timedelta(seconds=load().evidence_max_age_seconds):
        return "its last reconcile is too old"
    return ""
