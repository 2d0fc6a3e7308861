"""A submission that reached legacy while the target was authoritative: found, said, handed off, and never excused."""

import json
from datetime import timedelta
from unittest import mock

import pytest
from django.utils.timezone import now
from submissions.models import ExternalGraderDetail

from migration_shim import api, toggles
from migration_shim.core.data import DivergenceClass, ExitCode, Phase
from migration_shim.core.errors import IllegalStep, ShimError
from migration_shim.core.phases import flags_of
from migration_shim.cutover import gate, invariants, overrides
from migration_shim.ledger import known_differences
from migration_shim.models import CoursePhase, Divergence, LedgerEntry, LegacySubmission, phase_log
from tests.builders import handing_off as world
from tests.builders import rows
from tests.builders.rows import COURSE, fresh  # noqa: F401
from tests.schemas import validate

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "xqueue"])

HANDOFF = f"xqueue_backfill --mode handoff --course {COURSE} --execute"
TARGETS = (Phase.LIVE, Phase.COMPLETE)


@pytest.fixture(autouse=True)
def quick(settings):
    """Handoffs without their waiting."""
    quick = {"HANDOFF_SETTLE_SECONDS": 0, "PROCESSING_DELAY_SECONDS": 0, "HOLD_SECONDS": 0}
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | quick


def step(phase, ago=timedelta(0)):
    """A step of so long ago, with its place in the log."""
    with mock.patch.object(phase_log, "now", lambda: now() - ago):
        toggles.force_flags(COURSE, *flags_of(phase))
        toggles.record_step(COURSE, phase, by="ops", reason="", evidence={})
    CoursePhase.objects.update(since=now() - ago)


@pytest.fixture(params=TARGETS, ids=str)
def phase(request):
    """A course that has been the target's for a day."""
    step(Phase.SHADOW, timedelta(days=3))
    step(Phase.LIVE, timedelta(days=2))
    step(request.param, timedelta(days=1))
    return request.param


def counted(document=None):
    document = document or rows.reconcile()[0]
    validate(document.content)
    return document.content["classes"]["wrong_side"]


def waiting():
    """How many of those on record wait on legacy: what the watch and the status call for a handoff for."""
    rows.reconcile()
    return invariants.wrong_side_count(COURSE)


def cured():
    """The record of it ends with a signature, and with nothing else."""
    assert counted() == 1
    api.cure(DivergenceClass.WRONG_SIDE, course_id=COURSE, reason="the worker without a door is gone", by="ada")
    return counted() == 0


def entry():
    return LedgerEntry.objects.get()


def test_it_gets_an_entry_of_its_own(phase):
    row = rows.legacy_row(7)
    document, found = rows.reconcile()
    assert (counted(document), document.exit_code) == (1, ExitCode.DIFFERENCES)
    one = entry()
    assert (one.origin, one.phase, one.authority, one.legacy_id) == ("reconcile", phase, "legacy", row.pk)
    assert (one.legacy_leg, one.target_leg, one.result, one.legacy_state) == ("stored", "none", "diverged", "queued")
    assert [(item["class"], item["what"]) for item in found] == [
        ("wrong_side", "reached legacy while the target was authoritative")
    ]
    assert counted() == 1
    assert LedgerEntry.objects.count() == 1


def test_five_hours_later_the_watch_says_so_with_the_command(phase):
    rows.legacy_row(7, age=timedelta(hours=5))
    document = api.watch()
    validate(document.content)
    (course,) = document.content["courses"]
    breaches = [(breach["bound"], breach["rows"], breach["target_failed"]) for breach in course["breaches"]]
    assert breaches == [("wrong_side", 1, False)]
    assert HANDOFF in document.content["next"]
    assert document.exit_code & ExitCode.DIFFERENCES


def test_the_status_says_so_with_the_command(phase):
    assert api.status([COURSE]).content["courses"][0]["wrong_side"] is None
    rows.legacy_row(7)
    rows.reconcile()
    document = api.status([COURSE])
    validate(document.content)
    (course,) = document.content["courses"]
    assert course["wrong_side"] == 1
    (said,) = (item for item in course["attention"] if item["what"] == "wrong_side")
    assert said["commands"] == [HANDOFF]


def test_a_handoff_gives_it_to_the_target_and_ends_it(phase):
    world.submitted()
    rows.reconcile()
    document = world.run()
    assert (document.content["released"], document.content["classes"]["imported"]) == (1, 1)
    assert entry().authority == "target"
    assert waiting() == 0
    assert world.grade_on_target() == 1
    assert world.deliveries() == {(7, True): 1}
    assert waiting() == 0
    assert cured()
    assert not Divergence.objects.filter(cured_at=None).exists()


def test_its_points_are_the_problems_own(phase, monkeypatch):
    """edx-submissions scales by them; the ledger's default would make 1 of 10 of a full score."""
    monkeypatch.setattr("migration_shim.lms.points.from_student_modules", lambda course_id, item_id: 10.0)
    rows.legacy_row(7)
    rows.reconcile()
    world.run()
    assert ExternalGraderDetail.objects.get().points_possible == 10


@pytest.mark.parametrize("reply", [rows.RIGHT, "no JSON"])
def test_the_last_word_of_legacy_ends_it(phase, reply):
    row = rows.legacy_row(7)
    assert counted() == 1
    rows.change([row], pull_time=now(), pullkey="k")
    assert counted() == 1
    assert waiting() == 1
    with pytest.raises(ShimError, match="hand them off"):
        api.cure(DivergenceClass.WRONG_SIDE, course_id=COURSE, reason="r", by="ada")
    rows.change([row], **rows.graded(reply, timedelta(0)))
    assert waiting() == 0
    assert cured()
    assert entry().result == "none"


def test_one_that_vanishes_stays(phase):
    rows.legacy_row(7)
    assert counted() == 1
    LegacySubmission.objects.all().delete()
    assert counted() == 1


def test_after_the_way_back_legacy_has_it_and_there_is_no_handoff(phase):
    rows.legacy_row(7)
    rows.reconcile()
    step(Phase.LEGACY)
    (course,) = api.status([COURSE]).content["courses"]
    (said,) = (item for item in course["attention"] if item["what"] == "wrong_side")
    assert said["commands"] == []
    (watched,) = api.watch().content["courses"]
    assert ([breach["bound"] for breach in watched["breaches"]], watched["next"]) == (["wrong_side"], [])


# What is not on the wrong side


def test_what_came_in_the_days_of_legacy_is_right():
    step(Phase.SHADOW, timedelta(hours=5))
    step(Phase.LIVE, timedelta(hours=3))
    step(Phase.LEGACY, timedelta(hours=1))
    rows.legacy_row(1, age=timedelta(hours=3) - timedelta(seconds=80))
    rows.legacy_row(2, age=timedelta(hours=1) + timedelta(seconds=50))
    rows.legacy_row(3, age=timedelta(minutes=5))
    wrong = rows.legacy_row(4, age=timedelta(hours=2))
    assert counted() == 1
    assert entry().legacy_id == wrong.pk


def test_a_course_whose_step_is_older_than_the_log_counts():
    rows.in_phase("live")
    rows.legacy_row(7)
    assert counted() == 1


def test_another_course_is_none_of_it(phase):
    rows.legacy_row(7, course="course-v1:ExU+py1+2026")
    assert counted() == 0
    assert not LedgerEntry.objects.exists()


def test_copies_are_none_of_it(phase):
    """A reverse shadow by its callback; one with a learner's callback is a leak, and no handoff would take it."""
    sink = "https://courses.example.edu/migration_shim/sink/0123456789abcdef0123456789abcdef/"
    header = {"lms_callback_url": sink, "lms_key": "shadow:" + "0" * 64, "queue_name": rows.QUEUE}
    rows.legacy_row(7, xqueue_header=json.dumps(header), lms_callback_url=sink)
    rows.legacy_row(8, queue=f"{rows.QUEUE}.reverse")
    assert counted() == 0
    assert not LedgerEntry.objects.exists()


def test_what_was_returned_is_none_of_it(phase):
    """Legacy has it on purpose; the entry says so."""
    rows.legacy_row(7)
    assert counted() == 1
    world.run()
    LedgerEntry.objects.update(authority="legacy", move="returned")
    LegacySubmission.objects.update(retired=False, grader_id="")
    assert waiting() == 0


def test_a_row_that_a_return_has_written_is_none_of_it(phase):
    """Its body was made again, and may be another text than the learner's: the digests do not meet."""
    row = rows.legacy_row(7)
    assert counted() == 1
    world.run()
    LedgerEntry.objects.update(authority="legacy", move="returned")
    LegacySubmission.objects.update(retired=False, grader_id="", xqueue_body=row.xqueue_body + " ")
    assert waiting() == 0
    assert entry().legacy_id == row.pk


def plot(**columns):
    """A Matlab plot, as the LMS sends it: the same problem, another dispatch."""
    row = rows.legacy_row(7, **columns)
    header = row.xqueue_header.replace("/score_update", "/ungraded_response")
    url = json.loads(header)["lms_callback_url"]
    LegacySubmission.objects.filter(pk=row.pk).update(xqueue_header=header, lms_callback_url=url[:128])
    return row


def test_a_plot_is_passed_by_rule_and_said_without_a_command(phase):
    row = plot()
    assert counted() == 0
    assert (entry().legacy_reason, entry().result) == ("passed_through", "none")
    document = api.status([COURSE])
    validate(document.content)
    (course,) = document.content["courses"]
    assert (course["wrong_side"], course["passed_through"]) == (0, 1)
    (said,) = (item for item in course["attention"] if item["what"] == "passed_through")
    assert said["commands"] == []
    (watched,) = api.watch().content["courses"]
    assert watched["breaches"] == []
    rows.change([row], **rows.graded(ago=timedelta(0)))
    rows.reconcile()
    assert api.status([COURSE]).content["courses"][0]["passed_through"] == 0


def test_a_plot_in_shadow_is_nothing(settings):
    step(Phase.SHADOW, timedelta(days=1))
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"SAMPLE_PERCENT": {"*": 0}}
    plot()
    rows.reconcile()
    assert not LedgerEntry.objects.exists()


# Never excused


def test_it_closes_the_gate_and_no_signature_passes_it():
    step(Phase.SHADOW, timedelta(days=2))
    step(Phase.LIVE, timedelta(days=1))
    rows.preflighted()
    rows.legacy_row(7)
    rows.reconcile()
    result, _ = gate.evaluate_course(COURSE)
    assert result.verdict == "FAIL"
    assert result.reasons[0] == "1 submission reached legacy while the target was authoritative"
    with pytest.raises(IllegalStep, match="Wrong side"):
        overrides.refuse_unpassable(COURSE)
    validate(gate.run_gate(COURSE).content)


def test_nobody_can_register_it():
    with pytest.raises(ShimError, match="wrong_side"):
        known_differences.add(DivergenceClass.WRONG_SIDE, reason="r", owner="o", days=1)
