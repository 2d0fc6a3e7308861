"""Writing one submission to edx-submissions, through its public API, in one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.files.base import File
from django.db import DatabaseError, transaction
from submissions.api import create_external_grader_detail
from submissions.errors import SubmissionError
from submissions.models import ExternalGraderDetail, Submission

from ..core.identity import Placement
from ..core.mapping import answer_size
from ..core.wire import NAME_LIMIT, Body, grader_name
from ..errors import TargetWriteFailed, Unfit

#: edx-submissions' own limit: characters of ASCII-escaped JSON.
ANSWER_LIMIT = Submission.MAXSIZE


@dataclass(frozen=True, slots=True)
class _StoredFile:
    """What ``create_external_grader_detail`` expects of a file: an object with ``.file``."""

    file: File


def check_fits(body: Body) -> None:
    """
    Refuse what the target cannot hold, before anything is written.

    Raises:
        Unfit: edx-submissions itself would leave an orphan behind, or lose the submission without a word.
    """
    if body.student_response is None:
        raise Unfit("answer_null", "The submission has no answer.")
    if answer_size(body.student_response) > ANSWER_LIMIT:
        raise Unfit("answer_over_limit", f"The answer is larger than {ANSWER_LIMIT} characters.")
    if len(grader_name(body.grader_payload)) > NAME_LIMIT:
        raise Unfit("grader_name_too_long", f"The grader's name is longer than {NAME_LIMIT} characters.")


def write(
    placement: Placement,
    body: Body,
    files: Mapping[str, Any],
    *,
    points_possible: int,
    arrived_at: datetime | None = None,
) -> int:
    """
    Write StudentItem, Submission, ExternalGraderDetail and files, and return the Submission's id.

    Args:
        placement: where it goes; fenced for a shadow.
        body: the body, which ``check_fits`` has passed.
        files: contents by original name: Django files, or file objects.
        points_possible: the problem's maximum.
        arrived_at: the arrival at legacy of an imported row; graders get rows in this order.

    Raises:
        TargetWriteFailed: nothing was written.
    """
    item = {
        "student_id": placement.student_id,
        "course_id": placement.course_id,
        "item_id": placement.item_id,
        "item_type": placement.item_type,
    }
    stored = {
        name: _StoredFile(content if isinstance(content, File) else File(content)) for name, content in files.items()
    }
    try:
        with transaction.atomic():
            detail = create_external_grader_detail(
                item,
                body.student_response,
                queue_name=placement.queue_name,
                queue_key=placement.queue_key,
                grader_file_name=grader_name(body.grader_payload),
                points_possible=points_possible,
                files=stored,
            )
            if arrived_at is not None:
                times = {"created_at": arrived_at, "status_time": arrived_at}
                ExternalGraderDetail.objects.filter(pk=detail.pk).update(**times)
    except (SubmissionError, DatabaseError, OSError) as error:
        raise TargetWriteFailed(type(error).__name__) from error
    return detail.submission_id
