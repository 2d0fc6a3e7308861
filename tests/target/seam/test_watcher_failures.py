"""What has failed for good on the target is counted by status, course by course."""

import io

import pytest
from django.core.management import call_command
from submissions.models import ExternalGraderDetail

from migration_shim import api
from tests.builders import rows
from tests.builders.rows import fresh  # noqa: F401
from tests.builders.watchers import let_leases_end, real, shadow

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
OTHER = "course-v1:ExU+OTHER+1"


def failed():
    """What status counts, by course."""
    courses = api.status([rows.COURSE, OTHER]).content["courses"]
    return [course["failed"] for course in courses]


def test_status_counts_real_submissions_that_failed_and_no_other(shim, watcher):
    shim(LEASE_LIMIT=1)
    assert failed() == [0, 0]
    real()
    assert watcher.pull() is not None
    assert failed() == [0, 0]
    let_leases_end()
    assert watcher.pull() is None  # the one lease that it may have has run out
    assert failed() == [1, 0]
    shadow()
    for status in ("pending", "pulled", "retry", "retired"):
        ExternalGraderDetail.objects.filter(submission_id=real().submission_id).update(status=status)
    ExternalGraderDetail.objects.filter(submission__student_item__student_id__startswith="shadow:").update(
        status="failed"
    )
    assert failed() == [1, 0]
    ExternalGraderDetail.objects.filter(submission_id=real(course=OTHER).submission_id).update(status="failed")
    assert failed() == [1, 1]
    output = io.StringIO()
    call_command("xqueue_status", course=[rows.COURSE], stdout=output)
    assert "FAILED for good on the target: 1 submission" in output.getvalue()
