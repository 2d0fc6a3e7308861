"""The fence, through edx-submissions' own endpoint: what a grader says of a copy never reaches a learner."""

import json
from datetime import timedelta
from types import SimpleNamespace

import pytest
from submissions.api import create_external_grader_detail
from submissions.models import ExternalGraderDetail, Score, StudentItem, Submission

from migration_shim import conf
from migration_shim.core.data import ExitCode, Verdict
from migration_shim.core.identity import real_placement
from migration_shim.core.wire import parse_envelope
from migration_shim.cutover import gate as cutover_gate
from migration_shim.models import LedgerEntry
from migration_shim.target import fingerprints, leases, open_rows, prediction, reader, removal, results
from sandbox.lms.courseware.models import StudentModule
from sandbox.lms.models import AnonymousUserId, LearnerEffect
from sandbox.lms.modulestore import modulestore
from sandbox.lms.seed import seed_learners
from tests.builders import rows
from tests.builders.rows import fresh  # noqa: F401

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


class MongoIsAway(Exception):
    """What a modulestore raises when its database does."""


@pytest.fixture
def no_courses(monkeypatch):
    """The courses that the LMS's receiver has asked a modulestore for that is away."""
    asked = []

    def get_course(course_key, depth=0):
        asked.append(course_key)
        raise MongoIsAway

    monkeypatch.setattr(modulestore(), "get_course", get_course)
    return asked


@pytest.mark.parametrize("path", ["upstream's endpoint", "the seam"])
def test_a_fenced_result_loads_no_course_and_cannot_fail_on_one(row, no_courses, path):
    """The receiver loads the course before it parses the usage key, inside put_result's transaction."""
    assert rows.backfill().content["written"] == 1
    if path == "the seam":
        key = leases.lease_one(Submission.objects.get().pk, conf.load())
        result = results.Result(submission_id=Submission.objects.get().pk, key=key, reply=rows.RIGHT)
        assert results.store(result, conf.load()) == "stored"
    else:
        assert rows.Grader().grade(f"{rows.QUEUE}.shadow", rows.RIGHT) == 200
    assert no_courses == []
    detail = ExternalGraderDetail.objects.get()
    assert (detail.status, detail.num_failures, Score.objects.count()) == ("retired", 0, 1)


def test_the_learners_own_result_loads_the_course_and_fails_with_it(row, no_courses):
    """The contrast: the stand-in's receiver asks the modulestore as the platform's does, and catches as little."""
    write_for_real(row)
    assert rows.Grader().grade(rows.QUEUE, rows.RIGHT) == 500
    assert [str(course) for course in no_courses] == [rows.COURSE]
    assert not Score.objects.exists()


LEAKS = {
    "the learner's half is gone": lambda real: {"student_id": real.learner},
    "the problem's half is gone": lambda real: {"item_id": real.item_id},
    "both halves are gone": lambda real: {"student_id": real.learner, "item_id": real.item_id},
    "the whole fence is gone": lambda real: {
        "student_id": real.learner,
        "course_id": rows.COURSE,
        "item_id": real.item_id,
    },
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
        changed = (items if name in ("student_id", "course_id", "item_id") else details).update(**{name: value})
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


def test_what_was_looked_at_and_had_no_leak_is_not_looked_at_again_but_by_a_full_run(monkeypatch):
    """A leak is a new row, or somebody's own edit of an old one."""
    monkeypatch.setattr(reader, "_LATE_IDS", 0)
    rows.in_phase("shadow")
    rows.graded_pairs(2)
    leaks = [rows.reconcile()[0].content["fence_leaks"]]
    StudentItem.objects.create(student_id="shadow:" + rows.anonymous_id(8), item_id="c", course_id=rows.COURSE)
    leaks.append(rows.reconcile()[0].content["fence_leaks"])
    # One that was found is counted for as long as it is there.
    leaks.append(rows.reconcile()[0].content["fence_leaks"])
    StudentItem.objects.filter(item_id="c").delete()
    leaks += [rows.reconcile()[0].content["fence_leaks"] for _ in range(2)]
    StudentItem.objects.create(pk=-5, student_id=rows.anonymous_id(7), item_id="shadow:d", course_id=rows.COURSE)
    leaks.append(rows.reconcile()[0].content["fence_leaks"])
    leaks.append(rows.reconcile(full=True)[0].content["fence_leaks"])
    assert leaks == [0, 1, 1, 0, 0, 0, 1]


def test_a_leak_on_an_entry_makes_no_run_look_at_all_items_again(monkeypatch):
    """It is on record as a divergence: the items were looked at and had none."""
    monkeypatch.setattr(reader, "_LATE_IDS", 0)
    row = rows.legacy_row(7)
    rows.backfill()
    plant(LEAKS["the learner's key"], row)
    assert rows.reconcile()[0].content["fence_leaks"] == 1
    StudentItem.objects.create(pk=-5, student_id=rows.anonymous_id(8), item_id="shadow:d", course_id=rows.COURSE)
    assert rows.reconcile()[0].content["fence_leaks"] == 1
    assert rows.reconcile(full=True)[0].content["fence_leaks"] == 2
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
    assert cutover_gate.run_gate(rows.COURSE).content["verdict"] == Verdict.PASS
    plant(LEAKS["the learner's key"], pairs[40])
    rows.reconcile(full=True)
    gate = cutover_gate.run_gate(rows.COURSE)
    assert gate.content["verdict"] == Verdict.FAIL
    leak, where = gate.content["reasons"]
    assert "1 fence leak" in leak
    assert where == f"problem {rows.usage_key('0' * 32)}: 1 divergence in fence_leak"
    assert gate.exit_code == ExitCode.DIFFERENCES


@pytest.mark.parametrize("learner", [rows.anonymous_id(7), "shadow:" + rows.anonymous_id(7)])
def test_a_fenced_course_without_both_halves_is_a_leak(learner):
    rows.in_phase("shadow")
    item = {"course_id": f"shadow:{rows.COURSE}", "item_type": "problem", "item_id": rows.usage_key("a")}
    StudentItem.objects.create(student_id=learner, **item)
    StudentItem.objects.create(student_id="shadow:" + rows.anonymous_id(8), **item | {"item_id": "shadow:b"})
    assert rows.reconcile()[0].content["fence_leaks"] == 1


def of_before(learner: str) -> None:
    """Make a learner's shadow one that the release before has written: under the course's own id."""
    items = StudentItem.objects.filter(student_id=f"shadow:{learner}", course_id=f"shadow:{rows.COURSE}")
    assert items.update(course_id=rows.COURSE) == 1


def test_shadows_of_before_the_course_was_fenced_are_the_courses_still():
    """Graded, compared, counted with the new ones, and removed; nothing is said of a leak."""
    rows.in_phase("shadow")
    rows.graded_pairs(5)  # of learners 100 to 104
    waits = [rows.legacy_row(user) for user in (50, 51)]
    rows.backfill()
    for user in (50, 100, 101, 102):
        of_before(rows.anonymous_id(user))
    document, found = rows.reconcile()
    assert (document.content["equal"], document.content["fence_leaks"], found) == (5, 0, [])
    held = {(held.course, held.queue, held.real): held.rows for held in open_rows.all_rows(conf.load())}
    assert held == {(rows.COURSE, f"{rows.QUEUE}.shadow", False): 2}
    assert len(open_rows.in_flight_of_course(rows.COURSE, [f"{rows.QUEUE}.shadow"])) == 2
    ids = set(fingerprints.touched_since(rows.COURSE, waits[0].arrival_time - timedelta(days=1)))
    assert ids == set(Submission.objects.values_list("pk", flat=True))
    before = learners()
    assert rows.Grader().grade(f"{rows.QUEUE}.shadow", rows.RIGHT) == 200
    assert learners() == before
    assert removal.remove_shadows(rows.COURSE, rows.ignore) == 7
    assert not StudentItem.objects.exists()
