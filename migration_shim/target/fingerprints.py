"""Everything about a stored target row that can change, as a digest that the database computes beside the ledger."""

from __future__ import annotations

from datetime import datetime

from django.db import connection
from submissions.models import ExternalGraderDetail, Score, StudentItem, Submission, SubmissionFile

from ..db import bulk, fingerprint
from .exact_match import of_course_sql

#: The columns of the ledger entry itself that a result depends on.
_OF_ENTRY = ("authority", "move", "legacy_leg", "target_leg", "double_authority", "leases", "echo")
_NULLABLE = (
    *("l.legacy_id", "l.target_submission_id", "l.superseded_at"),
    *("d.status", "d.status_time", "d.created_at", "d.num_failures", "d.points_possible", "p.points_earned"),
)
_TEXTS = (
    *("l.lease_key", "d.pullkey", "d.queue_name", "d.queue_key", "d.grader_reply"),
    *("i.student_id", "i.course_id", "i.item_id"),
)
_DETAIL, _SUBMISSION, _STUDENT_ITEM, _SCORE, _FILE = (
    model._meta.db_table for model in (ExternalGraderDetail, Submission, StudentItem, Score, SubmissionFile)
)
#: The columns of a row and of its place, and where they are.
_PLACE = (
    f"d.submission_id, s.student_item_id, d.queue_key FROM {_DETAIL} d JOIN {_SUBMISSION} s ON s.id = d.submission_id"
)
#: Up to this many other rows are compared with a row: all with all would take quadratic time in a learner's attempts.
CROWD = 100
#: An attempt with a number up to this is compared with however many, without counting: a StudentItem has few of these.
#: It is the edx-submissions API that numbers the attempts.
EARLY = 10
#: How many other living rows have the StudentItem and the key of ``d``; a shadow's key is its submission's own. NULL
#: above ``CROWD``: then no digest is made, and the rules compare, which read a StudentItem once.
DUPLICATES = (
    f"(CASE WHEN s.attempt_number <= {EARLY} OR (SELECT s3.id FROM {_SUBMISSION} s3"
    f" WHERE s3.student_item_id = s.student_item_id LIMIT 1 OFFSET {CROWD}) IS NULL THEN"
    f" (SELECT COUNT(*) FROM {_SUBMISSION} s2 JOIN {_DETAIL} d2 ON d2.submission_id = s2.id"
    " WHERE s2.student_item_id = s.student_item_id AND s2.id <> s.id AND d2.queue_key = d.queue_key"
    " AND NOT (d2.status = 'retired' AND d2.grader_reply IS NULL)) END)"
)
#: Whether ``d`` has files.
HAS_FILES = f"EXISTS (SELECT 1 FROM {_FILE} f WHERE f.external_grader_id = d.id)"


def joins(only: str = "") -> str:
    """
    Return the SQL that joins the target's rows to the ledger entries ``l``, as d, s, i and p; NULL where there are
    none.

    An entry with several Scores comes several times. Whoever reads this counts it as changed, so that the rules see it.

    Args:
        only: a condition on ``l`` for the entries whose rows are wanted. Rows of the others are not looked up.
    """
    of_entry = f"= l.target_submission_id{only and f' AND {only}'}"
    return (
        f"LEFT JOIN {_DETAIL} d ON d.submission_id {of_entry} "
        f"LEFT JOIN {_SUBMISSION} s ON s.id {of_entry} "
        f"LEFT JOIN {_STUDENT_ITEM} i ON i.id = s.student_item_id "
        f"LEFT JOIN {_SCORE} p ON p.submission_id {of_entry}"
    )


def digest(duplicates: str = DUPLICATES) -> str:
    """
    Return the SQL for the digest of all that is compared of an entry ``l`` and its target row, over ``joins``.

    Args:
        duplicates: SQL for the number of duplicates, where the statement's conditions leave one number only.
    """
    parts = [f"l.{name}" for name in _OF_ENTRY]
    parts += [*map(fingerprint.nullable, _NULLABLE), duplicates]
    return fingerprint.sql(connection, [*parts, *fingerprint.texts(connection, _TEXTS, long="s.raw_answer")])


def touched_since(course_id: str, moment: datetime) -> list[int]:
    """
    Return the Submission ids of a course's rows whose status changed since ``moment``, and of rows that share their
    key.

    The latter have the same StudentItem and queue key, and may have got a duplicate. The index on status_time serves
    it.
    """
    of_course, parameters = of_course_sql(course_id, "i.course_id")
    touched = bulk.ask(
        f"SELECT {_PLACE} JOIN {_STUDENT_ITEM} i ON i.id = s.student_item_id WHERE d.status_time >= %s AND {of_course}",
        [moment, *parameters],
    )
    items = sorted({item for _, item, _ in touched})
    keys = {(item, key) for _, item, key in touched}
    ids = {submission_id for submission_id, *_ in touched}
    for start in range(0, len(items), 1000):
        some = bulk.numbers(items[start : start + 1000])
        beside = bulk.ask(f"SELECT {_PLACE} WHERE s.student_item_id IN ({some})")
        ids.update(submission_id for submission_id, *place in beside if tuple(place) in keys)
    return sorted(ids)
