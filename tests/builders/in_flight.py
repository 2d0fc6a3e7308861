"""In-flight rows of the target: handed off from legacy, or sent to it by the router. And XQueue's own submit."""

from datetime import timedelta

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction
from django.utils.timezone import now
from submissions.api import create_external_grader_detail
from submissions.models import ExternalGraderDetail, SubmissionFile

from migration_shim import toggles
from migration_shim.api import queue_interface
from migration_shim.backfill.give_back import run as give_back
from migration_shim.backfill.request import Mode, Request
from migration_shim.copies import breaker
from migration_shim.core.data import Authority, Leg, Move, Origin, Phase
from migration_shim.core.wire import grader_name
from migration_shim.ledger.entries import new_entry
from migration_shim.legacy import files as legacy_files
from migration_shim.legacy import reading
from migration_shim.legacy import rows as legacy_rows
from migration_shim.models import LedgerEntry, LegacySubmission
from sandbox.lms.blocks import SubmittedFile
from tests.builders import rows
from tests.builders.rows import fresh  # noqa: F401

LEASE = timedelta(seconds=300)


@pytest.fixture(autouse=True)
def course(fresh, settings, tmp_path):  # noqa: F811
    """A course in legacy; XQueue's storage is empty, and its URLs are whole."""
    breaker.reset()
    rows.in_phase("legacy")
    use_storage(settings, tmp_path)


def use_storage(settings, folder, **options):
    """Let XQueue's uploads be in this folder."""
    storage = {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": str(folder), "base_url": "https://files.example.edu/xqueue/"} | options,
    }
    # A port where nothing listens: whether XQueue knows a queue cannot be told.
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"LEGACY_STORAGE": storage, "LEGACY_URL": "http://127.0.0.1:9"}


def give_back_all(**options):
    """Run a return through its entrance; everything is in its scope unless ``options`` say otherwise."""
    return give_back.run(Request(mode=Mode.RETURN, **({"execute": True} | options)), rows.ignore)


def counts(document):
    """Class and reason with number, without what is zero."""
    content = document.content
    assert sum(content["classes"].values()) == content["read"]
    found = {}
    for name, number in content["classes"].items():
        reasons = content["reasons"].get(name, {})
        found |= {f"{name} {reason}": part for reason, part in reasons.items()}
        if number != sum(reasons.values()):
            found[name] = number - sum(reasons.values())
    return found


def hand_off(row, *, shadow=None):
    """Bring a legacy row into the state that a finished handoff leaves, out of the ledger's documented fields."""
    parsed, keys = reading.read(legacy_rows.by_id([row.pk])[row.pk], legacy_files.legacy_storage(give_back.load()))
    envelope = parsed.envelope
    entry = new_entry(
        envelope,
        parsed.digests,
        phase=Phase.SHADOW,
        origin=Origin.HANDOFF,
        arrived_at=row.arrival_time,
        input_key=parsed.input_key,
    )
    item = {
        "student_id": envelope.body.anonymous_student_id,
        "course_id": envelope.callback.course_id,
        "item_id": envelope.callback.item_id,
        "item_type": envelope.callback.item_type,
    }
    with transaction.atomic():
        detail = create_external_grader_detail(
            item,
            envelope.body.student_response,
            queue_name=envelope.header.queue_name,
            queue_key=envelope.header.lms_key,
            grader_file_name=grader_name(envelope.body.grader_payload),
            points_possible=1,
        )
        SubmissionFile.objects.bulk_create(
            SubmissionFile(external_grader=detail, file=f"{row.queue_name}/{key}", original_filename=name)
            for name, key in keys.items()
        )
        arrived = {"created_at": row.arrival_time, "status_time": row.arrival_time}
        ExternalGraderDetail.objects.filter(pk=detail.pk).update(**arrived)
        entry.authority, entry.move, entry.moved_at = Authority.TARGET, Move.WATCHED, now()
        entry.legacy_leg = entry.target_leg = Leg.STORED
        entry.legacy_id, entry.target_submission_id = row.pk, detail.submission_id
        entry.real_submission_id, entry.shadow_submission_id = detail.submission_id, shadow
        entry.save()
    mark = f"migration_shim:{entry.pk}"
    LegacySubmission.objects.filter(pk=row.pk).update(retired=True, pullkey="", grader_id=mark)
    return entry


def send_live(header, body, uploads=None, course=rows.COURSE):
    """Send a submission through the router while the target is authoritative; its ledger entry."""
    rows.in_phase("complete", course)
    toggles.force_flags(course, False, True)
    sent = [SubmittedFile(SimpleUploadedFile(name, content)) for name, content in (uploads or {}).items()]
    assert queue_interface().send_to_queue(header, body, sent) == (0, "")
    rows.in_phase("legacy", course)
    toggles.force_flags(course, False, False)
    return LedgerEntry.objects.get(raw_header=header)


def live(user=7, *, uploads=None, **options):
    """A submission that only the target has ever had; made as ``rows.legacy_row`` makes a legacy row."""
    row = rows.legacy_row(user, **options)
    LegacySubmission.objects.filter(pk=row.pk).delete()
    return send_live(row.xqueue_header, row.xqueue_body, uploads)


def xqueue_submit(**options):
    """A live submit at XQueue: whatever has the same truncated callback is retired, and the new row is there."""
    row = rows.legacy_row(**options)
    older = LegacySubmission.objects.filter(lms_callback_url=row.lms_callback_url, retired=False)
    older.exclude(pk=row.pk).update(retired=True)
    return row


def detail_of(entry):
    """The real target row of an entry, as it is stored now."""
    return ExternalGraderDetail.objects.get(submission_id=entry.real_submission_id or entry.target_submission_id)


def expire_lease(entry):
    """Let the lease of a row run out."""
    past = now() - LEASE - timedelta(seconds=1)
    ExternalGraderDetail.objects.filter(submission_id=entry.target_submission_id).update(status_time=past)


def queued(header):
    """The legacy rows with this header that XQueue's graders can get."""
    found = LegacySubmission.objects.filter(xqueue_header=header, retired=False, pull_time=None, pullkey="")
    return list(found.filter(grader_id=""))
