"""The counts of a reconcile over captured rows, against SQL over both databases that shares no code with the app."""

import json

import pytest
from django.db import connections
from submissions.models import ExternalGraderDetail

from migration_shim import api
from migration_shim.core.data import Grading
from migration_shim.models import LedgerEntry, LegacySubmission
from sandbox import capture
from sandbox.grader_rules import grade_submission
from tests.builders import changes, rows
from tests.builders.rows import fresh  # noqa: F401
from tests.comparison import oracle

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"], transaction=True)
WRONG = '{"correct": false, "score": 0, "msg": "<p>no</p>"}'
BENT = 7


def grade_the_rest():
    """What is in flight is graded on both sides as the sandbox's graders would, but for every seventh on the target."""
    for row in LegacySubmission.objects.filter(retired=False):
        entry = LedgerEntry.objects.filter(legacy_id=row.pk, history=False).first()
        if entry is None:
            continue
        try:
            reply = json.dumps(grade_submission(json.loads(row.xqueue_body), {}))
        except (ValueError, TypeError, KeyError, AttributeError):
            reply = WRONG
        rows.change([row], **rows.graded(reply))
        changes.target_pulled(row)
        rows.grade_target(WRONG if row.pk % BENT == 0 else reply, pk=changes.detail_of(row).pk)


def prepared(directory):
    """Captured rows, imported with their history, echoed until nothing moves, and the rest graded."""
    capture.load_capture(directory)
    rows.backfill(history=True, per_problem=100_000)
    courses = api.known_courses()
    grade_the_rest()
    for _ in range(5):
        rows.reconcile(*courses, grading=Grading.ECHO)
    assert not ExternalGraderDetail.objects.filter(status__in=["retry", "pulled"]).exclude(
        submission_id__in=LedgerEntry.objects.filter(history=False).values("target_submission_id")
    )
    return courses


def agreed(courses):
    """The counts of the app's own document, by course, under the oracle's names; and the oracle's."""
    document, found = rows.reconcile(*courses)
    mine = {}
    for course in document.content["courses"]:
        counts = {name: course[name] for name in ("compared", "equal", "diverged")}
        counts |= {
            name: course["classes"][name] for name in ("correctness", "score", "state", "out_of_range", "identity")
        }
        counts["open"] = course["waiting"] + course["overdue"]
        counts["rounding"] = LedgerEntry.objects.filter(
            course_id=course["course"], result="equal", known="rounding"
        ).count()
        mine[course["course"]] = counts
    theirs = oracle.counts()
    assert sum(document.content["classes"].values()) == len(found)
    return mine, theirs


def test_the_counts_are_those_of_an_independent_oracle():
    courses = prepared(rows.DATA)
    with connections["xqueue"].cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM queue_submission")
        assert cursor.fetchone()[0] == 391
    mine, theirs = agreed(courses)
    assert mine == {course: {name: theirs[course][name] for name in counts} for course, counts in mine.items()}
    total = {name: sum(counts[name] for counts in theirs.values()) for name in oracle.NAMES}
    assert min(total["equal"], total["diverged"], total["correctness"], total["rounding"], total["state"]) > 3
