"""Gathering a course's evidence for the gate, out of run records and ledger entries; and the gate's own record."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import Count, Q, QuerySet
from django.utils.timezone import now

from . import runs
from .conf import load
from .core.gate import Evidence, GateResult, Tally, evaluate
from .core.phases import needs_permit
from .data import Authority, DivergenceClass, Document, ExitCode, Leg, PairStatus, Phase, Verdict
from .models import CoursePhase, LedgerEntry, Run

SCHEMA = "migration_shim.xqueue_gate/1"
#: Divergences that no random grader explains: one of them fails its problem.
DETERMINISTIC = (DivergenceClass.PRESENCE, DivergenceClass.STATE, DivergenceClass.PAYLOAD)
_NEXT_STEP = {Phase.SHADOW: Phase.LIVE, Phase.LIVE: Phase.COMPLETE}


def _entries(course_id: str) -> QuerySet[LedgerEntry]:
    """
    The entries that count: those whose copy was wanted, imported history apart.

    In live and after it the question is whether the target's own grades hold, so the pairs of live answer it; before,
    those of shadow.
    """
    record = CoursePhase.objects.filter(course_id=course_id).first()
    authority = Phase(record.phase).authority if record else Authority.LEGACY
    # History counts once it has been echoed: it proves the pipeline. Without that it has nothing to compare.
    wanted = LedgerEntry.objects.filter(course_id=course_id, authority=authority).exclude(history=True, echo=False)
    copy = "target_leg" if authority is Authority.LEGACY else "legacy_leg"
    return wanted.exclude(**{copy: Leg.NONE}).exclude(result=PairStatus.KNOWN)


def _tallies(course_id: str, by: str) -> tuple[Tally, ...]:
    deterministic = Q()
    for klass in DETERMINISTIC:
        deterministic |= Q(divergences__contains=klass.value)
    rows = (
        _entries(course_id)
        .values(by)
        .annotate(
            entries=Count("id"),
            pairs=Count("id", filter=Q(graded_pair=True)),
            echoed=Count("id", filter=Q(graded_pair=True, echo=True)),
            diverged=Count("id", filter=Q(result=PairStatus.DIVERGED)),
            deterministic=Count("id", filter=deterministic),
        )
        .order_by(by)
    )
    return tuple(
        Tally(
            name=row[by],
            entries=row["entries"],
            graded_pairs=row["pairs"],
            echoed=row["echoed"],
            diverged=row["diverged"],
            deterministic=row["deterministic"],
        )
        for row in rows
    )


def _age(run: Run | None) -> float | None:
    return (now() - run.finished_at).total_seconds() if run and run.finished_at else None


def _blockers(findings: list[dict[str, Any]]) -> tuple[str, ...]:
    """One line for each kind of blocker, with the rows that it was found in, or else the queue or check it is about."""
    rows: dict[str, int] = {}
    for item in findings:
        if item["severity"] == "blocker":
            about = "" if item["rows"] else f" {item['queue'] or item['problem']}"
            name = item["code"] + about
            rows[name] = rows.get(name, 0) + item["rows"]
    return tuple(f"{code} ({number} rows)" if number else code for code, number in rows.items())


def gather(course_id: str) -> Evidence:
    """All that is on record of a course. What is not there stays None or empty, and the gate holds that against it."""
    newest = runs.last("reconcile", course_id)
    reconciled = runs.last_complete("reconcile", course_id)
    preflight = runs.last_complete("preflight", course_id)
    document = reconciled.document if reconciled else {}
    findings = preflight.document.get("findings", []) if preflight else []
    missing = _entries(course_id).filter(divergences__contains=DivergenceClass.PRESENCE.value)
    return Evidence(
        reconcile_age=_age(reconciled),
        reconcile_complete=newest is not None and newest.complete,
        preflight_age=_age(preflight),
        preflight_blockers=_blockers(findings),
        problems=_tallies(course_id, "item_id"),
        queues=_tallies(course_id, "queue_name"),
        missing=missing.count(),
        overdue=_entries(course_id).filter(result=PairStatus.OVERDUE).count(),
        fence_leaks=document.get("fence_leaks", 0),
        double_authority=document.get("double_authority", 0),
    )


def evaluate_course(course_id: str) -> tuple[GateResult, Evidence]:
    """The verdict of one course from its stored evidence, with the evidence."""
    evidence = gather(course_id)
    return evaluate(evidence, load().thresholds()), evidence


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
    return {
        "schema": SCHEMA,
        "course": course_id,
        "at": now().isoformat(),
        "phase": phase.value,
        "next_step": step.value if step else None,
        "verdict": result.verdict.value,
        "reasons": list(result.reasons),
        "needed": list(result.needed),
        "evidence": {
            "reconcile_age_seconds": evidence.reconcile_age,
            "reconcile_complete": evidence.reconcile_complete,
            "preflight_age_seconds": evidence.preflight_age,
            "preflight_blockers": list(evidence.preflight_blockers),
            "problems": [_tally(item) for item in evidence.problems],
            "queues": [_tally(item) for item in evidence.queues],
            "missing": evidence.missing,
            "overdue": evidence.overdue,
            "fence_leaks": evidence.fence_leaks,
            "double_authority": evidence.double_authority,
            "arithmetic": result.arithmetic,
        },
    }


def _tally(tally: Tally) -> dict[str, Any]:
    return {
        "name": tally.name,
        "entries": tally.entries,
        "graded_pairs": tally.graded_pairs,
        "echoed": tally.echoed,
        "diverged": tally.diverged,
        "deterministic": tally.deterministic,
    }
