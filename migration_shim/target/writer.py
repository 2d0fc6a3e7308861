"""Write one submission to edx-submissions: file contents first, then all rows in one transaction."""

from __future__ import annotations

import functools
from collections.abc import Iterable
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
from ..models import LedgerEntry
from .file_storage import StoredFile, clear_intents, stored_files

__all__ = ["ANSWER_LIMIT", "StoredFile", "check_fits", "insert", "stored_files"]

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
    entry: LedgerEntry | None = None,
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
        entry: a ledger entry of the same transaction that is to get the id as its ``target_submission_id``.

    Raises:
        Unfit: the database takes its StudentItem for another one; the transaction must be rolled back.
        TargetWriteFailed: the transaction must be rolled back; ``passing`` says that another try may succeed.
    """
    item = {name: getattr(placement, name) for name in _ITEM}
    try:
        detail = create_external_grader_detail(
            item,
            body.student_response,
            queue_name=placement.queue_name,
            queue_key=placement.queue_key,
            grader_file_name=grader_name(body.grader_payload),
            points_possible=points_possible,
        )
        if entry is None:
            _refuse_another_item(detail.submission.student_item_id, placement)
        else:
            _link(entry, detail.submission, placement)
        SubmissionFile.objects.bulk_create(
            [
                SubmissionFile(
                    uuid=file.uuid, external_grader=detail, file=file.stored_name, original_filename=file.original_name
                )
                for file in files
            ]
        )
        clear_intents(files)
        if arrived_at is not None:
            times = {"created_at": arrived_at, "status_time": arrived_at}
            ExternalGraderDetail.objects.filter(pk=detail.pk).update(**times)
    except (SubmissionError, DatabaseError, RecursionError) as error:
        cause = error.__cause__ or error
        passing = isinstance(cause, OperationalError | IntegrityError) or _is_taken(error)
        raise TargetWriteFailed(type(cause).__name__, passing=passing) from error
    return detail.submission_id


def _link(entry: LedgerEntry, submission: Submission, placement: Placement) -> None:
    """Give an entry its Submission's id, if the StudentItem is the very one. One statement, because a learner waits."""
    item = [getattr(placement, name) for name in _ITEM]
    with connection.cursor() as cursor:
        cursor.execute(_linking(connection.vendor), [submission.pk, entry.pk, submission.student_item_id, *item])
        linked = cursor.rowcount
    if not linked:  # the bytes differ, but the texts may still be equal
        _refuse_another_item(submission.student_item_id, placement)
        LedgerEntry.objects.filter(pk=entry.pk).update(target_submission_id=submission.pk)
    entry.target_submission_id = submission.pk


@functools.cache
def _linking(vendor: str) -> str:
    """Return the UPDATE of ``_link``. ``vendor`` is the database's: bytes are compared, whatever its collations are."""
    quote, exactly = connection.ops.quote_name, "CAST({} AS BINARY)" if vendor == "mysql" else "{}"
    same = [f"{exactly.format('i.' + quote(name))} = {exactly.format('%s')}" for name in _ITEM]
    return (
        f"UPDATE {quote(LedgerEntry._meta.db_table)} SET {quote('target_submission_id')} = %s WHERE {quote('id')} = %s"
        f" AND EXISTS(SELECT 1 FROM {quote(StudentItem._meta.db_table)} i"
        f" WHERE i.{quote('id')} = %s AND {' AND '.join(same)})"
    )


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
