"""The comparison run over both databases: every outcome, every count, and what a stopped run is worth."""

import json
import logging
from collections import Counter
from datetime import timedelta

import pytest
from django.db import connections
from django.utils.timezone import now
from submissions.models import ExternalGraderDetail

from migration_shim import api, reconcile
from migration_shim.comparison import candidates
from migration_shim.core.data import ExitCode, PairStatus, Verdict
from migration_shim.core.errors import RunLocked
from migration_shim.cutover import gate as cutover_gate
from migration_shim.models import LedgerEntry, Run
from sandbox import capture
from tests.builders import rows
from tests.builders.rows import COURSE, RIGHT, WRONG, fresh, graded  # noqa: F401

BOTH = ["default", "xqueue"]
pytestmark = pytest.mark.django_db(databases=BOTH)
shared = pytest.mark.django_db(databases=BOTH, transaction=True)

HALF = '{"correct": true, "score": 0.5, "msg": "<p>ok</p>"}'
HALF_AGAIN = '{"msg": "<b>other words</b>", "score": 0.50, "correct": true}'
UNSURE = '{"correct": false, "score": 1, "msg": "<p>ok</p>"}'
INVALID = '{"correct": true, "score": 1}'
NOT_JSON = "<html>"
RAISES = '{"correct": true, "score": 1, "msg": 5}'

FINAL = {
    # what legacy's grader said, what the target's said: the classes of divergence
    "equal": (RIGHT, RIGHT, []),
    "equal but for the message": (HALF, HALF_AGAIN, []),
    "both invalid": (NOT_JSON, INVALID, []),
    "both raise": (RAISES, RAISES, []),
    "correctness": (RIGHT, UNSURE, ["correctness"]),
    "score": (RIGHT, HALF, ["score"]),
    "correctness and score": (RIGHT, WRONG, ["correctness", "score"]),
    "invalid on one side": (RIGHT, INVALID, ["correctness"]),
    "raises on one side": (RAISES, RIGHT, ["correctness"]),
}


@pytest.mark.parametrize(("legacy", "target", "classes"), FINAL.values(), ids=FINAL)
def test_two_final_outcomes(legacy, target, classes):
    row = rows.legacy_row()
    rows.backfill()
    rows.change([row], **graded(legacy))
    rows.grade_target(target)
    document, found = rows.reconcile()
    content, entry = document.content, LedgerEntry.objects.get()
    assert sorted(item["class"] for item in found) == classes
    assert {name: number for name, number in content["classes"].items() if number} == dict.fromkeys(classes, 1)
    assert (content["equal"], content["diverged"]) == ((0, 1) if classes else (1, 0))
    assert entry.result == (PairStatus.DIVERGED if classes else PairStatus.EQUAL)
    assert entry.divergences == ",".join(classes)
    assert entry.graded_pair
    assert document.exit_code == (ExitCode.DIFFERENCES if classes else ExitCode.OK)


def test_given_up_on_legacy_and_graded_on_the_target_differ_in_state():
    row = rows.legacy_row()
    rows.backfill()
    rows.change([row], **(graded() | {"lms_ack": False, "num_failures": 4}))
    rows.grade_target()
    document, found = rows.reconcile()
    assert [item["class"] for item in found] == ["state"]
    assert "given_up" in found[0]["what"]
    assert document.content["classes"]["state"] == 1


UNFINISHED = {
    # columns of the legacy row, whether the target has graded it: the status
    "neither": ({}, False, "waiting"),
    "legacy pulled": ({"pull_time": now(), "pullkey": "x"}, False, "waiting"),
    "legacy a minute ago": (graded(ago=timedelta(minutes=1)), False, "waiting"),
    "legacy two hours ago": (graded(ago=timedelta(hours=2)), False, "overdue"),
    "target two hours ago": ({}, True, "overdue"),
}


@pytest.mark.parametrize(("columns", "target", "status"), UNFINISHED.values(), ids=UNFINISHED)
def test_unfinished_work_waits_and_then_is_overdue(columns, target, status):
    row = rows.legacy_row(age=timedelta(hours=3))
    rows.backfill()
    rows.change([row], **columns)
    if target:
        rows.grade_target()
    document, found = rows.reconcile()
    assert document.content[status] == document.content["compared"] == 1
    assert document.content["diverged"] == 0
    assert found == []
    entry = LedgerEntry.objects.get()
    assert (entry.result, entry.graded_pair) == (status, False)
    assert document.exit_code == (ExitCode.DIFFERENCES if status == "overdue" else ExitCode.OK)


@pytest.mark.parametrize(("response", "known"), [(2, "superseded_on_legacy_only"), (3, "collided_on_legacy_only")])
def test_what_legacy_alone_retired_is_a_known_difference(response, known):
    """Superseded by an attempt at the same input, or collided with one at another: the callback is the same."""
    older = rows.legacy_row(answer="x = 1", age=timedelta(minutes=50))
    rows.legacy_row(answer="x = 2", response=response, age=timedelta(minutes=40))
    rows.backfill()
    rows.change([older], retired=True)
    document, found = rows.reconcile()
    assert document.content["known_differences"] == {known: 1}
    assert document.content["waiting"] == 1
    assert found == []
    assert LedgerEntry.objects.get(legacy_id=older.pk).known == known
    assert document.exit_code == ExitCode.OK


def test_an_entry_is_compared_anew_when_its_rows_change():
    row = rows.legacy_row()
    rows.backfill()
    results = [rows.reconcile()[0].content["waiting"]]
    rows.change([row], **graded(RIGHT))
    rows.grade_target(WRONG)
    results.append(rows.reconcile()[0].content["diverged"])
    rows.grade_target(RIGHT)  # long after it was settled, and at no time that tells
    results.append(rows.reconcile(full=True)[0].content["equal"])
    assert results == [1, 1, 1]
    entry = LedgerEntry.objects.get()
    assert (entry.result, entry.divergences) == (PairStatus.EQUAL, "")


def test_the_counts_are_those_of_the_databases(monkeypatch):
    """Against an oracle in SQL, over captured rows, in pages smaller than the course."""
    monkeypatch.setattr(candidates, "PAGE", 7)
    capture.load_capture(rows.DATA)
    rows.backfill(courses=frozenset([COURSE]))
    change = "UPDATE queue_submission SET lms_ack = 1, retired = 1, return_time = arrival_time, grader_reply = %s "
    with connections["xqueue"].cursor() as cursor:
        for rest, reply in enumerate((RIGHT, WRONG, HALF)):
            cursor.execute(
                f"{change} WHERE queue_name = %s AND retired = 0 AND id %% 4 = %s", [reply, rows.QUEUE, rest]
            )
    ids = dict(LedgerEntry.objects.values_list("target_submission_id", "legacy_id"))
    for detail in ExternalGraderDetail.objects.all():
        rows.grade_target(RIGHT if ids[detail.submission_id] % 3 else WRONG, pk=detail.pk)
    document, found = rows.reconcile()
    with connections["xqueue"].cursor() as cursor:

        def count(condition):
            cursor.execute(f"SELECT COUNT(*) FROM queue_submission WHERE id IN ({marks}) AND {condition}", list(known))
            return cursor.fetchone()[0]

        known = set(ids.values())
        marks = ", ".join(["%s"] * len(known))
        false_here, false_there = "id %% 4 = 1", "id %% 3 = 0"
        both = "grader_reply <> ''"
        correctness = count(f"{both} AND ({false_here}) <> ({false_there})")
        half = "id %% 4 = 2"
        score = count(f"{both} AND ({half} OR ({false_here}) <> ({false_there}))")
        final = count(both)
        diverged = score  # whatever differs in correctness differs in score too
        open_rows = count("retired = 0")
    content = document.content
    assert content["of"] == content["compared"] == 74
    assert (content["classes"]["correctness"], content["classes"]["score"]) == (correctness, score)
    assert (content["equal"], content["diverged"]) == (final - diverged, diverged)
    assert content["waiting"] + content["overdue"] == open_rows
    assert min(correctness, score - correctness, final - diverged, open_rows) > 5
    assert Counter(item["class"] for item in found) == {"correctness": correctness, "score": score}
    assert sum(cohort["pairs"] for cohort in content["cohorts"]) == 74
    assert len({cohort["problem"] for cohort in content["cohorts"]}) == len(content["cohorts"]) == 6
    for name in ("equal", "diverged", "waiting", "overdue"):
        assert sum(cohort.get(name, 0) for cohort in content["cohorts"]) == content[name]


def test_history_is_counted_and_not_compared():
    rows.legacy_row(1, **graded())
    rows.legacy_row(2)
    rows.backfill(history=True)
    content = rows.reconcile()[0].content
    assert (content["of"], content["compared"]) == (2, 1)


def test_a_row_that_is_alive_on_legacy_while_the_target_is_authoritative_is_counted():
    rows.legacy_row()
    rows.backfill()
    LedgerEntry.objects.update(authority="target", phase="live")
    document, _ = rows.reconcile()
    assert document.content["double_authority"] == 1
    assert document.exit_code & ExitCode.DIFFERENCES


def test_courses_have_runs_and_documents_of_their_own():
    other = "course-v1:ExU+ALG2+26T1"
    rows.legacy_row(1)
    rows.legacy_row(2, course=other)
    rows.backfill()
    document, _ = rows.reconcile(COURSE, other)
    assert [course["course"] for course in document.content["courses"]] == [COURSE, other]
    assert [course["of"] for course in document.content["courses"]] == [1, 1]
    assert document.content["of"] == 2
    for course in document.content["courses"]:
        run = Run.objects.get(kind="reconcile", scope=course["course"])
        assert run.complete
        assert run.document == json.loads(json.dumps(course | {"on_record": {}}))


def test_nothing_of_a_learner_is_in_a_report_or_a_log(caplog):
    caplog.set_level(logging.DEBUG)
    row = rows.legacy_row(7, answer="hush = 1")
    rows.backfill()
    rows.change([row], **graded('{"correct": true, "score": 1, "msg": "<p>hush</p>"}'))
    rows.grade_target(WRONG)
    document, found = rows.reconcile()
    assert len(found) == 2
    key = json.loads(row.xqueue_header)["lms_key"]
    logged = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("migration_shim"))
    text = json.dumps([document.content, found]) + logged
    for secret in (rows.anonymous_id(7), key, "hush", "/xqueue/7/"):
        assert secret not in text
    assert len({item["learner"] for item in found}) == 1


def test_a_learner_has_one_name_in_every_report(settings):
    names = {reconcile.keyed_hash(rows.anonymous_id(user)) for user in range(50)}
    assert len(names) == 50
    assert reconcile.keyed_hash(rows.anonymous_id(3)) in names
    settings.SECRET_KEY = "another installation"
    assert reconcile.keyed_hash(rows.anonymous_id(3)) not in names


# Stopped


@pytest.fixture
def open_gate(settings):
    """A course whose gate is open, as long as its last reconcile is evidence."""
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"GATE_THRESHOLD": 0.05}
    rows.in_phase("shadow")
    rows.graded_pairs(90)
    rows.preflighted()
    rows.reconcile()
    assert cutover_gate.run_gate(COURSE).content["verdict"] == Verdict.PASS


@shared
@pytest.mark.parametrize("at_once", [True, False])
def test_a_run_that_the_kill_switch_stopped_is_no_evidence(open_gate, monkeypatch, at_once):
    monkeypatch.setattr(candidates, "PAGE", 20)
    seen = []

    def flip(done, total):
        seen.append(done)
        assert rows.manage("waffle_switch", "migration_shim.kill_switch", "on", "--create").returncode == 0

    if at_once:
        flip(0, 0)
    document = api.reconcile([COURSE], flip if not at_once else rows.ignore, lambda divergence: None, full=not at_once)
    assert document.content["complete"] is False
    assert document.exit_code & ExitCode.STOPPED
    assert seen == ([0] if at_once else [20])
    assert document.content["looked_at"] == (0 if at_once else 20)
    gate = cutover_gate.run_gate(COURSE)
    assert gate.content["verdict"] == Verdict.INCONCLUSIVE
    assert "the last reconcile did not finish" in gate.content["reasons"]
    assert gate.exit_code == ExitCode.DIFFERENCES | ExitCode.STALE


@shared
def test_the_kill_switch_stops_the_linking_too():
    rows.in_phase("shadow")
    rows.legacy_row()
    assert rows.manage("waffle_switch", "migration_shim.kill_switch", "on", "--create").returncode == 0
    document, _ = rows.reconcile()
    assert not LedgerEntry.objects.exists()
    assert document.content["complete"] is False
    assert not Run.objects.get().complete


def test_a_run_that_fails_is_no_evidence(open_gate, monkeypatch):
    def fail(*args):
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk"):
        api.reconcile([COURSE], fail, lambda divergence: None, full=True)
    run = Run.objects.filter(kind="reconcile").latest("id")
    assert run.finished_at is not None
    assert not run.complete
    assert cutover_gate.run_gate(COURSE).content["verdict"] == Verdict.INCONCLUSIVE


def test_a_second_run_over_a_course_is_refused_while_the_first_is_at_work():
    run = Run.objects.create(kind="reconcile", scope=COURSE)
    with pytest.raises(RunLocked, match=f"reconcile run {run.pk}"):
        rows.reconcile()
    rows.reconcile("course-v1:ExU+ALG2+26T1")
    Run.objects.filter(pk=run.pk).update(heartbeat_at=now() - timedelta(seconds=121))
    rows.reconcile()
