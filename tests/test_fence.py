"""The fence, through edx-submissions' own endpoint: what a grader says of a copy never reaches a learner."""

import json
from types import SimpleNamespace

import pytest
from submissions.api import create_external_grader_detail
from submissions.models import ExternalGraderDetail, Score, StudentItem

from migration_shim import evidence
from migration_shim.core.identity import real_placement
from migration_shim.core.wire import parse_envelope
from migration_shim.data import ExitCode, Verdict
from migration_shim.models import LedgerEntry
from migration_shim.target import prediction
from sandbox.lms.courseware.models import StudentModule
from sandbox.lms.models import AnonymousUserId, LearnerEffect
from sandbox.lms.seed import seed_learners
from tests import rows
from tests.rows import fresh  # noqa: F401

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])

REPLIES = {
    # reply: status of put_result, state of the copy, whether it gets a score, whether the real row's learner notices
    "valid": (rows.RIGHT, 200, "retired", True, True),
    "a tag is missing": ('{"score": 1, "msg": "<p>ok</p>"}', 200, "retired", True, True),
    "the message is no XML": ('{"correct": true, "score": 1, "msg": "\\u0000"}', 200, "retired", True, True),
    "no score": ('{"correct": true, "msg": "<p>ok</p>"}', 200, "retry", False, False),
    "score null": ('{"correct": true, "score": null, "msg": "<p>ok</p>"}', 200, "retry", False, False),
    "score text": ('{"correct": true, "score": "1", "msg": "<p>ok</p>"}', 200, "retry", False, False),
    "not JSON": ("<html>", 400, "pulled", False, False),
    "a list": ("[1]", 500, "pulled", False, False),
}
PARAMETERS = ("reply", "status", "state", "scored", "noticed")


def learners() -> list[list[tuple]]:
    """All that the LMS holds of its learners' external grades."""
    return [
        list(model.objects.order_by("pk").values_list()) for model in (StudentModule, LearnerEffect, AnonymousUserId)
    ]


@pytest.fixture
def row():
    """A queued submission of a learner who waits for its grade in the LMS."""
    row = rows.legacy_row()
    assert seed_learners([vars(row) | {"arrival_time": row.arrival_time.isoformat()}]).states == 1
    return row


def write_for_real(row) -> None:
    """Write a row to the target under the learner's own identity, as the platform's own send path does."""
    envelope = parse_envelope(row.xqueue_header, row.xqueue_body)
    place = real_placement(envelope)
    item = {name: getattr(place, name) for name in ("student_id", "course_id", "item_id", "item_type")}
    answer = envelope.body.student_response
    create_external_grader_detail(item, answer, queue_name=place.queue_name, queue_key=place.queue_key)


@pytest.mark.parametrize(PARAMETERS, REPLIES.values(), ids=REPLIES)
def test_no_reply_to_a_shadow_reaches_the_learner(row, reply, status, state, scored, noticed):
    assert rows.backfill().content["written"] == 1
    before = learners()
    if reply == REPLIES["score text"][0] and not prediction.scales():
        state, scored = "retired", True  # before edx-submissions 4.0.2 a text that is a number is one
    assert rows.Grader().grade(f"{rows.QUEUE}.shadow", reply) == status
    assert learners() == before
    detail = ExternalGraderDetail.objects.get()
    assert detail.status == state
    assert [score.student_item.student_id for score in Score.objects.all()] == ["shadow:" + "7".zfill(32)] * scored


@pytest.mark.parametrize(PARAMETERS, REPLIES.values(), ids=REPLIES)
def test_the_same_reply_to_the_learners_own_row_does(row, reply, status, state, scored, noticed):
    """The contrast without which the test above could not fail."""
    write_for_real(row)
    before = learners()
    rows.Grader().grade(rows.QUEUE, reply)
    assert (learners() != before) == noticed
    assert Score.objects.filter(student_item__student_id=rows.anonymous_id(7)).exists() == scored


def test_a_valid_reply_to_the_learners_own_row_is_the_grade(row):
    write_for_real(row)
    rows.Grader().grade(rows.QUEUE, rows.RIGHT)
    assert StudentModule.objects.get().grade == 1


LEAKS = {
    "the learner's half is gone": lambda real: {"student_id": real.learner},
    "the problem's half is gone": lambda real: {"item_id": real.item_id},
    "both halves are gone": lambda real: {"student_id": real.learner, "item_id": real.item_id},
    "the real queue": lambda real: {"queue_name": real.queue_name},
    "the learner's key": lambda real: {"queue_key": real.key},
}


def plant(leak, row) -> None:
    """Take away a part of the fence of the copy of a row."""
    entry = LedgerEntry.objects.get(legacy_id=row.pk)
    key = parse_envelope(row.xqueue_header, row.xqueue_body).header.lms_key
    found = SimpleNamespace(learner=entry.learner, item_id=entry.item_id, queue_name=entry.queue_name, key=key)
    details = ExternalGraderDetail.objects.filter(submission_id=entry.target_submission_id)
    items = StudentItem.objects.filter(submission=entry.target_submission_id)
    changes = leak(found)
    for name, value in changes.items():
        changed = (items if name in ("student_id", "item_id") else details).update(**{name: value})
        assert changed == 1


@pytest.mark.parametrize("leak", LEAKS.values(), ids=LEAKS)
def test_reconcile_finds_a_leak_of_every_kind(leak):
    three = [rows.legacy_row(user) for user in (7, 8, 9)]
    rows.backfill()
    document, _ = rows.reconcile()
    assert document.content["fence_leaks"] == 0
    assert document.exit_code == ExitCode.OK
    plant(leak, three[1])
    document, _ = rows.reconcile()
    assert document.content["fence_leaks"] == 1
    assert document.exit_code == ExitCode.DIFFERENCES


def test_a_half_fenced_item_that_no_entry_knows_is_a_leak():
    """Whoever made it: its first grade fires the platform's receivers under the learner, or blocks the queue."""
    rows.in_phase("shadow")
    item = {"course_id": rows.COURSE, "item_type": "problem"}
    StudentItem.objects.create(student_id=rows.anonymous_id(7), item_id="shadow:" + rows.usage_key("a"), **item)
    StudentItem.objects.create(student_id="shadow:" + rows.anonymous_id(8), item_id=rows.usage_key("a"), **item)
    StudentItem.objects.create(student_id="shadow:" + rows.anonymous_id(9), item_id="shadow:b", **item)
    StudentItem.objects.create(student_id=rows.anonymous_id(9), item_id=rows.usage_key("b"), **item)
    assert rows.reconcile()[0].content["fence_leaks"] == 2


def test_a_row_among_the_reverse_shadows_with_a_learners_callback_is_a_leak():
    """XQueue would post its grade to the learner: a reverse shadow's callback is the sink, which names no course."""
    rows.legacy_row(7)
    rows.backfill()
    sink = {"lms_callback_url": f"https://x/sink/{'0' * 32}/", "lms_key": "shadow:1", "queue_name": "exu-py1.reverse"}
    rows.legacy_row(8, queue="exu-py1.reverse", xqueue_header=json.dumps(sink))
    rows.legacy_row(9, queue="exu-py1.reverse", course="course-v1:ExU+OTHER+1")
    assert rows.reconcile()[0].content["fence_leaks"] == 0
    rows.legacy_row(10, queue="exu-py1.reverse", **rows.graded())
    document, _ = rows.reconcile()
    assert document.content["fence_leaks"] == 1
    assert document.exit_code & ExitCode.DIFFERENCES


def test_one_leak_closes_a_gate_that_was_open(settings):
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"GATE_THRESHOLD": 0.05}
    rows.in_phase("shadow")
    pairs = rows.graded_pairs(90)
    rows.preflighted()
    rows.reconcile()
    assert evidence.run_gate(rows.COURSE).content["verdict"] == Verdict.PASS
    plant(LEAKS["the learner's key"], pairs[40])
    rows.reconcile(full=True)
    gate = evidence.run_gate(rows.COURSE)
    assert gate.content["verdict"] == Verdict.FAIL
    leak, where = gate.content["reasons"]
    assert "1 fence leak" in leak
    assert where == f"problem {rows.usage_key('0' * 32)}: 1 divergences in fence_leak"
    assert gate.exit_code == ExitCode.DIFFERENCES
