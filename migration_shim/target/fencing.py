"""Fencing a real row of the target before it goes back to legacy: no grader gets it any more, no late reply counts."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from django.db import connection
from submissions.models import ExternalGraderDetail, SubmissionFile

from ..errors import FileUnavailable
from ..storage_errors import storage_errors
from .open_rows import IN_FLIGHT, is_leased
from .supersession import supersede


class Fenced(enum.StrEnum):
    """What became of the wish to fence a row."""

    FENCED = "fenced"
    LEASED = "under_live_lease"
    BUSY = "result_being_stored"  # another session holds the row, or has finished it


def fence(submission_id: int, lease_seconds: int) -> Fenced:
    """
    Retire a row without an outcome, as supersession does, unless a grader is at work on it.

    To be called inside a transaction, in which the ledger takes note of it. Nobody waits for a lock here.
    """
    rows = ExternalGraderDetail.objects.select_for_update(
        skip_locked=connection.features.has_select_for_update_skip_locked
    )
    row = rows.filter(submission_id=submission_id, status__in=IN_FLIGHT).first()
    if row is None:
        return Fenced.BUSY
    if is_leased(row, lease_seconds):
        return Fenced.LEASED
    supersede([submission_id])
    return Fenced.FENCED


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a real row holds of its submission: the answer, and the names of its files in the order of upload."""

    answer: Any
    file_names: tuple[str, ...]


def held(submission_id: int) -> Held | None:
    """What a real row holds; None where it is gone."""
    row = ExternalGraderDetail.objects.filter(submission_id=submission_id).select_related("submission").first()
    if row is None:
        return None
    names = tuple(row.files.order_by("id").values_list("original_filename", flat=True))
    return Held(answer=row.submission.answer, file_names=names)


def file_contents(submission_id: int) -> dict[str, bytes]:
    """
    The contents of a row's files by original name, read whole (the LMS allows 4 MB a file, 20 files an input).

    Raises:
        FileUnavailable: one of them is not there.
    """
    contents = {}
    for file in SubmissionFile.objects.filter(external_grader__submission_id=submission_id).order_by("id"):
        try:
            with file.file.open() as opened:
                contents[file.original_filename] = opened.read()
        except storage_errors() as error:
            raise FileUnavailable("target_file_missing", file.file.name) from error
    return contents
