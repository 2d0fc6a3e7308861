"""What follows an accepted submission: repeats, supersession, the caller's transaction, the sink, the log."""

import logging
from datetime import UTC, datetime, timedelta
from unittest import mock

import pytest
from django.db import OperationalError, connections, transaction
from django.test import Client
from django.utils.connection import ConnectionDoesNotExist
from django.utils.timezone import now
from submissions.models import ExternalGraderDetail, Score

from migration_shim import dual_write
from migration_shim.copies import breaker, retire_replaced
from migration_shim.doors import views
from migration_shim.models import LedgerEntry, LegacySubmission
from sandbox.lms.blocks import make_block
from sandbox.lms.models import LearnerEffect
from tests.builders.attempts import COURSE, attempt, put_course_in
from tests.builders.outbox import drain
from tests.builders.rows import HOST, Grader, backfill, grade_target, graded, reconcile
from tests.dual_write.test_table import count, rows

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "xqueue"])

LATER = timedelta(seconds=30)


def target_of(one):
    return ExternalGraderDetail.objects.get(submission_id=one.entry().target_submission_id)


def legacy_states():
    with connections["xqueue"].cursor() as cursor:
        cursor.execute("SELECT retired, pullkey FROM queue_submission ORDER BY id")
        return [(bool(retired), pullkey) for retired, pullkey in cursor.fetchall()]


# Twice the same


@pytest.mark.parametrize("phase", ["live", "complete"])
def test_the_same_identity_again_makes_no_second_target_row(phase, legacy):
    put_course_in(phase)
    one = attempt()
    assert [one.send(), one.send(), one.send()] == [(0, "")] * 3
    assert rows()[1] == 1
    assert LedgerEntry.objects.count() == 1


def test_a_repeat_inside_the_callers_transaction_is_no_refusal(legacy):
    put_course_in("live")
    one = attempt()
    assert one.send() == (0, "")
    with transaction.atomic():
        assert one.send() == (0, "")
        count("default", "auth_user")
    assert rows()[1] == 1


def test_in_shadow_a_repeat_still_goes_to_legacy_and_is_one_live_row(legacy):
    put_course_in("shadow")
    one = attempt()
    assert one.send()[0] == one.send()[0] == 0
    assert [retired for retired, _ in legacy_states()] == [True, False]
    assert rows()[2] == LedgerEntry.objects.count() == 1
    assert target_of(one).status == "pending"  # its own repeat has superseded nothing


@pytest.mark.parametrize("phase", ["shadow", "live"])
def test_another_answer_in_the_same_second_is_another_submission(phase, legacy):
    put_course_in(phase)
    at = datetime.now(tz=UTC)
    one, two = attempt(user=41, at=at), attempt(user=41, at=at, answer="y = 2\n")
    assert one.request.header == two.request.header
    assert one.send()[0] == two.send()[0] == 0
    assert LedgerEntry.objects.count() == LedgerEntry.objects.values("group").count() == 2
    assert LedgerEntry.objects.values("group").distinct().count() == 1


def test_a_submission_of_shadow_that_is_sent_again_in_live_stays_with_legacy(legacy):
    put_course_in("shadow")
    one = attempt()
    assert one.send() == (0, "1")
    put_course_in("live")
    assert one.send() == (0, "")
    assert rows() == (1, 0, 1, 0)
    assert one.entry().phase == "shadow"


def test_a_failed_copy_is_made_good_by_the_next_backfill_though_legacy_has_graded_it_since(legacy):
    put_course_in("shadow")
    one = attempt()
    with mock.patch.object(dual_write.writer, "create_external_grader_detail", side_effect=OperationalError(1205, "x")):
        one.send()
    LegacySubmission.objects.update(**graded())
    plan = backfill(execute=False).content
    assert (plan["read"], plan["classes"]["imported"]) == (1, 1)
    assert backfill().content["written"] == 1
    assert (target_of(one).status, target_of(one).queue_name) == ("pending", "exu-py1.shadow")
    assert backfill().content["read"] == 0  # nothing is owed any more, and nothing is in flight


# Supersession


@pytest.mark.parametrize("status", ["pending", "retry", "pulled"])
@pytest.mark.parametrize("phase", ["live", "complete"])
def test_an_older_attempt_on_the_target_is_superseded(phase, status, legacy):
    put_course_in(phase)
    one = attempt(user=42)
    one.send()
    old = target_of(one)
    if status != "pending":
        old.update_status("pulled")
    if status == "retry":
        old.update_status("retry")
    key = old.pullkey
    two = attempt(user=42, at=datetime.now(tz=UTC) + LATER)
    assert two.submit() == (0, "")
    drain()

    old.refresh_from_db()
    assert (old.status, old.pullkey) == ("retired", "")
    assert one.entry().superseded_at is not None
    assert target_of(two).status == "pending" and two.entry().superseded_at is None
    assert not Score.objects.exists()
    if key:  # a grader that had pulled it comes late
        grader = Grader()
        form = {
            "xqueue_header": f'{{"submission_id": {old.submission_id}, "submission_key": "{key}"}}',
            "xqueue_body": '{"correct": true, "score": 1, "msg": "<p/>"}',
        }
        assert grader.client.post("/xqueue/put_result/", form, **grader._csrf()).status_code == 403
        assert not Score.objects.exists()


def test_a_sibling_input_is_never_superseded(legacy):
    put_course_in("live")
    one, sibling = attempt(user=43, number=2), attempt(user=43, number=3)
    one.submit()
    sibling.submit()
    drain()
    assert target_of(one).status == target_of(sibling).status == "pending"


def test_where_the_input_cannot_be_told_nothing_is_superseded(legacy):
    put_course_in("live")
    one, two = attempt(user=44, number=101), attempt(user=44, number=101, at=datetime.now(tz=UTC) + LATER)
    one.submit()
    two.submit()
    drain()
    assert one.entry().input_key == ""
    assert target_of(one).status == target_of(two).status == "pending"


def test_in_live_an_older_attempt_on_legacy_is_retired_and_its_grader_refused(legacy):
    put_course_in("shadow")
    one, sibling = attempt(user=45), attempt(user=45, number=3, problem="b" * 32)
    one.send()
    sibling.send()
    put_course_in("live")
    drain()  # the shadows
    attempt(user=45, at=datetime.now(tz=UTC) + LATER).submit()
    drain()
    # The row of the same input, the row of another problem, and the reverse shadow of the new one.
    assert legacy_states() == [(True, ""), (False, ""), (False, "")]
    assert target_of(one).status == "retired"  # its shadow as well
    assert target_of(sibling).status == "pending"


@pytest.mark.parametrize("copy", ["pending", "graded"])
def test_what_the_router_retired_on_legacy_is_superseded_to_a_reconcile(copy, legacy):
    put_course_in("shadow")
    one = attempt(user=48)
    one.send()
    if copy == "graded":
        grade_target(submission_id=one.entry().target_submission_id)
    put_course_in("live")
    attempt(user=48, at=datetime.now(tz=UTC) + LATER).submit()
    drain()
    document, divergences = reconcile(COURSE)
    assert [found for found in divergences if found["entry"] == one.entry().pk] == []
    assert document.content["known_differences"] == ({"superseded_on_legacy_only": 1} if copy == "graded" else {})
    assert document.content["double_authority"] == 0


@pytest.mark.parametrize("phase", ["legacy", "shadow"])
def test_back_on_legacy_an_older_attempt_on_the_target_is_superseded(phase, legacy):
    put_course_in("live")
    one = attempt(user=46)
    one.send()
    put_course_in(phase)
    assert attempt(user=46, at=datetime.now(tz=UTC) + LATER).submit()[0] == 0
    drain()
    assert target_of(one).status == "retired"
    assert one.entry().superseded_at is not None


def test_an_alias_that_may_not_write_is_counted_and_no_learner_notices(legacy, shim):
    put_course_in("shadow")
    attempt(user=47).send()
    put_course_in("live")
    shim(BREAKER_FAILURES=2)
    denied = OperationalError(1142, "UPDATE command denied")
    with mock.patch.object(retire_replaced.writes, "retire", side_effect=denied) as retire:
        for minute in range(1, 5):
            one = attempt(user=47, at=datetime.now(tz=UTC) + minute * LATER)
            assert one.submit() == (0, "")
            drain()
    assert retire.call_count == 2  # then the breaker is open
    assert not breaker.allows("legacy_rows")


AWAY = {
    "does not answer": OperationalError(2002, "Can't connect"),
    "switched off for good": ConnectionDoesNotExist("The connection 'xqueue' doesn't exist."),
}


@pytest.mark.parametrize("error", AWAY)
@pytest.mark.parametrize("breaker_opens", [True, False])
def test_where_xqueues_database_is_away_nobody_asks_it_for_ever(error, breaker_opens, legacy, shim):
    """A course in complete does not need it; its submissions must not pile up in the outbox."""
    shim(BREAKER_FAILURES=1 if breaker_opens else 100)
    put_course_in("complete")
    one = attempt()
    one.submit()
    with mock.patch.object(retire_replaced.by_callback, "open_rows", side_effect=AWAY[error]):
        drain()
        drain()
        assert now() < one.entry().supersession_due < now() + timedelta(minutes=1)
        for hours in (8, 25):
            LedgerEntry.objects.update(arrived_at=now() - timedelta(hours=hours))
            drain()
            due = one.entry().supersession_due
            if hours == 8 and breaker_opens:
                assert due > now() + timedelta(hours=1)
    assert due is None


def test_what_has_lost_its_residue_is_not_looked_for_on_legacy(legacy):
    put_course_in("complete")
    one = attempt()
    one.submit()
    LedgerEntry.objects.update(raw_header="")
    assert drain()["supersession_failed"] == 0
    assert LedgerEntry.objects.get().supersession_due is None


# The caller's transaction


def test_a_caller_that_rolls_back_has_no_copy_and_no_target_row(legacy):
    for phase in ("shadow", "live"):
        put_course_in(phase)
        with transaction.atomic():
            assert attempt().send()[0] == 0
            transaction.set_rollback(True)
    assert rows() == (1, 0, 0, 0)
    assert not LedgerEntry.objects.exists()


def test_a_failing_copy_does_not_poison_the_callers_transaction(legacy):
    put_course_in("shadow")
    broken = OperationalError(1213, "Deadlock found")
    with transaction.atomic():
        with mock.patch.object(dual_write.writer, "create_external_grader_detail", side_effect=broken):
            assert attempt().send() == (0, "1")
        assert not LedgerEntry.objects.exists()  # all that follows waits for the commit
        count("default", "auth_user")
    assert LedgerEntry.objects.get().target_leg == "stored"  # the fault was over by then


def test_the_block_knows_its_points_and_without_it_one_is_assumed(legacy):
    put_course_in("live")
    one, two = attempt(), attempt()
    one.send(make_block(COURSE, one.usage_key, one.user, 7))
    two.send()
    assert target_of(one).points_possible == one.entry().points_possible == 7
    assert target_of(two).points_possible == two.entry().points_possible == 1


# The sink


def test_the_sink_answers_200_and_delivers_nothing(legacy, monkeypatch):
    counted = []
    monkeypatch.setattr(views, "count", lambda event, error=None: counted.append(event))
    put_course_in("live")
    one = attempt()
    one.send()
    client = Client(**HOST)
    for token, unknown in ((one.entry().sink_token, 0), (one.entry().sink_token, 0), ("0" * 32, 1)):
        form = {"xqueue_header": "{}", "xqueue_body": "not json"}
        answer = client.post(f"/migration_shim/sink/{token}/", form)
        assert (answer.status_code, answer.content) == (200, b"")
        assert counted == ["sink_unknown_token"] * unknown
    assert LearnerEffect.objects.count() == 0


# Logs


@pytest.mark.parametrize("phase", ["legacy", "shadow", "live", "complete"])
def test_no_log_record_holds_a_learners_answer_id_or_key(phase, legacy, caplog):
    caplog.set_level(logging.DEBUG, logger="migration_shim")
    put_course_in(phase)
    one = attempt(answer="SECRET ANSWER\n", files=[("main.py", b"SECRET FILE")])
    with mock.patch.object(
        dual_write.writer, "create_external_grader_detail", side_effect=OperationalError(one.learner)
    ):
        one.send()
    too_large = attempt(answer="SECRET" * 30_000)
    too_large.send()
    ours = [record for record in caplog.records if record.name.startswith("migration_shim")]
    assert ours or phase == "legacy"
    text = "\n".join(record.getMessage() + str(record.exc_info or "") for record in ours)
    for secret in ("SECRET", one.learner, one.request.key, too_large.learner, too_large.request.key):
        assert secret not in text
