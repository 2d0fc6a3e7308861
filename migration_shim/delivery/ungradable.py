"""
Submissions of the target that are handed out again and again without a result: they are found, and failed by hand.

A grader that dies cannot be told from an answer that was lost on its way. So only an operator fails such a row. Until
then it is offered again and again, after all fresh ones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

from django.utils.timezone import now

from ..conf import ShimSettings, load
from ..core.data import Document, ExitCode
from ..core.documents.fail import FailDocument, FailedRow
from ..models import LedgerEntry
from ..runs import records as run_records
from ..target import open_rows, results

SCHEMA = "migration_shim.xqueue_fail/1"
#: Submissions whose state is asked in one statement.
_AT_ONCE = 1000
_COLUMNS = ("target_submission_id", "course_id")


def rows(courses: Collection[str], settings: ShimSettings) -> dict[str, list[int]]:
    """Return by course the Submission ids that were handed out too often; a course without any is left out."""
    # From the target's side: there are fewer rows that graders have had than entries that are not settled.
    often = LedgerEntry.objects.filter(leases__gte=settings.hand_out_limit, settled_at=None)
    often = often.filter(course_id__in=list(courses))
    handed_out, found = sorted(open_rows.ids_handed_out()), defaultdict(list)
    for start in range(0, len(handed_out), _AT_ONCE):
        entries = often.filter(target_submission_id__in=handed_out[start : start + _AT_ONCE])
        for submission_id, course_id in entries.order_by("target_submission_id").values_list(*_COLUMNS):
            found[course_id].append(submission_id)
    return dict(found)


def command(course_id: str) -> str:
    """Return the command that fails them, to be run after a look at the graders."""
    return f"xqueue_fail --course {course_id} --reason TEXT"


def fail(
    course_id: str, submissions: Collection[int], *, reason: str, user: str, execute: bool
) -> Document[FailDocument]:
    """
    Fail submissions of a course on the target, and tell their learners that they could not be graded.

    Args:
        course_id: the course.
        submissions: their ids on the target; none for all that were handed out in vain.
        reason: why, for the record of the run.
        user: who does it, for the same.
        execute: do it; without it the document says what would be done.

    Raises:
        RunLocked: another process is failing submissions of the course.
        ConfigurationError: the settings are not usable.
    """
    settings = load()
    found = _found(course_id, submissions, settings)
    content: FailDocument = {
        "schema": SCHEMA,
        "at": now().isoformat(),
        "course": course_id,
        "reason": reason,
        "by": user,
        "rows": found,
        "not_found": sorted(set(submissions) - {row["submission"] for row in found}),
        "executed": execute,
        "failed": 0,
    }
    if execute:
        with run_records.running("fail", course_id) as record:
            content["failed"] = sum(results.fail_row(row["submission"], settings) for row in found)
            record.document, record.complete = content, True
    return Document(content=content, exit_code=ExitCode.LEFT_BEHIND if content["not_found"] else ExitCode.OK)


def _found(course_id: str, submissions: Collection[int], settings: ShimSettings) -> list[FailedRow]:
    wanted = list(submissions) or rows([course_id], settings).get(course_id, [])
    queues = _unanswered(wanted)
    entries = LedgerEntry.objects.filter(course_id=course_id, target_submission_id__in=list(queues))
    columns = ("target_submission_id", "leases", "arrived_at")
    return [
        {"submission": number, "queue": queues[number], "leases": leases, "arrived_at": arrived.isoformat()}
        for number, leases, arrived in entries.order_by("target_submission_id").values_list(*columns)
    ]


def _unanswered(submissions: list[int]) -> dict[int, str]:
    found: dict[int, str] = {}
    for start in range(0, len(submissions), _AT_ONCE):
        found |= open_rows.queues_of_in_flight(submissions[start : start + _AT_ONCE])
    return found
