"""What work grows with: statements and rows read are counted, for time says little on a busy machine."""

import json

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext
from submissions.models import Submission

from migration_shim import api
from migration_shim.core import classification
from migration_shim.core.data import Leg
from migration_shim.legacy import by_callback
from migration_shim.legacy import rows as legacy_rows
from migration_shim.models import LedgerEntry, LegacySubmission
from migration_shim.preflight import rows as preflight_rows
from tests.builders import rows
from tests.builders.rows import COURSE, fresh  # noqa: F401

pytestmark = [pytest.mark.django_db(databases=["default", "xqueue"]), pytest.mark.usefixtures("no_site")]


@pytest.fixture
def no_site(monkeypatch):
    """Only rows are looked at."""
    monkeypatch.setattr("migration_shim.preflight.run.site.site_findings", lambda *args: ())
    monkeypatch.setattr("migration_shim.preflight.run.queues.is_known_to_xqueue", lambda queue: True)


def under_one_callback(number):
    """So many graded rows of a course whose callbacks are equal in the 128 characters that XQueue keeps."""
    template = rows.legacy_row(1, **rows.graded())
    columns = [field.attname for field in LegacySubmission._meta.concrete_fields if not field.primary_key]
    values = {name: getattr(template, name) for name in columns}
    made = []
    for user in range(number):
        header = json.loads(template.xqueue_header)
        header["lms_callback_url"] = header["lms_callback_url"].replace("/xqueue/1/", f"/xqueue/{user + 2}/")
        made.append(LegacySubmission(**values | {"xqueue_header": json.dumps(header)}))
    LegacySubmission.objects.bulk_create(made)


def counted(monkeypatch, number):
    """Rows read and pairs of rows held together by a preflight of a course of so many rows."""
    LegacySubmission.objects.all().delete()
    under_one_callback(number)
    counts = {"read": 0, "held together": 0}
    read, state = legacy_rows.frozen, classification.legacy_state

    def reading(queryset):
        found = read(queryset)
        counts["read"] += len(found)
        return found

    def judging(parsed, siblings):
        siblings = list(siblings)
        counts["held together"] += len(siblings)
        return state(parsed, siblings)

    with monkeypatch.context() as patch:
        patch.setattr(preflight_rows, "PAGE", 20)
        patch.setattr(preflight_rows, "LARGE", 20)
        for module in (legacy_rows, by_callback):
            patch.setattr(module, "frozen", reading)
        patch.setattr(classification, "legacy_state", judging)
        api.preflight(COURSE, rows.ignore)
    return counts


def test_a_preflight_where_one_callback_covers_the_course_is_linear_in_its_rows(monkeypatch):
    few, many = counted(monkeypatch, 100), counted(monkeypatch, 400)
    for what, number in few.items():
        assert many[what] <= 5 * number, (few, many)


def owed(number):
    """So many submissions whose copies are owed and which legacy has graded since, half of them linked to their row."""
    for model in (Submission, LedgerEntry, LegacySubmission):
        model.objects.all().delete()
    made = [rows.legacy_row(user + 1) for user in range(number)]
    rows.backfill()
    Submission.objects.all().delete()
    LedgerEntry.objects.update(target_leg=Leg.MISSING, target_submission_id=None)
    LedgerEntry.objects.filter(pk__in=list(LedgerEntry.objects.values_list("pk", flat=True))[::2]).update(
        legacy_id=None
    )
    rows.change(made, **rows.graded())


def statements(number):
    owed(number)
    with CaptureQueriesContext(connections["xqueue"]) as asked:
        assert rows.backfill().content["written"] == number
    return sum("queue_submission" in query["sql"] for query in asked)  # and not how busy the server is


def test_owed_copies_ask_legacy_as_often_for_many_as_for_few():
    assert statements(10) == statements(40)
