"""A stored result that does not arrive: seen, said, delivered again at most three times, and ended by a signature."""

from datetime import timedelta

import pytest
from django.utils.timezone import now
from openedx_events.learning.signals import EXTERNAL_GRADER_SCORE_SUBMITTED
from submissions.models import ExternalGraderDetail, Score

from migration_shim import api, conf, toggles
from migration_shim.core.data import DivergenceClass, ExitCode
from migration_shim.core.errors import IllegalStep, ShimError
from migration_shim.cutover import overrides
from migration_shim.delivery import learner_side, redelivery
from migration_shim.legacy import timeouts
from migration_shim.lms import state
from migration_shim.models import CoursePhase, Divergence, LedgerEntry, LegacySubmission, Run
from migration_shim.retention import purge
from migration_shim.watch import step_back
from sandbox.lms import receivers
from sandbox.lms.courseware.models import StudentModule
from tests.builders import handing_off as handoff
from tests.builders import live_courses as watched
from tests.builders import rows
from tests.builders import waiting_learners as world
from tests.builders.outbox import drain
from tests.builders.rows import COURSE, RIGHT, fresh  # noqa: F401
from tests.builders.waiting_learners import (
    AGO,
    grade,
    has,
    on_record,
    reconciled,
    round_of_the_watch,
    undelivered,
    waiting,
)
from tests.schemas import validate

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "xqueue"])


@pytest.fixture(autouse=True)
def live():
    """A course that has been the target's for a day, on a platform as it should be."""
    watched.stand("live")


def lost(user=7, **options):
    """A submission whose result was stored, and whose delivery was lost without a word."""
    entry = waiting(user, **options)
    with receivers.swallowing():
        grade(entry)
    assert has(user) is None
    return entry


# Seen and said


def test_a_platform_without_a_receiver_is_said_by_watch_status_gate_and_report():
    entry = waiting()
    EXTERNAL_GRADER_SCORE_SUBMITTED.disconnect(dispatch_uid="sandbox_lms.handle_external_grader_score")
    try:
        grade(entry)
        assert Score.objects.count() == 1
        assert world.is_queued()
        document = watched.round_of(COURSE)
    finally:
        receivers.connect_score_receiver()
    validate(document.content)
    course = watched.course_of(document.content)
    assert undelivered(course) == [(1, "1 learner waits for a grade that nobody brings")]
    assert course["redelivery"] == {"no_receiver": 1}
    assert document.exit_code & ExitCode.DIFFERENCES
    status = api.status([COURSE])
    validate(status.content)
    (shown,) = status.content["courses"]
    assert (shown["undelivered"], shown["undeliverable"], shown["learners_asked"]) == (1, 0, True)
    assert "undelivered" in [item["what"] for item in shown["attention"]]
    gate = world.gate()
    validate(gate)
    assert (gate["verdict"], gate["cause"], gate["evidence"]["undelivered"]) == ("FAIL", "undelivered", 1)
    assert gate["reasons"][0] == "1 learner waits, or waited, for a grade that nobody brings"


def test_a_reconcile_says_it_and_takes_the_permit():
    lost()
    LedgerEntry.objects.update(legacy_leg="none")
    rows.permitted("complete")
    document, found = rows.reconcile()
    validate(document.content)
    assert document.exit_code & ExitCode.DIFFERENCES
    assert [(row["class"], row["what"]) for row in found] == [
        ("undelivered", "the learner waits, and its result is stored")
    ]
    assert document.content["courses"][0]["learners"]["waiting"] == 1
    assert CoursePhase.objects.get().permit == ""


@pytest.mark.parametrize("phase", ["live", "complete"])
def test_in_every_phase_of_the_targets(phase):
    lost()
    watched.stand(phase)
    assert reconciled()["waiting"] == 1


def test_no_signature_passes_it():
    lost()
    reconciled()
    with pytest.raises(IllegalStep, match="Undelivered"):
        overrides.refuse_unpassable(COURSE)


@pytest.mark.by_hand
def test_none_passes_what_nobody_has_asked_either():
    """The last comparison is of a release that asked no learner: that is unknown, and not nobody."""
    lost()
    LedgerEntry.objects.update(legacy_leg="none")
    rows.reconcile()
    run = Run.objects.filter(kind="reconcile").latest("pk")
    run.document = {name: value for name, value in run.document.items() if name != "learners"}
    run.save()
    Divergence.objects.all().delete()
    LedgerEntry.objects.update(learner_said="")
    assert world.gate()["evidence"]["undelivered"] is None
    with pytest.raises(IllegalStep, match="No reconcile has read"):
        overrides.refuse_unpassable(COURSE)


def test_however_the_row_has_ended():
    failed, superseded, gone = (waiting(user, problem=f"{user:032x}") for user in (1, 2, 3))
    rows_of = ExternalGraderDetail.objects
    rows_of.filter(submission_id=failed.target_submission_id).update(status="failed")
    rows_of.filter(submission_id=superseded.target_submission_id).update(status="retired", pullkey="")
    rows_of.filter(submission_id=gone.target_submission_id).delete()
    assert reconciled()["waiting"] == 3
    assert sorted(on_record()) == [
        "the learner waits, and its row has failed",
        "the learner waits, and its row is gone",
        "the learner waits, and its row was superseded",
    ]
    assert LedgerEntry.objects.get(pk=gone.pk).undeliverable == "row_gone"


# What is not


def test_a_row_in_flight_is_none():
    entry = waiting()
    for status in ("pending", "pulled", "retry"):
        ExternalGraderDetail.objects.update(status=status)
        assert reconciled()["waiting"] == 0
    assert LedgerEntry.objects.get(pk=entry.pk).learner_settled_at is None


def test_a_receiver_may_still_be_at_work():
    entry = waiting()
    with receivers.swallowing():
        grade(entry, ago=timedelta(seconds=110))
    assert reconciled()["waiting"] == 0
    assert LedgerEntry.objects.get().learner_settled_at is None
    world.ended(entry, timedelta(seconds=130))
    assert reconciled()["waiting"] == 1


def test_a_grade_that_has_arrived_is_none_and_is_asked_for_once(monkeypatch):
    grade(waiting())
    assert has() == 1
    assert reconciled()["waiting"] == 0
    monkeypatch.setattr(state, "problems", lambda places: pytest.fail(str(places)) if set(places) else {})
    assert reconciled()["waiting"] == 0


def test_two_tabs_of_one_second_wait_for_the_one_that_is_in_flight():
    one = waiting()
    other = watched.live(7, age=AGO)
    key = {"raw_header": one.raw_header, "student_info": one.student_info}
    LedgerEntry.objects.filter(pk=other.pk).update(input_key=one.input_key, supersession_due=None, **key)
    ExternalGraderDetail.objects.filter(submission_id=one.target_submission_id).update(
        status="retired", pullkey="", status_time=now() - AGO
    )
    assert reconciled()["waiting"] == 0
    ExternalGraderDetail.objects.filter(submission_id=other.target_submission_id).update(
        status="retired", pullkey="", status_time=now() - AGO
    )
    assert reconciled()["waiting"] == 2


@pytest.mark.parametrize("change", ["reset", "deleted", "no_learner"])
def test_who_does_not_wait_any_more_is_none(change):
    lost()
    if change == "reset":
        world.change_state(correct_map={}, attempts=0)
    elif change == "deleted":
        StudentModule.objects.all().delete()
    else:
        StudentModule.objects.all().delete()
        world.learner(7).delete()
    assert reconciled()["waiting"] == 0
    assert not on_record()


def test_a_plot_carries_the_graded_inputs_key_and_is_none():
    entry = waiting()
    header = entry.raw_header.replace("/score_update", "/ungraded_response")
    LedgerEntry.objects.update(raw_header=header, input_key="")
    ExternalGraderDetail.objects.update(status="retired", status_time=now() - AGO)
    assert reconciled()["waiting"] == 0


@pytest.mark.parametrize("move", ["held", "fenced", "returning"])
def test_what_is_on_its_way_between_the_systems_is_none_yet(move):
    lost()
    LedgerEntry.objects.update(move=move)
    learner_side.ask_learners(COURSE, conf.load(), lambda: None)
    assert not on_record()
    LedgerEntry.objects.update(move="none")
    learner_side.ask_learners(COURSE, conf.load(), lambda: None)
    assert len(on_record()) == 1


def test_one_that_the_outbox_brings_back_is_none():
    entry = waiting()
    ExternalGraderDetail.objects.update(status="retired", pullkey="", status_time=now() - AGO)
    LedgerEntry.objects.update(superseded_at=now() - AGO)
    course = round_of_the_watch()
    assert (undelivered(course)[0][0], course["redelivery"]) == (1, {"looked_at_again": 1})
    drain()
    ExternalGraderDetail.objects.update(status_time=now() - AGO)
    assert ExternalGraderDetail.objects.get().status == "pending"
    assert undelivered(round_of_the_watch()) == []
    grade(LedgerEntry.objects.get(pk=entry.pk))
    assert has() == 1


# Legacy's part


def on_legacy(user=7, phase="shadow", **columns):
    """A submission of legacy's whose learner waits; its row as the columns say."""
    row = rows.legacy_row(user, age=2 * AGO, **columns)
    rows.backfill(courses=frozenset([COURSE]))
    LedgerEntry.objects.update(origin="router", supersession_due=None, copy_due=None)
    entry = LedgerEntry.objects.get(legacy_id=row.pk)
    world.save(entry, user)
    watched.stand(phase)
    return entry, row


def long_ago():
    """Let what was compared have been compared long ago."""
    LedgerEntry.objects.update(compared_at=now() - AGO)


def test_legacys_own_loss_in_shadow_is_told_and_no_reason():
    _, row = on_legacy()
    rows.change([row], **rows.graded(ago=AGO))
    reconciled()
    long_ago()
    found = reconciled()
    assert (found["waiting"], found["third_side"]["not_comparable"]) == (0, {"waits": 1})
    watched.stand("live")
    assert reconciled()["waiting"] == 0


def test_what_legacy_loses_in_live_counts_and_no_delivery_of_ours_helps():
    _, row = on_legacy(phase="live")
    assert reconciled()["waiting"] == 0
    rows.change([row], **rows.graded(ago=AGO))
    reconciled()
    long_ago()
    assert reconciled()["waiting"] == 1
    assert on_record() == ["the learner waits, and legacy's row is over"]
    assert LedgerEntry.objects.get().undeliverable == "legacy_is_over"


# Delivered again


def test_the_watch_delivers_the_stored_reply_once():
    entry = lost()
    scores = Score.objects.count()
    course = round_of_the_watch()
    assert course["redelivery"] == {"delivered": 1}
    assert (has(), world.published()) == (1, [True])
    assert (undelivered(course), Score.objects.count()) == ([], scores)
    assert undelivered(round_of_the_watch()) == []
    assert world.published() == [True]
    entry.refresh_from_db()
    assert (entry.delivery_tries, entry.learner_said) == (1, "comparable")


def test_it_stays_on_record_until_somebody_signs():
    lost()
    round_of_the_watch()
    rows.reconcile()
    assert (world.gate()["cause"], api.status([COURSE]).content["courses"][0]["undelivered"]) == ("undelivered", 0)
    api.cure(DivergenceClass.UNDELIVERED, course_id=COURSE, reason="the receiver had a bug", by="ada")
    rows.reconcile()
    assert world.gate()["evidence"]["undelivered"] == 0
    assert not on_record()


def test_nobody_signs_for_who_can_still_be_served():
    lost()
    reconciled()
    with pytest.raises(ShimError, match="waits still"):
        api.cure(DivergenceClass.UNDELIVERED, course_id=COURSE, reason="r", by="ada")


def test_three_deliveries_without_effect_are_the_last():
    lost()
    with receivers.swallowing(9):
        said = [round_of_the_watch()["redelivery"] for _ in range(5)]
    assert said == [{"without_effect": 1}] * 2 + [{"undeliverable": 1}] + [{}] * 2
    entry = LedgerEntry.objects.get()
    assert (entry.delivery_tries, entry.undeliverable) == (3, "three_deliveries")
    course = round_of_the_watch()
    assert undelivered(course) == [(1, "1 learner waits for a grade that nobody brings; 1 of them are undeliverable")]
    assert has() is None
    api.cure(DivergenceClass.UNDELIVERED, course_id=COURSE, reason="asked to submit again", by="ada")
    assert undelivered(round_of_the_watch()) == []
    rows.reconcile(full=True)
    assert not on_record()
    assert world.gate()["evidence"]["undelivered"] == 0


def test_there_is_no_fourth_where_the_third_was_cut_off():
    lost()
    reconciled()
    LedgerEntry.objects.update(delivery_tries=3, delivery_tried_at=now() - AGO)
    assert redelivery.run(COURSE, conf.load(), lambda: None) == {}
    assert round_of_the_watch()["redelivery"] == {}
    entry = LedgerEntry.objects.get()
    assert (entry.delivery_tries, entry.undeliverable, world.published()) == (3, "three_deliveries", [])


@pytest.mark.parametrize("looked", [True, False], ids=["seen in flight", "not seen in flight"])
def test_another_end_of_the_row_is_judged_anew(settings, looked):
    """A failed row of which nobody is told, that an operator has put back: its grade can be delivered."""
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"TELL_LEARNER_OF_FAILURE": False}
    entry = waiting()
    ExternalGraderDetail.objects.update(status="failed", status_time=now() - AGO)
    reconciled()
    assert LedgerEntry.objects.get().undeliverable == "failed"
    ExternalGraderDetail.objects.update(status="pending")
    if looked:
        reconciled()
        assert LedgerEntry.objects.get().undeliverable == ""
    with receivers.swallowing():
        grade(entry)
    assert round_of_the_watch()["redelivery"] == {"delivered": 1}
    assert has() == 1


def test_not_more_often_than_every_five_minutes():
    lost()
    with receivers.swallowing(9):
        assert watched.course_of(watched.watch(COURSE))["redelivery"] == {"without_effect": 1}
        assert watched.course_of(watched.watch(COURSE))["redelivery"] == {}


def test_a_receiver_that_raises_is_a_delivery_without_effect(monkeypatch, caplog):
    lost()

    def broken(*args):
        raise ValueError(RIGHT)

    monkeypatch.setattr(receivers, "deliver", broken)
    assert round_of_the_watch()["redelivery"] == {"without_effect": 1}
    assert RIGHT not in caplog.text
    monkeypatch.undo()
    assert round_of_the_watch()["redelivery"] == {"delivered": 1}


def test_without_a_receiver_no_delivery_is_used_up():
    lost()
    with receivers.without_score_receiver():
        for _ in range(4):
            assert round_of_the_watch()["redelivery"] == {"no_receiver": 1}
    assert round_of_the_watch()["redelivery"] == {"delivered": 1}


def test_nothing_is_delivered_to_who_has_submitted_again(monkeypatch):
    """The learner submits between the look and the delivery: under the state's lock the key is another one."""
    entry = lost()
    reconciled()
    other = waiting(7, age=AGO)
    assert redelivery.run(COURSE, conf.load(), lambda: None) == {"not_awaited": 1}
    assert world.published() == []
    assert world.module().correct_map[f"{world.PROBLEM}_2_1"]["queuestate"]["key"] == world.key_of(other)
    assert LedgerEntry.objects.get(pk=entry.pk).delivery_tries == 1


def test_an_invalid_reply_is_never_delivered_again():
    """It would wipe the result, whatever the key."""
    entry = lost()
    ExternalGraderDetail.objects.update(grader_reply='{"correct": true, "score": 1, "msg": ""}')
    course = round_of_the_watch()
    assert (undelivered(course)[0][0], course["redelivery"]) == (1, {})
    entry.refresh_from_db()
    assert (entry.undeliverable, world.published()) == ("reply_invalid", [])


def test_who_was_to_be_told_of_a_failure_is_told_again():
    waiting()
    ExternalGraderDetail.objects.update(status="failed", status_time=now() - AGO)
    assert round_of_the_watch()["redelivery"] == {"delivered": 1}
    assert has() == 0


def test_the_kill_switch_and_a_pause_stop_no_delivery(settings, tmp_path):
    lost()
    pause = tmp_path / "pause"
    pause.touch()
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"PAUSE_FILE": str(pause)}
    course = round_of_the_watch()
    assert (course["reconcile"], course["redelivery"], has()) == (None, {"delivered": 1}, 1)


def test_a_failing_platform_steps_the_course_back_where_that_is_asked_for(settings, monkeypatch):
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"WATCH_STEP_BACK": True, "WATCH_OVERDUE_LIMIT": 1}
    monkeypatch.setattr(step_back, "_legacy_refusal", lambda course_id: "")
    with receivers.without_score_receiver():
        grade(waiting(1))
        assert not watched.course_of(watched.watch(COURSE))["stepped_back"]
        grade(waiting(2))
        assert watched.course_of(watched.watch(COURSE))["stepped_back"]
    assert watched.recorded() == "legacy"
    toggles.new_work_cycle()
    assert round_of_the_watch()["redelivery"] == {"delivered": 2}


def test_what_a_learner_waits_for_is_not_purged(settings):
    lost()
    reconciled()
    LedgerEntry.objects.update(settled_at=now() - timedelta(days=90), legacy_leg="none")
    ready = purge.purge(conf.load(), execute=True, check=lambda: None)
    assert (ready.dropped, ready.kept) == (0, {"undelivered": 1})
    assert round_of_the_watch()["redelivery"] == {"delivered": 1}
    reconciled()
    LedgerEntry.objects.update(settled_at=now() - timedelta(days=90), legacy_leg="none")
    assert LedgerEntry.objects.get().learner_score == 1
    assert purge.purge(conf.load(), execute=True, check=lambda: None).dropped == 1
    entry = LedgerEntry.objects.get()
    assert (entry.learner_correct, entry.learner_score, entry.learner_said) == (None, None, "comparable")


def test_a_handoff_opens_the_question_again(settings):
    """Collided on legacy: its learner waited, which was legacy's own loss. Moved to the target it is ours."""
    quick = {"HANDOFF_SETTLE_SECONDS": 0, "PROCESSING_DELAY_SECONDS": 0}
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | quick
    row = handoff.submitted(age=2 * AGO)
    rows.backfill(courses=frozenset([COURSE]))
    LedgerEntry.objects.update(learner_said="waits", learner_settled_at=now())
    handoff.run()
    assert LegacySubmission.objects.get(pk=row.pk).retired
    entry = LedgerEntry.objects.get()
    assert (entry.authority, entry.learner_said, entry.learner_settled_at) == ("target", "", None)


def test_who_waits_after_a_step_back_is_served_when_all_is_settled():
    lost()
    reconciled()
    watched.stand("legacy")
    LedgerEntry.objects.update(settled_at=now())
    assert watched.course_of(watched.watch())["redelivery"] == {"delivered": 1}
    assert has() == 1
    reconciled()
    LedgerEntry.objects.update(settled_at=now())
    assert watched.watch()["courses"] == []


@pytest.mark.parametrize("error", timeouts.AWAY)
def test_the_targets_learners_are_looked_after_while_xqueues_database_is_away(monkeypatch, error):
    on_legacy(8, phase="live")
    theirs = LedgerEntry.objects.get()
    LedgerEntry.objects.update(learner_said="waits", undeliverable="legacy_is_over")
    lost()
    asked = []

    def unretired(ids):
        asked.append(ids)
        raise error

    monkeypatch.setattr(learner_side.legacy_open_rows, "ids_unretired", unretired)
    monkeypatch.setattr(learner_side, "PAGE", 1)
    with pytest.raises(error):
        learner_side.ask_learners(COURSE, conf.load(), lambda: None)
    assert on_record() == ["the learner waits, and its result is stored"]
    theirs.refresh_from_db()
    assert (theirs.learner_said, theirs.undeliverable, theirs.learner_settled_at) == ("waits", "legacy_is_over", None)
    assert len(asked) == 1


def test_found_again_after_a_signature_it_counts_again():
    entry = lost()
    reconciled()
    Divergence.objects.update(cured_at=now())
    assert not on_record()
    assert reconciled()["waiting"] == 1
    assert len(on_record()) == 1
    assert entry.pk
