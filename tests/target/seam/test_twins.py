"""Shadows graded twice: a second grading that reaches nobody, touches nothing of the first, and is counted once."""

import dataclasses
import json
import os
import subprocess
import sys
import threading
from datetime import timedelta

import pytest
from django.core.files.base import ContentFile
from django.db import connections
from django.utils.timezone import now
from submissions.models import ExternalGraderDetail, Score, StudentItem, Submission, SubmissionFile, get_storage

from migration_shim import api, toggles
from migration_shim.comparison import twins
from migration_shim.conf import load, problems
from migration_shim.core.data import Authority, Grading, Leg, Move, PairStatus, Phase
from migration_shim.core.errors import Unfit
from migration_shim.core.identity import Placement, is_fenced, twin_placement
from migration_shim.core.noise import same_outcome, sample_end
from migration_shim.models import LedgerEntry
from migration_shim.reports import terminal
from migration_shim.target import removal
from migration_shim.target import twins as target_twins
from sandbox.databases import LEGACY_MEDIA, PROJECT_ROOT
from sandbox.lms.models import LearnerEffect
from tests.builders import rows
from tests.builders.rows import COURSE, RIGHT, WRONG, fresh  # noqa: F401
from tests.builders.watchers import COMMITTED, SHADOW, let_leases_end

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
HALF = '{"correct": true, "score": 0.5, "msg": "<p>half</p>"}'
INVALID = '{"correct": true, "score": 1}'
#: What a twin may change of its entry.
OWN = ("twin_submission_id", "twin_agrees", "twin_lease_key")


@pytest.fixture(autouse=True)
def in_shadow(shim):
    """A course in shadow, all of whose shadows are to be graded twice."""
    shim(TWIN_PERCENT=100)
    toggles.force_flags(COURSE, dual_write=True, target_primary=False)
    rows.in_phase("shadow")


def judge_and_write(check=toggles.new_work_cycle):
    check()
    twins.judge_and_write(COURSE, load(), check)


def noise(**options):
    return rows.reconcile(**options)[0].content["courses"][0]["noise"]


def twin_rows():
    """What the target holds of twins, told by their own name."""
    items = StudentItem.objects.filter(item_id__startswith="shadow:twin:")
    return ExternalGraderDetail.objects.filter(submission__student_item__in=items).order_by("submission_id")


def marks():
    """The Submission ids of twins that the ledger knows."""
    found = LedgerEntry.objects.exclude(twin_submission_id=None).values_list("twin_submission_id", flat=True)
    return sorted(found)


def no_twin_without_its_mark():
    assert sorted(twin_rows().values_list("submission_id", flat=True)) == marks()
    assert len(set(marks())) == len(marks())


def kept():
    """All of the ledger but what a twin may change."""
    fields = [field.attname for field in LedgerEntry._meta.concrete_fields if field.attname not in OWN]
    return list(LedgerEntry.objects.order_by("pk").values(*fields))


def pairs(number, **options):
    """So many submissions graded on both sides and compared, without a twin."""
    found = rows.graded_pairs(number, **options)
    LedgerEntry.objects.update(legacy_state="graded", target_state="graded", graded_pair=True, result=PairStatus.EQUAL)
    return found


# --- one submission, from the first grading to the second ---------------------------------------------------------


def test_a_graded_shadow_is_handed_out_again_as_it_was_and_reaches_nobody(watcher):
    key = "fedcba9876543210fedcba9876543210"
    path = LEGACY_MEDIA / rows.QUEUE / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"print()\n")
    sent = rows.legacy_row(7, seed=5, extra={"token": "t"}, files={"a.py": key})
    rows.backfill()
    path.unlink()
    first = watcher.pull(SHADOW)
    assert watcher.put(first["xqueue_header"], RIGHT) == (0, "")
    rows.change([sent], **rows.graded())
    document, _ = rows.reconcile()
    assert document.content["courses"][0]["noise"] == {"twins": 1, "judged": 0, "differ": 0}
    assert (document.content["equal"], document.content["waiting"], document.content["overdue"]) == (1, 0, 0)
    before, shadow = kept(), ExternalGraderDetail.objects.exclude(pk__in=twin_rows()).values().get()

    second = watcher.pull(SHADOW)

    assert second["xqueue_body"] == first["xqueue_body"] == json.loads(sent.xqueue_body)
    assert second["xqueue_files"] == first["xqueue_files"]
    assert second["xqueue_header"]["submission_id"] == marks()[0] != first["xqueue_header"]["submission_id"]
    assert watcher.put(second["xqueue_header"], WRONG) == (0, "")
    assert watcher.put(second["xqueue_header"], WRONG) == (0, "")
    assert watcher.put(second["xqueue_header"], RIGHT) == (1, "Incorrect key for submission")
    assert kept() == before
    assert ExternalGraderDetail.objects.exclude(pk__in=twin_rows()).values().get() == shadow
    document, found = rows.reconcile(full=True)
    content = document.content
    assert content["courses"][0]["noise"] == {"twins": 1, "judged": 1, "differ": 1}
    assert LedgerEntry.objects.get().twin_agrees is False
    assert (content["equal"], content["diverged"], content["fence_leaks"], found) == (1, 0, 0, [])
    assert "noise of the graders: 1 of 1 shadows graded twice, 1 differ" in terminal.render(content)
    assert not LearnerEffect.objects.exists()
    scored = Score.objects.values_list("student_item__student_id", "student_item__item_id")
    assert [is_fenced(*who) for who in scored] == [True, True]
    assert watcher.pull(SHADOW) is None
    assert watcher.pull() is None


def test_a_twin_has_a_place_of_its_own_and_is_no_duplicate(watcher):
    """Two attempts of one learner at one problem: their twins are two attempts of another StudentItem."""
    attempts = [rows.legacy_row(7, answer=f"x = {age}\n", age=timedelta(hours=age)) for age in (3, 2)]
    rows.backfill()
    for _ in attempts:
        assert watcher.grade(queue=SHADOW) == (0, "")
    for row, hours in zip(attempts, (2.5, 1.5), strict=True):
        rows.change([row], **rows.graded(ago=timedelta(hours=hours)))
    rows.reconcile()
    for _ in attempts:
        assert watcher.grade(queue=SHADOW) == (0, "")
    _, found = rows.reconcile(full=True)
    assert found == []
    (item,) = {row.submission.student_item for row in twin_rows()}
    learner, problem = rows.anonymous_id(7), rows.usage_key("a" * 32)
    assert (item.student_id, item.item_id) == (f"shadow:{learner}", f"shadow:twin:{problem}")
    assert sorted(row.submission.attempt_number for row in twin_rows()) == [1, 2]
    shadows = ExternalGraderDetail.objects.exclude(pk__in=twin_rows())
    assert sorted(row.submission.attempt_number for row in shadows) == [1, 2]
    assert {row.queue_name for row in twin_rows()} == {SHADOW}
    keys = set(LedgerEntry.objects.values_list("identity", flat=True))
    assert {row.queue_key for row in twin_rows()} == {f"shadow:twin:{identity}" for identity in keys}
    assert LedgerEntry.objects.filter(twin_agrees=True).count() == 2


def test_a_twin_whose_grader_died_is_handed_out_with_a_new_key(watcher):
    pairs(1)
    judge_and_write()
    dead = watcher.pull(SHADOW)["xqueue_header"]
    let_leases_end()
    alive = watcher.pull(SHADOW)["xqueue_header"]
    assert watcher.put(dead) == (1, "Incorrect key for submission")
    assert watcher.put(alive) == (0, "")
    judge_and_write()
    assert LedgerEntry.objects.get().twin_agrees is True
    assert LedgerEntry.objects.get().leases == 1


def test_what_came_from_elsewhere_than_the_seam_is_not_judged(watcher):
    """edx-submissions' own endpoint hands out a reduced payload: a difference would be no noise."""
    pairs(1)
    judge_and_write()
    twin = twin_rows().get()
    twin.update_status("pulled")
    assert watcher.put({"submission_id": twin.submission_id, "submission_key": twin.pullkey}, WRONG) == (0, "")
    assert noise() == {"twins": 1, "judged": 0, "differ": 0}


def test_what_was_handed_out_after_the_residue_was_dropped_is_not_judged(watcher):
    pairs(1)
    judge_and_write()
    LedgerEntry.objects.update(grader_payload=None, student_info="", purged_at=now())
    assert watcher.grade(WRONG, SHADOW) == (0, "")
    judge_and_write()
    assert LedgerEntry.objects.get().twin_agrees is None


def test_twins_that_nobody_grades_hold_up_nothing(watcher, shim):
    shim(LEASE_LIMIT=1)
    pairs(2)
    judge_and_write()
    assert watcher.pull(SHADOW) is not None
    let_leases_end()  # one dies with its grader, the other is never pulled
    watcher.pull(SHADOW)
    ExternalGraderDetail.objects.filter(pk__in=[row.pk for row in twin_rows()]).update(created_at="2020-01-01T00:00Z")
    content = rows.reconcile(full=True)[0].content
    assert (content["equal"], content["waiting"], content["overdue"], content["diverged"]) == (2, 0, 0, 0)
    assert content["courses"][0]["noise"] == {"twins": 2, "judged": 0, "differ": 0}
    evidence = api.gate(COURSE).content["evidence"]
    assert (evidence["overdue"], evidence["stuck"], evidence["problems"][0]["twins"]) == (0, 0, 0)


SAME = {
    "another message": (RIGHT, '{"correct": true, "score": 1.0, "msg": "<p>other</p>"}', True),
    "rounding error": ('{"correct": true, "score": 0.3, "msg": "m"}', HALF.replace("0.5", "0.30000000000000004"), True),
    "both invalid": (INVALID, "[", True),
    "correctness": (RIGHT, WRONG, False),
    "score": (RIGHT, HALF, False),
    "one invalid": (RIGHT, INVALID, False),
}


@pytest.mark.parametrize(("one", "other", "same"), SAME.values(), ids=SAME)
def test_outcomes_are_the_same_as_a_comparison_counts_them(one, other, same):
    assert same_outcome(one, other, now()) is same
    assert same_outcome(other, one, now()) is same


# --- which --------------------------------------------------------------------------------------------------------


def test_the_sample_is_a_share_by_hash_and_grows_with_the_percentage(shim):
    pairs(24)
    identities = dict(LedgerEntry.objects.values_list("identity", "pk"))
    before: set[int] = set()
    for percent in (0, 20, 60, 100):
        shim(TWIN_PERCENT=percent)
        judge_and_write()
        judge_and_write()
        chosen = set(LedgerEntry.objects.exclude(twin_submission_id=None).values_list("pk", flat=True))
        assert chosen == {pk for digest, pk in identities.items() if int(digest[:16], 16) < percent / 100 * 2**64}
        assert chosen >= before
        before = chosen
        no_twin_without_its_mark()
    assert len(before) == 24


def test_the_end_of_the_sample_sorts_as_numbers_do():
    assert [sample_end(percent) for percent in (25, 50, 100)] == ["4" + "0" * 15, "8" + "0" * 15, "g"]
    assert sample_end(100) > "f" * 64
    assert not sample_end(1e-18) > "0" * 64


@pytest.mark.parametrize("value", [-1, 101, float("nan"), float("inf"), "5", True, None])
def test_a_percentage_that_is_none_is_refused(shim, value):
    shim(TWIN_PERCENT=value)
    assert any("TWIN_PERCENT" in problem for problem in problems())


NEVER = {
    "history": {"history": True},
    "echoed": {"echo": True},
    "pulled elsewhere": {"leases": 0},
    "superseded": {"superseded_at": "2026-11-22T00:00Z"},
    "on the way": {"move": Move.HELD},
    "handed back": {"move": Move.RETURNED},
    "the target's": {"authority": Authority.TARGET},
    "of another phase": {"phase": Phase.LIVE},
    "no copy": {"target_leg": Leg.FAILED},
    "copy removed": {"target_submission_id": None},
    "copy gone": {"target_submission_id": 10**9},
    "not graded on the target": {"target_state": "queued"},
    "not graded on legacy": {"legacy_state": "queued"},
    "no pair": {"graded_pair": False},
    "twin removed": {"twin_agrees": True},
    "residue dropped": {"purged_at": "2026-11-22T00:00Z"},
}


@pytest.mark.parametrize("columns", NEVER.values(), ids=NEVER)
def test_no_twin_of_what_is_no_finished_pair_of_shadow(columns):
    pairs(2)
    one, other = LedgerEntry.objects.order_by("identity").values_list("pk", flat=True)
    LedgerEntry.objects.filter(pk=one).update(**columns)
    judge_and_write()
    assert LedgerEntry.objects.get(pk=other).twin_submission_id in marks()
    assert len(marks()) == 1
    no_twin_without_its_mark()


@pytest.mark.parametrize("phase", [Phase.LEGACY, Phase.LIVE, Phase.COMPLETE])
def test_a_course_that_is_not_in_shadow_gets_no_twin(phase):
    pairs(1)
    rows.in_phase(phase.value)
    flags = {Phase.LEGACY: (False, False), Phase.LIVE: (True, True), Phase.COMPLETE: (False, True)}
    toggles.force_flags(COURSE, *flags[phase])
    judge_and_write()
    assert marks() == []
    assert not twin_rows().exists()


def test_a_course_that_leaves_shadow_gets_no_further_twin(monkeypatch):
    """Also when it leaves between the look at the phase and the write."""
    pairs(4)
    prepare, seen = target_twins.prepare, []

    def prepared(*arguments):
        seen.append(arguments)
        if len(seen) == 2:
            toggles.force_flags(COURSE, dual_write=True, target_primary=True)
            rows.in_phase("live")
        return prepare(*arguments)

    monkeypatch.setattr(target_twins, "prepare", prepared)
    judge_and_write()
    assert (len(seen), len(marks())) == (2, 1)
    no_twin_without_its_mark()


def test_the_kill_switch_stops_it(monkeypatch):
    pairs(4)
    monkeypatch.setattr("migration_shim.toggles.kill_switch_on", lambda: len(marks()) == 2)
    document, _ = rows.reconcile()
    assert not document.content["complete"]
    assert len(marks()) == 2
    monkeypatch.undo()
    assert noise() == {"twins": 4, "judged": 0, "differ": 0}


def test_echo_runs_and_queues_with_side_effects_have_none(shim):
    pairs(1)
    shim(SIDE_EFFECT_QUEUES=[rows.QUEUE])
    judge_and_write()
    shim(SIDE_EFFECT_QUEUES=[])
    rows.reconcile(grading=Grading.ECHO)
    assert marks() == []


def test_no_more_wait_for_a_grader_than_a_few(watcher, monkeypatch):
    monkeypatch.setattr(twins, "AT_ONCE", 3)
    monkeypatch.setattr(twins, "PAGE", 2)
    pairs(7)
    for expected in (3, 3):
        judge_and_write()
        assert len(marks()) == expected
    for _ in range(2):
        assert watcher.grade(queue=SHADOW) == (0, "")
    judge_and_write()
    assert len(marks()) == 5
    assert noise() == {"twins": 5, "judged": 2, "differ": 0}


def test_what_cannot_be_written_does_not_keep_the_others_from_it():
    pairs(3)
    first = LedgerEntry.objects.order_by("identity").first()
    detail = ExternalGraderDetail.objects.get(submission_id=first.target_submission_id)
    SubmissionFile.objects.create(external_grader=detail, file="exu-py1/gone", original_filename="a.py")
    second = LedgerEntry.objects.order_by("identity")[1]
    item = StudentItem.objects.get(submission=second.target_submission_id)
    StudentItem.objects.filter(pk=item.pk).update(student_id=rows.anonymous_id(9))  # half a fence
    judge_and_write()
    assert len(marks()) == 1
    no_twin_without_its_mark()


def test_a_place_that_the_target_cannot_hold_is_refused_and_never_cut():
    place = Placement(
        student_id="shadow:" + "1" * 32,
        course_id=COURSE,
        item_id="shadow:" + "b" * 243,
        item_type="problem",
        queue_name=SHADOW,
        queue_key="shadow:" + "c" * 64,
    )
    assert len(twin_placement(place).item_id) == 255
    for bad in ({"item_id": place.item_id + "b"}, {"item_id": "b"}, {"student_id": "d" * 40}, {"queue_key": "k"}):
        with pytest.raises(Unfit):
            twin_placement(dataclasses.replace(place, **bad))


# --- removed, killed, raced ---------------------------------------------------------------------------------------


def test_twins_are_removed_with_the_shadows():
    pairs(2)
    name = get_storage().save("exu-py1/shared", ContentFile(b"1"))
    detail = ExternalGraderDetail.objects.order_by("pk").first()
    SubmissionFile.objects.create(external_grader=detail, file=name, original_filename="a.py")
    judge_and_write()
    assert SubmissionFile.objects.filter(external_grader__in=twin_rows()).count() == 1
    assert removal.count_shadows(COURSE) == 4
    assert removal.remove_shadows(COURSE, rows.ignore) == 4
    assert (marks(), StudentItem.objects.count(), SubmissionFile.objects.count()) == ([], 0, 0)
    get_storage().delete(name)


KILLED = """
import os, django
django.setup()
from migration_shim.comparison import twins
from migration_shim.conf import load
from migration_shim.target import twins as target
write, written = target.write, []
def dying(twin):
    written.append(write(twin))
    if len(written) == 2:
        os._exit(9)
    return written[-1]
target.write = dying
import dataclasses
twins.judge_and_write("{course}", dataclasses.replace(load(), twin_percent=100), lambda: None)
"""


@COMMITTED
def test_a_run_that_is_killed_leaves_no_twin_without_its_mark():
    pairs(4)
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "sandbox.lms.settings", "PYTHONPATH": str(PROJECT_ROOT)}
    child = subprocess.run(
        [sys.executable, "-c", KILLED.format(course=COURSE)], env=environment, cwd=PROJECT_ROOT, check=False
    )
    assert child.returncode == 9
    assert len(marks()) == 1
    no_twin_without_its_mark()
    judge_and_write()
    assert len(marks()) == 4
    no_twin_without_its_mark()


@COMMITTED
def test_of_several_runs_at_once_one_writes_each_twin(monkeypatch):
    pairs(12)
    barrier, failed = threading.Barrier(4), []
    prepare, here = target_twins.prepare, threading.local()

    def prepared(*arguments):
        twin = prepare(*arguments)
        if not hasattr(here, "met"):  # the first of each run: none of them has seen a twin
            here.met = barrier.wait(timeout=60)
        return twin

    monkeypatch.setattr(target_twins, "prepare", prepared)

    def work():
        try:
            twins.judge_and_write(COURSE, load(), toggles.new_work_cycle)
        except Exception as error:  # told by the test, not by a thread that nobody hears
            failed.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    monkeypatch.undo()
    assert failed == []
    judge_and_write()  # what one passed over because another held it
    assert len(marks()) == 12
    assert Submission.objects.filter(student_item__item_id__startswith="shadow:twin:").count() == 12
    no_twin_without_its_mark()


# --- what the gate makes of it ------------------------------------------------------------------------------------


def test_the_gate_works_on_the_difference_of_the_two_rates(shim):
    """4 of 100 answers differ from legacy's, 5 of 100 from the target's own: nothing is wrong with the target."""
    shim(GATE_THRESHOLD=0.05)
    rows.entries(1440)
    rows.entries(60, result=PairStatus.DIVERGED, divergences="correctness")
    rows.reconciled()
    rows.preflighted()
    alone = api.gate(COURSE).content
    assert alone["verdict"] == "INCONCLUSIVE"
    ids = list(LedgerEntry.objects.order_by("pk").values_list("pk", flat=True))
    LedgerEntry.objects.update(twin_agrees=True)
    LedgerEntry.objects.filter(pk__in=ids[::20]).update(twin_agrees=False)
    found = api.gate(COURSE).content
    assert found["verdict"] == "PASS"
    assert any("is allowed for random graders" in note for note in found["notes"])
    (problem,) = found["evidence"]["problems"]
    assert (problem["twins"], problem["twins_differ"]) == (1500, 75)
    assert any("noise: 75 of 1500 shadows graded twice disagree" in line for line in found["evidence"]["explained"])


def test_both_rates_are_over_the_same_pairs():
    rows.entries(10, twin_agrees=True)
    rows.entries(3, result=PairStatus.KNOWN, known="1", twin_agrees=False)
    rows.entries(2, graded_pair=False, result=PairStatus.WAITING, twin_agrees=False)
    rows.reconciled()
    (problem,) = api.gate(COURSE).content["evidence"]["problems"]
    assert (problem["graded_pairs"], problem["twins"], problem["twins_differ"]) == (10, 10, 0)
