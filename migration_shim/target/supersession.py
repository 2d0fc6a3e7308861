"""Superseding older attempts on the target: valid transitions under the row's lock, no Score, no reply accepted."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import connection, transaction
from django.db.models import Exists, OuterRef
from django.utils.timezone import now
from submissions.models import ExternalGraderDetail

_Status = ExternalGraderDetail.Status
_IN_FLIGHT = (_Status.PENDING, _Status.RETRY, _Status.PULLED)


def in_flight(submission_ids: Iterable[int]) -> set[int]:
    """Those of these submissions that are in flight. Waits for no lock."""
    rows = ExternalGraderDetail.objects.filter(submission_id__in=list(submission_ids), status__in=_IN_FLIGHT)
    return set(rows.values_list("submission_id", flat=True))


def is_in_flight(column: str) -> Exists:
    """A condition for another table's rows: the submission that ``column`` names is in flight."""
    return Exists(ExternalGraderDetail.objects.filter(submission_id=OuterRef(column), status__in=_IN_FLIGHT))


def supersede(submission_ids: Iterable[int]) -> list[int]:
    """
    Retire those of these submissions that are in flight, and return their ids.

    Pending and retry go through pulled, with a pullkey that is never handed out; the pullkey ends up empty, so that a
    grader's late put_result is refused (403). A row that another session holds is having its result stored this very
    moment and is left alone: nobody waits for a lock here.
    """
    superseded: list[int] = []
    ids = list(submission_ids)
    if not ids:
        return superseded
    with transaction.atomic():
        rows = ExternalGraderDetail.objects.filter(submission_id__in=ids, status__in=_IN_FLIGHT)
        for row in rows.select_for_update(skip_locked=connection.features.has_select_for_update_skip_locked):
            if row.status != _Status.PULLED:
                row.update_status(_Status.PULLED)
            row.update_status(_Status.RETIRED)
            row.pullkey = ""
            row.save(update_fields=["pullkey"])
            superseded.append(row.submission_id)
    return superseded


def revive(submission_id: int) -> bool:
    """Put a row that was superseded, and that nobody has answered, back into its queue; whether it was one."""
    rows = ExternalGraderDetail.objects.filter(
        submission_id=submission_id, status=_Status.RETIRED, pullkey="", grader_reply=None
    )
    return rows.update(status=_Status.PENDING, status_time=now()) > 0
