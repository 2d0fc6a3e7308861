"""
Cures: signatures under grave divergences, which no register of known differences excuses.

The signer has mended the cause, or answers for what cannot be mended. A cure is an entry in the course's log: who, why
and of how many divergences. It covers what is on record until then; what a later reconcile finds counts again.
"""

from __future__ import annotations

from django.db import transaction
from django.utils.timezone import now

from ..core.data import GRAVE, DivergenceClass, Document, Phase
from ..core.documents.known import KnownDocument
from ..core.errors import ShimError
from ..core.wording import counted, verb
from ..ledger import buckets, known_differences, permits
from ..models import CoursePhase, Divergence, LedgerEntry, PhaseChange
from . import invariants


def cure(klass: DivergenceClass, *, course_id: str, reason: str, by: str) -> Document[KnownDocument]:
    """
    Sign for all divergences of one grave class on record of a course, and have their entries compared again.

    Args:
        klass: a class of ``GRAVE``.
        course_id: the course.
        reason: what was done about the cause.
        by: the signer's name.

    Returns:
        The register of known differences, with the cures.

    Raises:
        ShimError: the class is not grave, nothing of it is on record, or what it tells of is still so.
    """
    if klass not in GRAVE:
        raise ShimError(f"A divergence of class {klass} is not cured: register it, or mend it and reconcile.")
    if klass is DivergenceClass.UNDELIVERED:
        _refuse_waiting_learners(course_id)  # before the transaction, whose snapshot may be older than a delivery
    with transaction.atomic():
        record = CoursePhase.objects.select_for_update().filter(course_id=course_id).first()
        if record is None:
            raise ShimError(f"The shim knows no course {course_id}.")
        if klass is DivergenceClass.FENCE_LEAK:
            _refuse_present_leaks(course_id)
        if klass is DivergenceClass.WRONG_SIDE:
            _refuse_waiting_rows(course_id)
        number = _sign(record, klass)
        if not number:
            raise ShimError(f"There is nothing of class {klass} on record of {course_id}.")
        proof = {"cured": {"class": klass.value, "number": number}}
        PhaseChange.objects.append(record, Phase(record.phase), by=by, reason=reason, evidence=proof)
        permits.clear(record)
        record.save()
    return known_differences.listing()


def _refuse_present_leaks(course_id: str) -> None:
    left = invariants.current_fence_leak_count(course_id)
    if left is None:
        raise ShimError("It cannot be told whether the leak is mended: XQueue's database does not answer.")
    if left:
        raise ShimError(
            f"{counted(left, 'copy', 'copies')} of {course_id} still {verb(left, 'lacks', 'lack')} a "
            "fence: mend that first. "
            "See the runbook."
        )


def _refuse_waiting_rows(course_id: str) -> None:
    left = invariants.current_wrong_side_count(course_id)
    if left is None:
        raise ShimError(
            "It cannot be told whether any of them waits on legacy still: XQueue's database does not answer."
        )
    if left:
        raise ShimError(
            f"{counted(left, 'submission')} of {course_id} {verb(left, 'waits', 'wait')} on legacy still: "
            "hand them off, or let legacy's graders answer, "
            "and reconcile."
        )


def _refuse_waiting_learners(course_id: str) -> None:
    """Refuse while learners wait to whom the watch can still deliver; the undeliverable may be signed for."""
    left = invariants.still_waiting(invariants.undelivered_entries(course_id).filter(undeliverable=""))
    if left is None:
        raise ShimError("It cannot be told whether any of them waits: a learner's state cannot be read. Reconcile.")
    if left:
        raise ShimError(
            f"{counted(len(left), 'learner')} of {course_id} {verb(len(left), 'waits', 'wait')} still: let "
            "xqueue_watch deliver again, and reconcile."
        )


def _sign(record: CoursePhase, klass: DivergenceClass) -> int:
    """Sign for all divergences of a class, have their entries compared again, and return how many there were."""
    course_id = record.course_id
    rows = Divergence.objects.filter(course_id=course_id, klass=klass, cured_at=None)
    ids = set(rows.values_list("entry_id", flat=True))
    if klass is DivergenceClass.DOUBLE_AUTHORITY:
        ids |= set(invariants.double_authority_entries(course_id).values_list("pk", flat=True))
    number = len(ids)
    if klass is DivergenceClass.FENCE_LEAK:
        number, record.fence_leaks = max(number, record.fence_leaks), 0
    entries = LedgerEntry.objects.filter(pk__in=ids)
    if klass is DivergenceClass.UNDELIVERED:
        # The states of undeliverable learners are not read again: the signer has told them.
        entries.exclude(undeliverable="").update(learner_settled_at=now())
    with buckets.counted(ids):
        rows.filter(entry__in=ids).update(cured_at=now())
        entries.update(seen="", settled_at=None)
        if klass is DivergenceClass.DOUBLE_AUTHORITY:
            entries.update(double_authority=False)
        known_differences.cover(ids, known_differences.of_course(course_id, now()))
    return number
