"""The gate over a course's stored evidence: the verdict, its document, and the permit that a PASS gives."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

from django.utils.timezone import now

from . import gathering, known, overrides, runs
from .conf import load
from .core.evidence import Evidence, GateResult, Tally
from .core.explain import explain
from .core.gate import evaluate
from .core.phases import needs_permit
from .data import Document, ExitCode, Phase, Verdict
from .models import CoursePhase, Run

SCHEMA = "migration_shim.xqueue_gate/1"
_NEXT_STEP = {Phase.SHADOW: Phase.LIVE, Phase.LIVE: Phase.COMPLETE}


def evaluate_course(course_id: str) -> tuple[GateResult, Evidence]:
    """The verdict of one course from its stored evidence, with the evidence."""
    settings = load()
    evidence = gathering.gather(course_id, settings)
    return evaluate(evidence, settings.thresholds()), evidence


def run_gate(course_id: str) -> Document:
    """
    The verdict, put on record. A PASS permits the course's next step until its evidence is stale.

    Raises:
        ConfigurationError: the settings are not usable.
    """
    result, evidence = evaluate_course(course_id)
    content = document(course_id, result, evidence)
    with runs.running("gate", course_id) as record:
        record.document, record.complete = content, True
        _write_permit(course_id, result, evidence, record)
    return Document(content=content, exit_code=exit_code(result.verdict))


def _write_permit(course_id: str, result: GateResult, evidence: Evidence, record: Run) -> None:
    course, _ = CoursePhase.objects.get_or_create(course_id=course_id)
    step = _NEXT_STEP.get(Phase(course.phase))
    if result.verdict is Verdict.PASS and step is not None and needs_permit(Phase(course.phase), step):
        oldest = max(evidence.reconcile_age or 0, evidence.preflight_age or 0)
        until = now() + timedelta(seconds=load().evidence_max_age_seconds - oldest)
        new = {"permit": step.value, "permit_until": until, "permit_run": record}
    else:
        new = {"permit": "", "permit_until": None, "permit_run": None}
    # Only while the course stands where the verdict saw it: a step that comes between takes the permit away.
    CoursePhase.objects.filter(pk=course.pk, phase=course.phase).update(**new)


def exit_code(verdict: Verdict) -> ExitCode:
    """0 for PASS, 2 for FAIL, 2|8 for INCONCLUSIVE and STALE."""
    if verdict is Verdict.PASS:
        return ExitCode.OK
    if verdict is Verdict.FAIL:
        return ExitCode.DIFFERENCES
    return ExitCode.DIFFERENCES | ExitCode.STALE


def document(course_id: str, result: GateResult, evidence: Evidence) -> dict[str, Any]:
    """The gate's document. ``evidence`` in it is all that the verdict was made of."""
    record = CoursePhase.objects.filter(course_id=course_id).first()
    phase = Phase(record.phase) if record else Phase.LEGACY
    step = _NEXT_STEP.get(phase)
    moment = now()
    return {
        "schema": SCHEMA,
        "course": course_id,
        "at": moment.isoformat(),
        "phase": phase.value,
        "next_step": step.value if step else None,
        "verdict": result.verdict.value,
        "reasons": list(result.reasons),
        "needed": list(result.needed),
        "ways_out": list(result.ways_out),
        "notes": list(result.notes),
        "overrides": overrides.active(course_id, moment),
        "register": known.described_of(course_id, moment),
        "evidence": {
            "reconcile_age_seconds": evidence.reconcile_age,
            "reconcile_complete": evidence.reconcile_complete,
            "preflight_age_seconds": evidence.preflight_age,
            "preflight_blockers": list(evidence.preflight_blockers),
            "problems": [_tally(item) for item in evidence.problems],
            "queues": [_tally(item) for item in evidence.queues],
            "missing": evidence.missing,
            "overdue": evidence.overdue,
            "lost": evidence.lost,
            "stuck": evidence.stuck,
            "fence_leaks": evidence.fence_leaks,
            "double_authority": evidence.double_authority,
            "wrong_side": evidence.wrong_side,
            "latency": dataclasses.asdict(evidence.latency) if evidence.latency else None,
            "arithmetic": result.arithmetic,
            "explained": explain(evidence, load().thresholds()),
        },
    }


def _tally(tally: Tally) -> dict[str, Any]:
    return dataclasses.asdict(tally) | {"classes": list(tally.classes)}
