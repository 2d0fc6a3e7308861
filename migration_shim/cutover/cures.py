"""
Cures: what ends a divergence that no register excuses. Somebody has mended it, or answers for what cannot be mended.

A cure is an entry in the course's log, with who, why and of how many. It ends what is on record until then; what is
found again of a row that is still alive counts again.
"""

from __future__ import annotations

from django.db import transaction
from django.utils.timezone import now

from ..core.data import GRAVE, DivergenceClass, Document, Phase
from ..core.errors import ShimError
from ..ledger import buckets, known_differences, permits
from ..models import CoursePhase, Divergence, LedgerEntry, PhaseChange
from . import invariants


def cure(klass: DivergenceClass, *, course_id: str, reason: str, by: str) -> Document:
    """
    Sign for all that is on record of one grave class in a course. The next reconcile looks at it once more.

    Args:
        klass: the class.
        course_id: the course.
        reason: what was done about it.
        by: who signs.

    Raises:
        ShimError: the class is to be registered instead, there is nothing of it on record, or it is still there.
    """
    if klass not in GRAVE:
        raise ShimError(f"A divergence of class {klass} is not cured: register it, or mend it and reconcile.")
    if klass is DivergenceClass.UNDELIVERED:
        _refuse_who_waits(course_id)  # before the transaction, whose snapshot may be older than a delivery
    with transaction.atomic():
        record = CoursePhase.objects.select_for_update().filter(course_id=course_id).first()
        if record is None:
            raise ShimError(f"The shim knows no course {course_id}.")
        if klass is DivergenceClass.FENCE_LEAK:
            _refuse_what_is_there(course_id)
        if klass is DivergenceClass.WRONG_SIDE:
            _refuse_what_waits(course_id)
        number = _sign(record, klass)
        if not number:
            raise ShimError(f"There is nothing of class {klass} on record of {course_id}.")
        proof = {"cured": {"class": klass.value, "number": number}}
        PhaseChange.objects.append(record, Phase(record.phase), by=by, reason=reason, evidence=proof)
        permits.take(record)
        record.save()
    return known_differences.listing()


def _refuse_what_is_there(course_id: str) -> None:
    left = invariants.current_fence_leaks(course_id)
    if left is None:
        raise ShimError("Nobody can tell whether the leak is mended: XQueue's database does not answer.")
    if left:
        raise ShimError(f"{left} copies of {course_id} still lack their fence: mend them first. See the runbook.")


def _refuse_what_waits(course_id: str) -> None:
    left = invariants.current_wrong_side(course_id)
    if left is None:
        raise ShimError("Nobody can tell whether any of them waits on legacy still: XQueue's database does not answer.")
    if left:
        raise ShimError(
            f"{left} submissions of {course_id} wait on legacy still: hand them off, or let legacy's graders answer, "
            "and reconcile."
        )


def _refuse_who_waits(course_id: str) -> None:
    """Only those for whom nothing can be done are signed for while they wait; the others the watch delivers to."""
    left = invariants.still_waiting(invariants.undelivered_entries(course_id).filter(undeliverable=""))
    if left is None:
        raise ShimError("Nobody can tell whether any of them waits: a learner's state cannot be read. Reconcile.")
    if left:
        raise ShimError(
            f"{len(left)} learners of {course_id} wait still: let xqueue_watch deliver again, and reconcile."
        )


def _sign(record: CoursePhase, klass: DivergenceClass) -> int:
    """Sign for all of a class, and have its entries compared again; how many there were."""
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
        # Whom nothing reaches is not asked again: who signs has told the learner.
        entries.exclude(undeliverable="").update(learner_settled_at=now())
    with buckets.counted(ids):
        rows.filter(entry__in=ids).update(cured_at=now())
        entries.update(seen="", settled_at=None)
        if klass is DivergenceClass.DOUBLE_AUTHORITY:
            entries.update(double_authority=False)
        known_differences.cover(ids, known_differences.of_course(course_id, now()))
    return number
