"""Many legacy rows at once, and what a backfill has made of them, read by SQL of its own."""

import hashlib
import json
from datetime import timedelta

from django.db import connections
from django.utils.timezone import now
from submissions.models import ExternalGraderDetail, StudentItem, Submission, SubmissionFile

from migration_shim.models import Checkpoint, LedgerEntry, LegacySubmission, Run
from sandbox.lms import capa
from tests.builders import rows

CHUNK = 2_000


def make(number: int, *, inputs: int = 3, problems: int = 40, age: timedelta = timedelta(days=2)) -> None:
    """
    So many queued rows, a second apart. Each learner works at one problem, at so many inputs of it: these share the
    student item, and the callback that XQueue compares.
    """
    start, learners = now() - age, -(-number // inputs)
    made = []
    for index in range(number):
        user = index % learners + 1
        problem = hashlib.md5(str(user % problems).encode()).hexdigest()
        arrived = start + timedelta(seconds=index)
        time = arrived.strftime("%Y%m%d%H%M%S")
        answer_id = f"{capa.html_id(rows.usage_key(problem))}_{index // learners + 2}_1"
        key = capa.make_key(user, time, rows.anonymous_id(user), answer_id)
        text = rows.header(user, problem, key)
        row = LegacySubmission(
            requester_id="10.20.0.11",
            lms_callback_url=json.loads(text)["lms_callback_url"][:128],
            queue_name=rows.QUEUE,
            xqueue_header=text,
            xqueue_body=rows.body(user, f"x = {index}\n" * (index % 40 + 5), time),
            s3_keys="{}",
            s3_urls="{}",
            arrival_time=arrived,
        )
        made.append(row)
    LegacySubmission.objects.bulk_create(made, batch_size=CHUNK)


def forget() -> None:
    """Take away all that backfills have written."""
    for model in (SubmissionFile, ExternalGraderDetail, Submission, StudentItem, LedgerEntry, Checkpoint, Run):
        model._base_manager.all().delete()


def fingerprint(*, attempts: bool = True) -> tuple[int, str]:
    """
    (ledger entries, digest of all that is written, in an order of its own, without numbers and times of the run).

    Args:
        attempts: whether the attempt numbers belong to it.
    """
    number = "s.attempt_number" if attempts else "0"
    text = hashlib.sha256()
    entries = 0
    with connections["default"].cursor() as cursor:
        cursor.execute(
            "SELECT l.identity, l.legacy_id, l.legacy_leg, l.target_leg, l.target_reason, l.origin, l.arrived_at,"
            " d.queue_name, d.queue_key, d.grader_file_name, d.points_possible, d.status, d.created_at, d.status_time,"
            f" i.student_id, i.item_id, i.course_id, s.raw_answer, {number}"
            " FROM migration_shim_ledgerentry l"
            " JOIN submissions_submission s ON s.id = l.target_submission_id"
            " JOIN submissions_externalgraderdetail d ON d.submission_id = s.id"
            " JOIN submissions_studentitem i ON i.id = s.student_item_id ORDER BY l.identity"
        )
        for row in cursor:
            entries += 1
            text.update(repr(tuple(map(str, row))).encode())
    return entries, text.hexdigest()


ORPHANS = {
    "items": "submissions_studentitem i WHERE NOT EXISTS"
    " (SELECT 1 FROM submissions_submission s WHERE s.student_item_id = i.id)",
    "submissions": "submissions_submission s WHERE NOT EXISTS"
    " (SELECT 1 FROM submissions_externalgraderdetail d WHERE d.submission_id = s.id)",
    "details": "submissions_externalgraderdetail d WHERE NOT EXISTS"
    " (SELECT 1 FROM migration_shim_ledgerentry l WHERE l.target_submission_id = d.submission_id)",
    "entries": "migration_shim_ledgerentry l WHERE NOT EXISTS"
    " (SELECT 1 FROM submissions_externalgraderdetail d WHERE d.submission_id = l.target_submission_id)",
}


def orphans() -> dict[str, int]:
    """Rows that lack what belongs to them."""
    found = {}
    with connections["default"].cursor() as cursor:
        for name, condition in ORPHANS.items():
            cursor.execute(f"SELECT COUNT(*) FROM {condition}")
            found[name] = cursor.fetchone()[0]
    return {name: number for name, number in found.items() if number}
