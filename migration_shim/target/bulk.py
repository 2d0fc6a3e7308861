"""
Write many submissions at once, in five statements, as ``create_external_grader_detail`` would write each.

The rows equal, column by column, what the installed edx-submissions makes of them (tests/backfill/test_bulk.py). What
is skipped, and why that does no harm (edx-submissions 4.0):

- Signals. edx-submissions' own receivers listen to Score (``ScoreSummary``) and TeamSubmission, and neither is written
  here. ``post_save`` of the three models that are written is not sent; nothing in edx-submissions listens to it.
- Caches. ``create_submission`` fills none; ``submissions.submission.<uuid>`` and ``submissions.student_item.<id>`` are
  filled by readers, under ids that are new here. The cached top submissions are those with a Score.
- The serializers' checks: the size and shape of the answer (``writer.check_fits``) and of the names (``Placement``).
- A log line per submission, which names the learner.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from json.encoder import encode_basestring_ascii
from typing import Any

from django.db import connection
from django.db.models import Count, ExpressionWrapper, F, Max, Q, TextField
from submissions.models import ExternalGraderDetail, StudentItem, Submission

from ..core.identity import Placement
from ..db import bulk
from ..db.bulk_insert import insert as insert_rows

_Key = tuple[str, str, str]
_ANSWER = Submission._meta.get_field("answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRow:
    """One submission that is to be written, without files."""

    placement: Placement
    #: As the database has it: see ``as_stored``.
    answer: str
    grader_name: str
    points_possible: int
    arrived_at: datetime


def insert(rows: Sequence[NewRow]) -> list[int | None]:
    """
    Write the rows, attempts of one learner in their order, and return the Submission id of each.

    The id is None for a row that was not written: only the database takes its StudentItem for an existing one (another
    case, a trailing blank), or that one is of another type. ``writer.insert`` has the words for it.

    To be called inside a transaction. The StudentItems are locked, so that two workers do not give one attempt number
    twice. No id is taken from the order of an INSERT or of ``RETURNING``: each is found again by a key.

    Raises:
        DatabaseError: the transaction must be rolled back.
    """
    items = _student_items({key_of(row.placement): row.placement.item_type for row in rows})
    attempts = _highest_attempts(items.values())
    written: dict[str, NewRow] = {}
    keys: list[str | None] = []
    submissions = []
    for row in rows:
        item = items.get(key_of(row.placement))
        if item is None:
            keys.append(None)
            continue
        key = uuid.uuid4().hex
        attempts[item] = attempts.get(item, 0) + 1
        submissions.append((key, item, attempts[item], row.answer))
        written[key] = row
        keys.append(key)
    columns = ("uuid", "student_item_id", "attempt_number", "answer")
    made = insert_rows(Submission, columns, submissions, returning=("uuid", "id"))
    ids = _ids(written, made)
    insert_rows(ExternalGraderDetail, _DETAIL, (_detail(ids[key], row) for key, row in written.items()))
    return [None if key is None else ids[key] for key in keys]


#: The columns that a row is read back by: the names of ``columns_of``, in its order.
COLUMNS = (
    "student_id",
    "course_id",
    "item_id",
    "item_type",
    "queue_name",
    "queue_key",
    "answer",
    "grader_name",
    "points_possible",
    "arrived_at",
)


def columns_of(row: NewRow) -> tuple[Any, ...]:
    """Return the values by which a row is checked to be stored as it was meant, in the order of ``COLUMNS``."""
    to = row.placement
    placement = to.student_id, to.course_id, to.item_id, to.item_type, to.queue_name, to.queue_key
    return *placement, row.answer, row.grader_name, row.points_possible, row.arrived_at


def read_back(submission_ids: Sequence[int]) -> dict[int, tuple[int, tuple[Any, ...]]]:
    """
    Return, by Submission id, how many submissions of its StudentItem have its attempt number, and its ``COLUMNS``.

    A submission without an ExternalGraderDetail, or whose detail is no longer as new, is left out.
    """
    item = "submission__student_item"
    details = ExternalGraderDetail.objects.filter(submission_id__in=submission_ids, status="pending", pullkey=None)
    # All times are the arrival. A row in which they differ is no longer as it was written.
    details = details.filter(status_time=F("created_at")).order_by()
    placement = (f"{item}__student_id", f"{item}__course_id", f"{item}__item_id", f"{item}__item_type")
    answer = ExpressionWrapper(F("submission__answer"), TextField())  # the text itself, and not what it stands for
    columns = ("queue_name", "queue_key", answer, "grader_file_name", "points_possible", "created_at")
    mine = F("submission__attempt_number")
    same = Count(f"{item}__submission", filter=Q(**{f"{item}__submission__attempt_number": mine}))
    rows = details.annotate(same=same).values_list("submission_id", "same", *placement, *columns)
    return {pk: (attempts, tuple(values)) for pk, attempts, *values in rows}


_DETAIL = (
    "submission_id",
    "queue_name",
    "queue_key",
    "grader_file_name",
    "points_possible",
    "status_time",
    "created_at",
)


def _detail(submission_id: int, row: NewRow) -> tuple[Any, ...]:
    to, arrived = row.placement, row.arrived_at
    return submission_id, to.queue_name, to.queue_key, row.grader_name, row.points_possible, arrived, arrived


def key_of(placement: Placement) -> _Key:
    """Return what edx-submissions tells StudentItems apart by. They are inserted in this order."""
    return placement.course_id, placement.student_id, placement.item_id


def _student_items(wanted: dict[_Key, str]) -> dict[_Key, int]:
    """
    Return the ids of the StudentItems, and create those that do not exist.

    The database decides (by its collation) whether two texts are the same. So it is asked to insert all of them and to
    keep what it has. What is then not found again, letter by letter, is left out.
    """
    columns = ("course_id", "student_id", "item_id", "item_type")
    # In one order for all workers: those that insert the same items wait for each other instead of deadlocking.
    rows = ((*key, item_type) for key, item_type in sorted(wanted.items()))
    found = insert_rows(StudentItem, columns, rows, keep_existing=True, returning=("id", *columns))
    if found is None:
        # By two of the three columns, because with the third the server tries every combination (1 s instead of 6 ms).
        students, courses = {key[1] for key in wanted}, {key[0] for key in wanted}
        found = bulk.select(StudentItem, ("id", *columns), lock=True, student_id=students, course_id=courses)
    return {
        (course, student, item): pk
        for pk, course, student, item, item_type in found
        if wanted.get((course, student, item)) == item_type
    }


def _highest_attempts(items: Collection[int]) -> dict[int, int]:
    there = bulk.select(Submission, ("student_item_id",), student_item_id=items)
    found = Submission.objects.filter(student_item_id__in={item for (item,) in there}).order_by()
    return dict(found.values_list("student_item_id").annotate(Max("attempt_number")))


def as_stored(answer: Any) -> str:
    """
    Return what the field stores for an answer.

    The field makes a JSON encoder for each answer; a plain text has only one encoding, and is encoded directly.
    """
    return encode_basestring_ascii(answer) if type(answer) is str else _ANSWER.get_prep_value(answer)


def _ids(keys: Collection[str], made: list[tuple[Any, ...]] | None) -> dict[str, int]:
    """
    Return the Submission ids by key, out of what the database returned from the INSERT, or else by asking for them.
    """
    if made is None:
        field = Submission._meta.get_field("uuid")
        values = [field.get_db_prep_value(key, connection) for key in keys]
        made = bulk.select(Submission, ("uuid", "id"), uuid=values)
    # Databases with a type for it give it back with dashes, as text or not.
    return {str(key).replace("-", ""): pk for key, pk in made}
