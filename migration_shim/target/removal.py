"""Remove shadows when a migration is over: fenced rows only, in batches, stored files included."""

from __future__ import annotations

from collections.abc import Callable

from django.db import transaction
from django.db.models import QuerySet
from django.utils.timezone import now
from submissions.models import StudentItem, Submission, SubmissionFile

from ..core.data import Leg
from ..core.identity import FENCE, is_fenced
from ..ledger import buckets
from ..models import LedgerEntry
from . import file_storage
from .exact_match import of_course

BATCH = 200


def count_shadows(course_id: str) -> int:
    """Return how many shadows a course has on the target."""
    return _fenced(course_id).count()


def _fenced(course_id: str) -> QuerySet[Submission]:
    rows = Submission._objects.filter(
        of_course(course_id, "student_item__"),
        student_item__student_id__startswith=FENCE,
        student_item__item_id__startswith=FENCE,
    )
    return rows.order_by("id")


def has_unknown_shadow(course_id: str) -> bool:
    """
    Tell whether a course has a living shadow that no ledger entry knows, which an earlier installation has left.

    A superseded shadow duplicates nothing, and a return forgets it: a handoff had set it aside and retired it.
    """
    dead = {"external_grader_detail__status": "retired", "external_grader_detail__grader_reply": None}
    living = _fenced(course_id).exclude(**dead)
    after = 0
    while page := list(living.filter(id__gt=after).values_list("id", flat=True)[:BATCH]):
        after = page[-1]
        known: set[int] = set()
        for column in ("target_submission_id", "shadow_submission_id", "twin_submission_id"):
            known.update(LedgerEntry.objects.filter(**{f"{column}__in": page}).values_list(column, flat=True))
        if set(page) - known:
            return True
    return False


def remove_shadows(course_id: str, progress: Callable[[int, int], None]) -> int:
    """
    Delete every shadow of a course, with its score and its files, and return how many there were.

    It may be stopped anywhere and run again. Each row is checked once more, in Python, before it is deleted: real rows
    are never touched. ``progress`` is called with (removed so far, total).
    """
    total, removed, after = count_shadows(course_id), 0, 0
    while page := list(_fenced(course_id).filter(id__gt=after).select_related("student_item")[:BATCH]):
        after = page[-1].pk
        own = [row for row in page if row.student_item.course_id in (course_id, FENCE + course_id)]
        own = [row for row in own if is_fenced(row.student_item.student_id, row.student_item.item_id)]
        removed += _remove(own)
        progress(removed, total)
    return removed


def _remove(rows: list[Submission]) -> int:
    ids = [row.pk for row in rows]
    files = SubmissionFile.objects.filter(external_grader__submission_id__in=ids)
    with transaction.atomic():
        left = file_storage.record_abandoned(files.values_list("uuid", "file"))
        files.delete()
        Submission._objects.filter(pk__in=ids).delete()
        StudentItem.objects.filter(pk__in=[row.student_item_id for row in rows], submission=None).delete()
        entries = LedgerEntry.objects.filter(target_submission_id__in=ids)
        graded_twice = LedgerEntry.objects.filter(twin_submission_id__in=ids)
        pks = {pk for rows in (entries, graded_twice) for pk in rows.values_list("pk", flat=True)}
        with buckets.counted(pks):
            removed = {"target_leg": Leg.NONE, "target_reason": "removed", "compared_at": now()}
            entries.filter(pk__in=pks).update(target_submission_id=None, **removed)
            graded_twice.filter(pk__in=pks).update(twin_submission_id=None)
            LedgerEntry.objects.filter(shadow_submission_id__in=ids).update(shadow_submission_id=None)  # set aside
    # After the commit, because contents without a row do no harm, and a row without its contents would.
    file_storage.discard(left)
    return len(ids)
