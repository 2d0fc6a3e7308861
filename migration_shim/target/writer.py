"""Write one submission to edx-submissions: file contents first, then all rows in one transaction."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from django.db import DatabaseError, IntegrityError, OperationalError, connection
from django.views.decorators.debug import sensitive_variables
from submissions.api import create_external_grader_detail
from submissions.errors import SubmissionError
from submissions.models import ExternalGraderDetail, StudentItem, Submission, SubmissionFile

from ..conf import usable
from ..core.classification import answer_over
from ..core.errors import TargetWriteFailed, Unfit
from ..core.identity import Placement, has_suffix
from ..core.wire import NAME_LIMIT, Body, grader_name, is_folder
from ..db import bulk_insert
from ..models import LedgerEntry
from .file_storage import StoredFile, clear_intents, stored_files

__all__ = ["ANSWER_LIMIT", "StoredFile", "check_fits", "insert", "insert_with_entry", "stored_files"]

#: edx-submissions' own limit: characters of ASCII-escaped JSON.
ANSWER_LIMIT = Submission.MAXSIZE
FILE_NAME_LIMIT = SubmissionFile._meta.get_field("original_filename").max_length
#: What tells one StudentItem from another.
_ITEM = ("student_id", "course_id", "item_id", "item_type")


def check_fits(
    body: Body,
    file_names: Any = (),
    queue_name: str = "",
    *,
    folder: str | None = None,
    suffixes: Iterable[str] | None = None,
) -> None:
    """
    Refuse what the target cannot hold, before anything is written. A plan calls this too.

    Args:
        body: the body.
        file_names: the names of its files.
        queue_name: the queue that the author has named. If it ends as the queues of copies and of held rows do,
            learners' own rows would be mixed with those, or reach no grader.
        folder: the folder that files of another system would be copied to, if any; a learner's own upload is stored or
            fails.
        suffixes: the endings of those queues' names; by default they are read from the settings.

    Raises:
        Unfit: edx-submissions itself would leave an orphan behind, or lose the submission without a word.
    """
    if body.student_response is None:
        raise Unfit("answer_null", "The submission has no answer.")
    if answer_over(body.student_response, ANSWER_LIMIT):
        raise Unfit("answer_over_limit", f"The answer is larger than {ANSWER_LIMIT} characters.")
    if len(grader_name(body.grader_payload)) > NAME_LIMIT:
        raise Unfit("grader_name_too_long", f"The grader's name is longer than {NAME_LIMIT} characters.")
    if any(len(name) > FILE_NAME_LIMIT for name in file_names):
        raise Unfit("file_name_too_long", f"A file's name is longer than {FILE_NAME_LIMIT} characters.")
    if has_suffix(queue_name, usable()[0].suffixes if suffixes is None else suffixes):
        raise Unfit("queue_name_reserved", "The queue's name ends like those of copies.")
    if file_names and folder is not None and not is_folder(folder):
        raise Unfit("queue_name_not_a_folder", "The submission has files, and its queue's name can be no folder's.")


@sensitive_variables()
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
        placement: where the submission goes; fenced for a shadow.
        body: the body, which ``check_fits`` has passed.
        files: from ``stored_files``.
        points_possible: the problem's maximum.
        arrived_at: when an imported row arrived at legacy; graders get rows in this order.

    Raises:
        Unfit: the database takes its StudentItem for another one; the transaction must be rolled back.
        TargetWriteFailed: the transaction must be rolled back; ``passing`` says that another try may succeed.
    """
    with _said_as_failure():
        submission = _create(placement, body, files, points_possible)
        _refuse_another_item(submission.student_item_id, placement)
        if arrived_at is not None:
            times = {"created_at": arrived_at, "status_time": arrived_at}
            ExternalGraderDetail.objects.filter(submission=submission).update(**times)
    return submission.pk


@sensitive_variables()
def insert_with_entry(placement: Placement, body: Body, files: list[StoredFile], entry: LedgerEntry) -> None:
    """
    Write a learner's own submission and, in as few statements as there can be, its ledger entry, which is a new one.

    The entry comes last: it has the Submission's id then, and its INSERT says whether the StudentItem is the very one.
    Of a submission that has an entry already everything is written for nothing; that is rare.

    To be called inside a transaction, which must be rolled back whatever is raised.

    Args:
        placement: where the submission goes.
        body: the body, which ``check_fits`` has passed.
        files: from ``stored_files``.
        entry: the entry, not saved.

    Raises:
        IntegrityError: the submission has an entry already.
        Unfit, TargetWriteFailed: as ``insert`` does.
        DatabaseError: the entry could not be written.
    """
    with _said_as_failure():
        submission = _create(placement, body, files, entry.points_possible)
    entry.target_submission_id = submission.pk
    item = [getattr(placement, name) for name in _ITEM]
    if not bulk_insert.insert_one(entry, (_same_item(connection.vendor), [submission.student_item_id, *item])):
        _refuse_another_item(submission.student_item_id, placement)  # the bytes differ; the texts may still be equal


@functools.cache
def _same_item(vendor: str) -> str:
    """
    Return the condition that a StudentItem is the very one, by its bytes, whatever its columns' collations are.

    ``vendor`` is the database's.
    """
    quote, exactly = connection.ops.quote_name, "CAST({} AS BINARY)" if vendor == "mysql" else "{}"
    same = [f"{exactly.format('i.' + quote(name))} = {exactly.format('%s')}" for name in _ITEM]
    items = quote(StudentItem._meta.db_table)
    return f"EXISTS(SELECT 1 FROM {items} i WHERE i.{quote('id')} = %s AND {' AND '.join(same)})"


def _create(placement: Placement, body: Body, files: list[StoredFile], points_possible: int) -> Submission:
    detail = create_external_grader_detail(
        {name: getattr(placement, name) for name in _ITEM},
        body.student_response,
        queue_name=placement.queue_name,
        queue_key=placement.queue_key,
        grader_file_name=grader_name(body.grader_payload),
        points_possible=points_possible,
    )
    if files:
        SubmissionFile.objects.bulk_create(
            [
                SubmissionFile(
                    uuid=file.uuid, external_grader=detail, file=file.stored_name, original_filename=file.original_name
                )
                for file in files
            ]
        )
        clear_intents(files)
    return detail.submission


@contextlib.contextmanager
def _said_as_failure() -> Iterator[None]:
    """Turn what edx-submissions and the database raise into ``TargetWriteFailed``."""
    try:
        yield
    except (SubmissionError, DatabaseError, RecursionError) as error:
        cause = error.__cause__ or error
        taken = isinstance(cause, IntegrityError) or _is_taken(error)
        passing = taken or isinstance(cause, OperationalError)
        raise TargetWriteFailed(type(cause).__name__, passing=passing, taken=taken) from error


def _refuse_another_item(item_id: int, placement: Placement) -> None:
    """
    Compare the StudentItem with the placement letter by letter, since the database decided which one it is.

    MySQL's and MariaDB's usual collations ignore case and trailing blanks. For a usage key that differs from another
    one only in case, edx-submissions gets the other problem's StudentItem, and the grade would go there.
    """
    found = StudentItem.objects.values_list(*_ITEM).get(pk=item_id)
    if found != tuple(getattr(placement, name) for name in _ITEM):
        raise Unfit(
            "student_item_differs",
            "The grading service takes this problem for another one; please tell the course staff.",
        )


def _is_taken(error: Exception) -> bool:
    """
    Tell whether another session created the same StudentItem between edx-submissions' look and its check.

    Its serializer then says that the fields "must make a unique set", and the next try finds the item.
    """
    errors = getattr(error, "field_errors", None)
    details = errors.get("non_field_errors", ()) if isinstance(errors, dict) else ()
    return any(getattr(detail, "code", "") == "unique" for detail in details)
