"""Writing one submission to edx-submissions: file contents first, then all rows in one transaction."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.files.base import File
from django.db import DatabaseError, IntegrityError, OperationalError
from submissions.api import create_external_grader_detail
from submissions.errors import SubmissionError
from submissions.models import ExternalGraderDetail, Submission, SubmissionFile, get_storage

from ..core.identity import Placement
from ..core.mapping import answer_size
from ..core.wire import NAME_LIMIT, Body, grader_name
from ..errors import TargetWriteFailed, Unfit

#: edx-submissions' own limit: characters of ASCII-escaped JSON.
ANSWER_LIMIT = Submission.MAXSIZE
FILE_NAME_LIMIT = SubmissionFile._meta.get_field("original_filename").max_length


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """A file whose contents are in edx-submissions' storage, and whose row is not written yet."""

    uuid: uuid.UUID
    stored_name: str
    original_name: str


def check_fits(body: Body, file_names: Any = ()) -> None:
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
    if any(len(name) > FILE_NAME_LIMIT for name in file_names):
        raise Unfit("file_name_too_long", f"A file's name is longer than {FILE_NAME_LIMIT} characters.")


@contextmanager
def stored_files(queue_name: str, contents: Mapping[str, Any]) -> Iterator[list[StoredFile]]:
    """
    File contents in edx-submissions' storage, under their final names, for the length of a transaction.

    The block writes the rows. If it raises, the contents are removed again; a process that dies in it leaves contents
    without rows, which harm nobody. Contents are Django files or plain file objects, by original name.

    Raises:
        TargetWriteFailed: the storage did not take them.
    """
    storage, stored = get_storage(), []
    try:
        for name, content in contents.items():
            key = uuid.uuid4()
            # The name that SubmissionFile's own upload_to would give.
            saved = storage.save(f"{queue_name}/{key}", content if isinstance(content, File) else File(content))
            stored.append(StoredFile(uuid=key, stored_name=saved, original_name=name))
        yield stored
    except OSError as error:
        _discard(stored)
        raise TargetWriteFailed(type(error).__name__) from error
    except BaseException:
        _discard(stored)
        raise


def _discard(stored: list[StoredFile]) -> None:
    for file in stored:
        get_storage().delete(file.stored_name)


def insert(
    placement: Placement,
    body: Body,
    files: list[StoredFile],
    *,
    points_possible: int,
    arrived_at: datetime | None = None,
) -> int:
    """
    Write StudentItem, Submission, ExternalGraderDetail and file rows, and return the Submission's id.

    To be called inside a transaction: edx-submissions opens none around the three, and no grader may see one without
    the others.

    Args:
        placement: where it goes; fenced for a shadow.
        body: the body, which ``check_fits`` has passed.
        files: from ``stored_files``.
        points_possible: the problem's maximum.
        arrived_at: the arrival at legacy of an imported row; graders get rows in this order.

    Raises:
        TargetWriteFailed: the transaction must be rolled back; ``passing`` says that another try may succeed.
    """
    item = {
        "student_id": placement.student_id,
        "course_id": placement.course_id,
        "item_id": placement.item_id,
        "item_type": placement.item_type,
    }
    try:
        detail = create_external_grader_detail(
            item,
            body.student_response,
            queue_name=placement.queue_name,
            queue_key=placement.queue_key,
            grader_file_name=grader_name(body.grader_payload),
            points_possible=points_possible,
        )
        SubmissionFile.objects.bulk_create(
            SubmissionFile(
                uuid=file.uuid, external_grader=detail, file=file.stored_name, original_filename=file.original_name
            )
            for file in files
        )
        if arrived_at is not None:
            times = {"created_at": arrived_at, "status_time": arrived_at}
            ExternalGraderDetail.objects.filter(pk=detail.pk).update(**times)
    except (SubmissionError, DatabaseError, RecursionError) as error:
        cause = error.__cause__ or error
        passing = isinstance(cause, OperationalError | IntegrityError)
        raise TargetWriteFailed(type(cause).__name__, passing=passing) from error
    return detail.submission_id
