"""Echo grading: legacy's stored reply goes through the target's own put_result path, once, and is marked."""

import json
from datetime import timedelta
from unittest import mock

import pytest
from django.db import connections
from django.utils.timezone import now
from submissions.models import ExternalGraderDetail, Score

from migration_shim import api, conf
from migration_shim.core.data import Grading
from migration_shim.models import LedgerEntry, Run
from migration_shim.target import prediction
from sandbox.lms.models import LearnerEffect
from tests.builders import rows
from tests.builders.rows import fresh  # noqa: F401  (fixture)

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "xqueue"])

HALF = '{"correct": true, "score": 0.5, "msg": "<p>half</p>"}'


def echo():
    return api.reconcile([rows.COURSE], rows.ignore, lambda divergence: None, grading=Grading.ECHO).content


def test_history_is_echoed_once_and_counts_as_pairs_that_no_grader_made():
    replies = [rows.RIGHT, rows.WRONG, HALF if prediction.scales() else rows.RIGHT]
    for number, reply in enumerate(replies):
        rows.legacy_row(100 + number, **rows.graded(reply))
    waiting = rows.legacy_row(200)
    assert rows.backfill(history=True).content["written"] == 4

    first, second = echo(), echo()

    assert (first["echoed"], second["echoed"]) == (3, 0)
    assert (first["equal"], first["diverged"], first["waiting"]) == (3, 0, 1)
    assert second["equal"] == 3
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT grader_reply FROM submissions_externalgraderdetail WHERE status = 'retired' ORDER BY id")
        assert [text for (text,) in cursor.fetchall()] == replies
    assert Score.objects.count() == 3
    assert not LearnerEffect.objects.exists()  # the fence holds for an echo too
    assert LedgerEntry.objects.filter(echo=True).count() == 3
    assert not LedgerEntry.objects.get(legacy_id=waiting.pk).echo

    evidence = api.gate(rows.COURSE).content["evidence"]
    (queue,) = evidence["queues"]
    assert (queue["graded_pairs"], queue["echoed"]) == (3, 3)
    reasons = api.gate(rows.COURSE).content["reasons"]
    assert any(f"queue {rows.QUEUE}: 0 pairs graded on both sides" in reason for reason in reasons)


@pytest.mark.parametrize(
    "reply", ["not json", "[true]", '{"score": 1}', '{"correct": true, "score": null, "msg": "x"}']
)
def test_a_reply_that_the_target_refuses_is_a_counted_failure_and_in_the_end_a_divergence(reply):
    rows.legacy_row(100, **rows.graded(reply))
    rows.backfill(history=True)
    for _ in range(5):
        echo()
    detail = ExternalGraderDetail.objects.get()
    if json.loads(reply if reply[0] in "{[" else "0") == {"score": 1}:
        assert detail.status == "retired"  # upstream asks for no more than a score
        return
    assert (detail.status, detail.num_failures) == ("failed", 5)
    assert echo()["classes"]["state"] == 1
    assert not Score.objects.exists()


def test_a_shadow_that_a_grader_holds_is_left_to_the_grader():
    rows.legacy_row(100, **rows.graded())
    rows.backfill(history=True)
    detail = ExternalGraderDetail.objects.get()
    detail.update_status("pulled")
    assert echo()["echoed"] == 0
    detail.refresh_from_db()
    assert detail.status == "pulled"


def test_in_live_an_echo_never_touches_the_learners_own_row():
    """The reverse shadow was graded first; its grade must not become the learner's."""
    from migration_shim.core.identity import reverse_header
    from tests.builders.attempts import attempt, put_course_in

    put_course_in("live")
    one = attempt()
    assert one.send() == (0, "")
    entry = one.entry()
    url = f"https://courses.example.edu/migration_shim/sink/{entry.sink_token}/"
    header = reverse_header(url, entry.identity, "exu-py1.reverse")
    columns = {"xqueue_header": header, "lms_callback_url": url, "queue_name": "exu-py1.reverse"}
    rows.legacy_row(1, **rows.graded(), **columns)
    before = LearnerEffect.objects.count()

    content = echo()

    assert LedgerEntry.objects.get().legacy_id is not None  # it was linked, and there was a reply to echo
    assert content["echoed"] == 0
    assert ExternalGraderDetail.objects.get().status == "pending"
    assert not Score.objects.exists()
    assert LearnerEffect.objects.count() == before


def test_a_row_without_the_fence_is_never_leased_for_an_echo():
    from migration_shim.target.leases import lease_one

    rows.legacy_row(100, **rows.graded())
    rows.backfill(history=True)
    detail = ExternalGraderDetail.objects.get()
    item = detail.submission.student_item
    item.item_id = item.item_id.removeprefix("shadow:")
    item.save()
    assert lease_one(detail.submission_id, conf.load()) is None


class Killed(BaseException):
    """What a kill is to the code."""


@pytest.mark.parametrize("settled", [False, True])
@pytest.mark.parametrize(
    "before", ["migration_shim.comparison.echo.LedgerEntry", "migration_shim.comparison.echo.results.store"]
)
def test_a_copy_whose_echo_was_killed_with_it_in_its_hands_is_echoed_by_the_next(before, settled, settings):
    """No grader polls the queue of imported history: nobody but an echo will ever take the row again."""
    rows.legacy_row(100, **rows.graded())
    rows.backfill(history=True)
    if settled:
        LedgerEntry.objects.update(settled_at=now())
    with pytest.raises(Killed), mock.patch(before) as dying:
        dying.side_effect = dying.objects.filter.side_effect = Killed
        echo()
    Run.objects.update(finished_at=now())
    detail = ExternalGraderDetail.objects.get()
    assert detail.status == "pulled"
    assert echo()["echoed"] == 0  # it may be alive

    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"LEASE_SECONDS": 60}
    ExternalGraderDetail.objects.update(status_time=now() - timedelta(seconds=61))
    assert echo()["echoed"] == 1
    detail.refresh_from_db()
    assert (detail.status, detail.grader_reply, detail.num_failures) == ("retired", rows.RIGHT, 0)
    assert LedgerEntry.objects.get().result == "equal"
