"""Courses to watch over: submissions of ``live`` with their reverse shadows, and what graders make of them."""

import json
from datetime import timedelta
from typing import Any
from unittest import mock

from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils.timezone import now
from submissions.models import ExternalGraderDetail

from migration_shim import api, toggles
from migration_shim.core.data import Document, Leg
from migration_shim.ledger.entries import legacy_body
from migration_shim.models import CoursePhase, LedgerEntry, LegacySubmission
from migration_shim.target import reader
from sandbox.lms.blocks import SubmittedFile
from tests.builders import rows
from tests.builders.rows import COURSE, QUEUE

REVERSE = f"{QUEUE}.reverse"
#: Longer than any bound of the settings below.
LONG = timedelta(hours=2)


def stand(phase: str, course: str = COURSE, since: timedelta = timedelta(days=1)) -> None:
    """Put a course into a phase with its flags, as of so long ago."""
    rows.enter(phase, course, now() - since)


def watch(*courses: str, **options: Any) -> dict[str, Any]:
    """One round; its document."""
    return round_of(*courses, **options).content


def round_of(*courses: str, **options: Any) -> Document:
    """One round."""
    return api.watch(list(courses) or None, **options)


def course_of(content: dict[str, Any], course: str = COURSE) -> dict[str, Any]:
    """What a document says of a course."""
    (found,) = (item for item in content["courses"] if item["course"] == course)
    return found


def bounds_of(content: dict[str, Any], course: str = COURSE) -> list[str]:
    """The bounds that a course is out of."""
    return [breach["bound"] for breach in course_of(content, course)["breaches"]]


def live(user: int = 7, *, age: timedelta = LONG, files: dict[str, bytes] | None = None, **options: Any) -> LedgerEntry:
    """A submission that the router gave to the target so long ago; the course is live. No reverse shadow yet."""
    row = rows.legacy_row(user, age=age, **options)
    LegacySubmission.objects.filter(pk=row.pk).delete()
    sent = [SubmittedFile(SimpleUploadedFile(name, content)) for name, content in (files or {}).items()]
    with mock.patch("migration_shim.dual_write.publish"):  # the task of its reverse shadow is lost
        assert api.queue_interface().send_to_queue(row.xqueue_header, row.xqueue_body, sent) == (0, "")
    entry = LedgerEntry.objects.get(raw_header=row.xqueue_header)
    moment = now() - age
    LedgerEntry.objects.filter(pk=entry.pk).update(
        arrived_at=moment, created_at=moment, legacy_leg=Leg.MISSING, legacy_reason=""
    )
    times = {"created_at": moment, "status_time": moment}
    ExternalGraderDetail.objects.filter(submission_id=entry.target_submission_id).update(**times)
    entry.refresh_from_db()
    return entry


def reverse(entry: LedgerEntry, **columns: Any) -> LegacySubmission:
    """The reverse shadow of an entry, as XQueue holds it."""
    url = f"https://courses.example.edu/migration_shim/sink/{entry.sink_token}/"
    header = {"lms_callback_url": url, "lms_key": f"shadow:{entry.identity}"[:71], "queue_name": REVERSE}
    values = {"xqueue_header": json.dumps(header), "lms_callback_url": url, "queue_name": REVERSE}
    row = rows.legacy_row(900 + entry.pk, age=now() - entry.arrived_at, **(values | columns))
    LegacySubmission.objects.filter(pk=row.pk).update(xqueue_body=_body(entry))
    LedgerEntry.objects.filter(pk=entry.pk).update(legacy_leg=Leg.STORED, legacy_id=row.pk, copy_due=None)
    return row


def _body(entry: LedgerEntry) -> str:
    return legacy_body(entry, reader.answer_and_files(entry.target_submission_id).answer)


def grade_target(entry: LedgerEntry, reply: str = rows.RIGHT, ago: timedelta = LONG) -> None:
    """The target's grader gives a result so long ago, through the watcher seam."""
    key = f"key-{entry.pk}"
    ExternalGraderDetail.objects.filter(submission_id=entry.target_submission_id).update(pullkey=key)
    LedgerEntry.objects.filter(pk=entry.pk).update(lease_key=key, leased_at=now() - ago, leases=1)
    rows.grade_target(reply, submission_id=entry.target_submission_id)
    ExternalGraderDetail.objects.filter(submission_id=entry.target_submission_id).update(status_time=now() - ago)


def pair(user: int, legacy: str = rows.RIGHT, target: str = rows.RIGHT, **options: Any) -> LedgerEntry:
    """A submission of ``live`` that both systems have graded."""
    entry = live(user, **options)
    reverse(entry, **rows.graded(legacy, ago=timedelta(minutes=30)))
    grade_target(entry, target, ago=timedelta(minutes=30))
    return entry


def phase_of(course: str = COURSE) -> str:
    """The phase in force."""
    toggles.new_work_cycle()
    return toggles.phase_of(course).phase.value


def recorded(course: str = COURSE) -> str:
    """The phase on record."""
    return CoursePhase.objects.get(course_id=course).phase
