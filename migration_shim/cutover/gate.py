"""The gate: the verdict on a course's stored evidence, its document, and the permit that a PASS gives."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import cast

from django.db import transaction
from django.utils.timezone import now

from ..conf import load
from ..core.data import Document, ExitCode, Phase, Verdict
from ..core.documents.gate import CohortTally, GateDocument, Percentiles
from ..core.evidence import Cause, CohortEvidence, Evidence, GateResult
from ..core.gate import evaluate
from ..core.gate_explanation import explain
from ..ledger import known_differences, permits
from ..legacy import privileges
from ..legacy.timeouts import AWAY, soon
from ..models import CoursePhase, Run
from ..runs import causes
from ..runs import records as run_records
from . import override_records
from .evidence import gather

SCHEMA = "migration_shim.xqueue_gate/1"
_NEXT_STEP = {Phase.SHADOW: Phase.LIVE, Phase.LIVE: Phase.COMPLETE}
#: Seconds that XQueue's database has to answer.
_PATIENCE = 5.0


def evaluate_course(course_id: str, away: str = "") -> tuple[GateResult, Evidence]:
    """
    Return the verdict on a course's stored evidence, and that evidence. Nothing is put on record.

    Args:
        course_id: the course.
        away: why XQueue's database cannot be read, where that was asked.

    Raises:
        ConfigurationError: the settings are not usable.
    """
    settings = load()
    evidence = dataclasses.replace(gather(course_id, settings), legacy_away=away)
    return evaluate(evidence, settings.thresholds()), evidence


def legacy_away() -> str:
    """Return why XQueue's database cannot be read now, its code first; empty where it can."""
    try:
        soon(privileges.probe_read, _PATIENCE)
    except (*AWAY, TimeoutError) as error:
        return causes.of_legacy(error).said()
    return ""


def run_gate(course_id: str, *, away: str | None = None) -> Document[GateDocument]:
    """
    Evaluate a course's evidence and record the verdict. A PASS permits the next step until the evidence is stale.

    Nothing passes while XQueue's database is away, as no step does: what happens there meanwhile, nobody sees. A course
    in ``complete`` does not need it.

    Args:
        course_id: the course.
        away: what ``legacy_away`` has said; for many courses it is asked once.

    Returns:
        The gate's document, with the exit code of ``exit_code``.

    Raises:
        ConfigurationError: the settings are not usable.
        RunLocked: another gate run of this course is at work.
    """
    with run_records.running("gate", course_id) as record:
        course, _ = CoursePhase.objects.get_or_create(course_id=course_id)
        if course.phase == Phase.COMPLETE:
            away = ""
        elif away is None:
            away = legacy_away()  # before any lock is taken: it may be slow to answer
        with transaction.atomic():
            # Under the lock of the step: evidence that is stored after this finds the permit, and can withdraw it.
            course = permits.locked(course_id)
            result, evidence = evaluate_course(course_id, away)
            record.document, record.complete = document(course_id, result, evidence), True
            _settle_permit(course, result, evidence, record)
    return Document(content=record.document, exit_code=exit_code(result.verdict))


def review_permit(run: Run) -> None:
    """
    Renew or withdraw the permit of a course after a run; only ``run_gate`` gives one.

    Fence leaks that a reconcile counted are kept on the course's row until a cure, if they are more than before.

    Args:
        run: a reconcile or preflight that ends in this transaction. It is already on record as ended, and so part of
            the evidence.
    """
    course = CoursePhase.objects.select_for_update().filter(course_id=run.scope).first()
    if course is None:
        return
    if run.kind == "reconcile" and (leaks := run.document.get("fence_leaks") or 0) > course.fence_leaks:
        course.fence_leaks = leaks
        course.save(update_fields=["fence_leaks"])
    if course.permit and course.permit_until is not None and course.permit_until > now():
        _settle_permit(course, *evaluate_course(run.scope), None)


def _settle_permit(course: CoursePhase, result: GateResult, evidence: Evidence, giver: Run | None) -> None:
    """
    Bring the permit of a course in line with a verdict; the caller holds the lock of the course's row.

    Without a ``giver`` (a gate run) a permit is renewed or withdrawn, and none is given. A verdict that lacks evidence
    withdraws nothing while a run is at work: that run reviews the permit when it ends.
    """
    step = _NEXT_STEP.get(Phase(course.phase))
    if result.verdict is Verdict.PASS and step is not None and (giver is not None or course.permit == step):
        ages = (evidence.reconcile_age, evidence.preflight_age)
        oldest = max(age for age in ages if age is not None)  # a PASS has both
        until = now() + timedelta(seconds=load().evidence_max_age_seconds - oldest)
        permits.grant(course, step, until, giver)
    elif course.permit and (result.verdict in (Verdict.PASS, Verdict.FAIL) or not permits.at_work(course.course_id)):
        permits.clear(course)
        course.save()


def exit_code(verdict: Verdict) -> ExitCode:
    """Return 0 for PASS, 2 for FAIL, 2|8 for INCONCLUSIVE and STALE."""
    if verdict is Verdict.PASS:
        return ExitCode.OK
    if verdict is Verdict.FAIL:
        return ExitCode.DIFFERENCES
    return ExitCode.DIFFERENCES | ExitCode.STALE


def document(course_id: str, result: GateResult, evidence: Evidence) -> GateDocument:
    """Return the gate's document; its ``evidence`` holds everything that the verdict rests on."""
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
        "cause": _cause(phase, result),
        "causes": [cause.value for cause in result.causes],
        "reasons": list(result.reasons),
        "reason_causes": [cause.value for cause in result.reason_causes],
        "needed": list(result.needed),
        "more_pairs": result.more_pairs,
        "more_by_queue": dict(result.more_by_queue),
        "ways_out": list(result.ways_out),
        "notes": list(result.notes),
        "overrides": override_records.described(course_id),
        "register": known_differences.described_of(course_id, moment),
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
            "grave": {klass.value: number for klass, number in evidence.grave},
            "taken_back": evidence.taken_back,
            "stuck": evidence.stuck,
            "fence_leaks": evidence.fence_leaks,
            "double_authority": evidence.double_authority,
            "undelivered": evidence.undelivered,
            "learners_asked": evidence.learners_asked,
            "wrong_side": evidence.wrong_side,
            "latency": cast(Percentiles, dataclasses.asdict(evidence.latency)) if evidence.latency else None,
            "arithmetic": result.arithmetic,
            "explained": explain(evidence, load().thresholds()),
        },
    }


def _cause(phase: Phase, result: GateResult) -> str:
    return Cause.MOVED if phase is Phase.COMPLETE and result.cause is Cause.READY else result.cause


def _tally(tally: CohortEvidence) -> CohortTally:
    return cast(CohortTally, dataclasses.asdict(tally) | {"classes": list(tally.classes)})
