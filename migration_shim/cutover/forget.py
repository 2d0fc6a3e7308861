"""
The removal of a course's record: of one that was mistyped, or was looked at and never begun.

What has ever had a log keeps it: the head of the log is on the record, and without it the log would be broken. The
removal itself is put on record as a run, because there is no log that it could be added to.
"""

from __future__ import annotations

from collections.abc import Iterator

from django.db import transaction
from django.utils.timezone import now

from .. import toggles
from ..core.data import Document, ExitCode, Phase
from ..core.documents.cutover_forget import CutoverForgetDocument
from ..lms import flags as lms_flags
from ..models import (
    CampaignCourse,
    CoursePhase,
    FlagOverride,
    GateOverride,
    KnownDifference,
    LedgerEntry,
    PhaseChange,
    Run,
)
from ..runs import records as run_records

SCHEMA = "migration_shim.xqueue_cutover_forget/1"
#: Runs of one course, with the key of their documents that says of how many submissions they are evidence.
_EVIDENCE = {"preflight": "rows", "reconcile": "of"}


def forget(course_id: str, *, reason: str, user: str, execute: bool) -> Document[CutoverForgetDocument]:
    """
    Remove the record of a course that was never begun, or say why it stays.

    Args:
        course_id: the course.
        reason: why, for the record of the run.
        user: who does it, for the same.
        execute: remove it; without it only say whether it can be.

    Returns:
        The document. Exit code 2: the course has a past, and its record stays.

    Raises:
        RunLocked: another process is at it.
        ConfigurationError: the settings are not usable.
    """
    if not execute:
        return _document(course_id, list(_reasons(course_id)), reason, user, executed=False)
    with run_records.running("forget", course_id) as run, transaction.atomic():
        # Under the lock of the step: who turns on a flag now waits, and finds no record, as of any new course.
        record = CoursePhase.objects.select_for_update().filter(course_id=course_id).first()
        toggles.new_work_cycle()
        reasons = list(_reasons(course_id))
        if record is not None and not reasons:
            record.delete()
        answer = _document(course_id, reasons, reason, user, executed=not reasons)
        run.document, run.complete = answer.content, True
    if answer.content["executed"]:
        # A submission that met the lock was obeyed without a record, if somebody had turned a flag on by then.
        toggles.new_work_cycle()
        toggles.phase_of(course_id)
    return answer


def _document(
    course_id: str, reasons: list[str], reason: str, user: str, *, executed: bool
) -> Document[CutoverForgetDocument]:
    content: CutoverForgetDocument = {
        "schema": SCHEMA,
        "at": now().isoformat(),
        "course": course_id,
        "reason": reason,
        "by": user,
        "permitted": not reasons,
        "reasons": reasons,
        "executed": executed,
    }
    return Document(content=content, exit_code=ExitCode.DIFFERENCES if reasons else ExitCode.OK)


def _reasons(course_id: str) -> Iterator[str]:
    """Yield everything by which the course has a past, or a present."""
    record = CoursePhase.objects.filter(course_id=course_id).first()
    if record is None:
        yield "the shim has no record of it"
    elif record.phase != Phase.LEGACY:
        yield f"it is in {record.phase}"
    if record is not None and record.released_at is not None:
        yield "it was released to the platform's own path"
    if record is not None and record.fence_leaks:
        yield f"fence leaks are on record: {record.fence_leaks}"
    if entries := LedgerEntry.objects.filter(course_id=course_id).count():
        yield f"the ledger has entries of it: {entries}"
    if steps := PhaseChange.objects.filter(course_id=course_id).count():
        yield f"it has a log, which is never removed; its entries: {steps}"
    if campaigns := list(CampaignCourse.objects.filter(course_id=course_id, held=True).values_list("campaign__name")):
        yield f"it is in campaign {campaigns[0][0]}, which would put it on record again"
    if any(toggles.flags_for(course_id)):
        yield "a flag is on for it, by its own override, its organisation's, or for everyone"
    elif _had_flag(course_id):
        yield "a flag was on for it"
    for kind, key in _EVIDENCE.items():
        seen = [rows for rows in _rows_of(kind, course_id, key) if rows]
        if seen:
            yield f"a {kind} has seen submissions of it: {max(seen)}"
    for model in (GateOverride, KnownDifference):
        if number := model.objects.filter(course_id=course_id).count():
            yield f"it is named by a {model._meta.verbose_name}; there are {number}"


def _had_flag(course_id: str) -> bool:
    ours = FlagOverride.objects.filter(scope="course", key=course_id, flag__in=toggles.FLAGS, force=True)
    return ours.exists() or any(lms_flags.was_forced_on(course_id, flag) for flag in toggles.FLAGS)


def _rows_of(kind: str, course_id: str, key: str) -> list[int | None]:
    scope = run_records.scope_name(course_id)
    return list(Run.objects.filter(kind=kind, scope=scope).values_list(f"document__{key}", flat=True))
