"""What no override passes, a PASS does not pass: its evidence may be hours old, and the step looks for itself."""

from unittest import mock

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from submissions.models import ExternalGraderDetail, StudentItem

from migration_shim import api, toggles
from migration_shim.core.data import ExitCode, Phase
from migration_shim.cutover import invariants
from migration_shim.ledger import recount
from migration_shim.models import CoursePhase, LedgerEntry, Run
from migration_shim.reports import terminal_cutover
from migration_shim.target import open_rows, reader
from tests.builders import changes, rows
from tests.builders.rows import COURSE, QUEUE, entries, fresh  # noqa: F401
from tests.cutover.test_overrides_leaks import (
    LEAKS,
    finished_long_ago,
    on_the_real_queue,
    plans,
    rows_read,
    without_a_fence,
)

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"], transaction=True)
OTHER = "course-v1:ExU+PY2+2026"


@pytest.fixture(autouse=True)
def three_shadows():
    """A course with a PASS, and three submissions that arrived after its last reconcile."""
    rows.in_phase("shadow")
    toggles.force_flags(COURSE, True, False)
    entries(449)
    rows.reconciled()
    rows.preflighted()
    made = [rows.legacy_row(user) for user in (7, 8, 9)]
    rows.backfill()
    return made


def step(*, execute=True):
    toggles.new_work_cycle()
    return api.cutover(COURSE, Phase.LIVE, reason="r", execute=execute, user="ops", login=None)


def detail(row):
    return ExternalGraderDetail.objects.filter(submission_id=changes.entry_of(row).target_submission_id)


def on_the_queue_of_another_course(row):
    """One that no submission of this course ever named."""
    other = rows.legacy_row(11, course=OTHER, queue="maths")
    rows.backfill(courses=frozenset([OTHER]))
    assert changes.detail_of(other).queue_name == "maths.shadow"
    assert detail(row).update(queue_name="maths") == 1


def on_a_queue_that_nobody_knows(row):
    assert detail(row).update(queue_name="mathematics") == 1


def on_the_queue_of_another_course_without_any_part_of_the_fence(row):
    entry = changes.entry_of(row)
    own = {"student_id": entry.learner, "course_id": COURSE, "item_id": entry.item_id}
    assert StudentItem.objects.filter(submission=entry.target_submission_id).update(**own) == 1
    on_the_queue_of_another_course(row)


ELSEWHERE = [
    on_the_queue_of_another_course,
    on_a_queue_that_nobody_knows,
    on_the_queue_of_another_course_without_any_part_of_the_fence,
]


def test_a_pass_takes_the_step_where_nothing_is_found():
    document = step()
    assert (document.content["verdict"], document.content["executed"]) == ("PASS", True)


@pytest.mark.parametrize("leak", [*LEAKS, *ELSEWHERE])
@pytest.mark.parametrize("execute", [False, True])
def test_a_pass_does_not_take_a_course_past_a_leak(leak, execute, three_shadows):
    leak(three_shadows[1])
    document = step(execute=execute)
    assert (document.content["verdict"], document.content["executed"]) == ("PASS", False)
    assert document.exit_code == ExitCode.DIFFERENCES
    [said] = document.content["reasons"]
    assert "has 1 fence leak " in said and "See the runbook, 'Fence leak'" in said
    assert CoursePhase.objects.get(course_id=COURSE).phase == Phase.SHADOW


def test_a_refusal_though_the_gate_says_pass_names_what_comes_next(three_shadows):
    """And not the gate, which has nothing against the step."""
    on_the_real_queue(three_shadows[1])
    document = step()
    assert document.content["next"] == [f"xqueue_reconcile --course {COURSE} --divergences leaks.jsonl"]
    assert terminal_cutover.cutover(document.content)[-1] == f"Next: {document.content['next'][0]}"


@pytest.mark.parametrize(
    ("check", "number", "command"),
    [
        ("wrong_side_count", 1, "xqueue_backfill --mode handoff --course {} --execute"),
        ("lost_count", 1, "xqueue_reconcile --course {} --divergences lost.jsonl"),
        ("fence_leak_count", None, "xqueue_preflight --course {}"),
        ("double_authority_count", None, "xqueue_reconcile --course {}"),
        ("double_authority_count", 1, "xqueue_reconcile --course {} --divergences double.jsonl"),
        ("learner_states_unread", True, "xqueue_reconcile --course {}"),
    ],
)
def test_each_cause_has_a_way_of_its_own(check, number, command, monkeypatch):
    monkeypatch.setattr(invariants, check, lambda course_id: number)
    assert step().content["next"] == [command.format(COURSE)]


def test_so_have_counters_that_differ_and_a_gate_that_does_not_pass(monkeypatch):
    monkeypatch.setattr(recount, "difference", lambda course_id: mock.Mock(number=2))
    assert step().content["next"] == [f"xqueue_reconcile --course {COURSE} --full"]
    Run.objects.all().delete()
    assert step().content["next"] == [
        f"xqueue_gate --course {COURSE} --explain",
        f"xqueue_reconcile --course {COURSE} --full",
    ]


def test_another_courses_leak_is_none_of_this_one(three_shadows):
    on_the_queue_of_another_course(three_shadows[1])
    assert (invariants.fence_leak_count(COURSE), invariants.fence_leak_count(OTHER)) == (1, 0)
    assert detail(three_shadows[1]).update(queue_name=f"{QUEUE}.shadow") == 1
    assert step().content["executed"]


def test_a_copy_on_the_shadows_of_another_course_is_left_to_the_comparison(three_shadows):
    assert detail(three_shadows[1]).update(queue_name="maths.shadow") == 1
    assert invariants.fence_leak_count(COURSE) == 0


def test_copies_from_before_the_suffix_was_changed_are_none(three_shadows, settings):
    """A reconcile calls them none either, and no cure would end them."""
    old = {"SHADOW_QUEUE_SUFFIX": "-copies"}
    settings.MIGRATION_SHIM = {**settings.MIGRATION_SHIM, **old}
    assert invariants.fence_leak_count(COURSE) == invariants.current_fence_leak_count(COURSE) == 0
    without_a_fence(three_shadows[1])
    assert invariants.fence_leak_count(COURSE) == 1


def test_a_queue_of_learners_whose_name_only_begins_alike_is_none_of_copies(three_shadows):
    other = rows.legacy_row(11, course=OTHER, queue=f"{QUEUE}-advanced")
    rows.backfill(courses=frozenset([OTHER]))
    rows.reconcile(OTHER)
    assert changes.entry_of(other).bucket_id is not None
    assert detail(three_shadows[1]).update(queue_name=f"{QUEUE}-advanced") == 1
    assert invariants.fence_leak_count(COURSE) == 1


def test_it_is_refused_where_legacy_cannot_be_asked(monkeypatch):
    monkeypatch.setattr(invariants, "fence_leak_count", lambda course_id: None)
    document = step()
    assert not document.content["executed"] and "XQueue's database does not answer" in document.content["reasons"][0]


def test_the_same_is_asked_of_the_next_step(three_shadows):
    assert step().content["executed"]
    LedgerEntry.objects.exclude(legacy_id__in=[row.pk for row in three_shadows]).update(authority="target")
    rows.reconciled()
    rows.preflighted()
    on_the_real_queue(three_shadows[1])
    toggles.new_work_cycle()
    document = api.cutover(COURSE, Phase.COMPLETE, reason="r", execute=True, user="ops", login=None)
    assert not document.content["executed"] and "1 fence leak " in " ".join(document.content["reasons"])


def look():
    assert invariants.fence_leak_count(COURSE) == 1


def test_it_asks_few_statements_however_many_queues_there_are(three_shadows):
    on_the_queue_of_another_course(three_shadows[1])

    def statements():
        with CaptureQueriesContext(connection) as captured:
            look()
        return len(captured)

    few = statements()
    for number in range(20):
        other = rows.legacy_row(100 + number, course=OTHER, queue=f"q{number}")
        rows.backfill(courses=frozenset([OTHER]))
        assert detail(other).update(queue_name=f"q{number}") == 1
    assert statements() == few <= 14


@pytest.mark.skipif(connection.vendor != "mysql", reason="SQLite does not count the rows that it reads")
def test_what_it_reads_of_other_queues_does_not_grow_with_what_is_over(three_shadows):
    on_the_queue_of_another_course(three_shadows[1])

    def elsewhere():
        assert len(reader.rows_on_queues(COURSE, open_rows.queue_names(), since=None)) == 3

    finished_long_ago(500)
    few = rows_read(elsewhere)
    finished_long_ago(8000)
    many = rows_read(elsewhere)
    assert few > 3 and many <= few + 20, (few, many)
    assert {kind for _, kind, _ in plans(elsewhere)} <= {"range", "eq_ref", "ref", "const"}
