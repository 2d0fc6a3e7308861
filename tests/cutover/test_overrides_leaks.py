"""No override passes a copy on the wrong queue or without its fence, also where no reconcile has seen it yet."""

from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import Max
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now
from submissions.models import ExternalGraderDetail, StudentItem, Submission

from migration_shim import api, toggles
from migration_shim.comparison import scan
from migration_shim.core.data import DivergenceClass, Phase
from migration_shim.core.errors import IllegalStep, ShimError
from migration_shim.cutover import invariants
from migration_shim.cutover.overrides import Request
from migration_shim.models import CoursePhase, GateOverride, LedgerEntry
from migration_shim.target import reader
from tests.builders import changes, rows
from tests.builders.overrides import step_past_gate
from tests.builders.rows import COURSE, QUEUE, fresh  # noqa: F401

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"], transaction=True)


@pytest.fixture(autouse=True)
def three_shadows():
    rows.in_phase("shadow")
    toggles.force_flags(COURSE, True, False)
    made = [rows.legacy_row(user) for user in (7, 8, 9)]
    rows.backfill()
    return made


def entry(row):
    return LedgerEntry.objects.get(legacy_id=row.pk)


def detail(row):
    return ExternalGraderDetail.objects.filter(submission_id=entry(row).target_submission_id)


def on_the_real_queue(row):
    assert detail(row).update(queue_name=QUEUE) == 1


def without_a_fence(row):
    """Under the learner's own identity, on the shadows' queue."""
    items = StudentItem.objects.filter(submission=entry(row).target_submission_id)
    assert items.update(student_id=entry(row).learner, course_id=COURSE, item_id=entry(row).item_id) == 1


def without_any_part(row):
    without_a_fence(row)
    on_the_real_queue(row)


LEAKS = [on_the_real_queue, without_a_fence, without_any_part]


def refused(number=1, to=Phase.LIVE):
    toggles.new_work_cycle()
    leaks = "1 fence leak " if number == 1 else f"{number} fence leaks "
    before = CoursePhase.objects.get().phase, GateOverride.objects.count()
    with pytest.raises(IllegalStep, match=f"{leaks}.*no override passes that"):
        step_past_gate(COURSE, to)
    # The step itself looks, under its lock, and not only the plan.
    request = Request(causes=frozenset(), confirmed=COURSE)
    with pytest.raises(IllegalStep, match=f"{leaks}.*no override passes that"):
        api.cutover(COURSE, to, reason="r", execute=True, user="ops", login="ada", override=request)
    assert (CoursePhase.objects.get().phase, GateOverride.objects.count()) == before


def test_without_a_leak_it_passes():
    assert invariants.fence_leak_count(COURSE) == 0
    assert step_past_gate(COURSE, Phase.LIVE).content["executed"]


@pytest.mark.parametrize("leak", LEAKS)
@pytest.mark.parametrize("reconciled", ["never", "before", "since"])
def test_an_override_sees_the_leak_itself(leak, reconciled, three_shadows):
    if reconciled == "before":
        rows.reconcile()
    leak(three_shadows[1])
    if reconciled == "since":
        assert rows.reconcile()[0].content["fence_leaks"] == 1
    refused()


@pytest.mark.parametrize("leak", LEAKS)
def test_one_that_was_graded_there_is_seen_until_a_reconcile_has_looked_at_it(leak, three_shadows):
    rows.reconcile()
    leak(three_shadows[1])
    changes.target_graded(three_shadows[1])
    assert detail(three_shadows[1]).get().status == "retired"
    refused()
    assert rows.reconcile()[0].content["fence_leaks"] == 1
    refused()


def test_a_copy_that_no_entry_knows_is_one_too(three_shadows):
    """Another program wrote it, or its entry is gone."""
    entries = LedgerEntry.objects.filter(legacy_id=three_shadows[1].pk)
    on_the_real_queue(three_shadows[1])
    entries.update(target_submission_id=None)
    refused()


def test_a_copy_of_history_without_a_fence_is_one_too(three_shadows):
    """No grader polls its queue, but a reconcile gives it legacy's reply, and so to the learner."""
    without_a_fence(three_shadows[1])
    assert detail(three_shadows[1]).update(queue_name=f"{QUEUE}.echo") == 1
    refused()


def test_a_name_counts_as_the_graders_pull_finds_it(three_shadows):
    assert detail(three_shadows[1]).update(queue_name=QUEUE.upper())
    served = ExternalGraderDetail.objects.filter(queue_name=QUEUE).exists()  # as edx-submissions asks
    assert served == (connection.vendor == "mysql")
    refused()  # where case matters it is a queue that nobody knows, and no queue of copies


def test_a_learners_own_row_and_another_courses_leak_are_no_leak_of_this_one(three_shadows):
    other = "course-v1:ExU+PY2+2026"
    rows.legacy_row(11, course=other)
    rows.backfill(courses=frozenset([other]))
    stray = LedgerEntry.objects.get(course_id=other)
    ExternalGraderDetail.objects.filter(submission_id=stray.target_submission_id).update(queue_name=QUEUE)
    without_any_part(three_shadows[1])
    LedgerEntry.objects.filter(legacy_id=three_shadows[1].pk).update(authority="target")
    assert (invariants.fence_leak_count(COURSE), invariants.fence_leak_count(other)) == (0, 1)


OTHER = "course-v1:ExU+PY2+2026"


def graded_on_both(row):
    changes.both_graded(row, ago=timedelta(hours=1))


def replaced_on_both(row):
    LedgerEntry.objects.filter(legacy_id=row.pk).update(superseded_at=now())
    changes.target_superseded(row)
    rows.change([row], retired=True)


@pytest.mark.parametrize("short", [True, False])
@pytest.mark.parametrize("then", [None, graded_on_both, replaced_on_both])
def test_a_queue_of_another_course_is_none_of_copies_because_its_name_begins_with_ours(
    then, short, three_shadows, monkeypatch
):
    """As ``cs101-hard`` beside ``cs101``: a grader of the other course has the copy, or has graded it."""
    rows.legacy_row(11, course=OTHER, queue=f"{QUEUE}-hard")
    rows.backfill(courses=frozenset([OTHER]))
    one = three_shadows[1]
    assert detail(one).update(queue_name=f"{QUEUE}-hard") == 1
    if then is not None:
        then(one)
    for path in () if short else (scan.equal_pairs, scan.replaced_pairs):
        monkeypatch.setattr(path, "store", lambda ids, job, rules: list(ids))
    assert rows.reconcile()[0].content["fence_leaks"] == 1
    refused()


def test_a_suffix_of_before_the_settings_were_changed_is_no_leak(three_shadows):
    one = three_shadows[1]
    assert detail(one).update(queue_name=f"{QUEUE}-copies") == 1
    changes.both_graded(one, ago=timedelta(hours=1))
    assert rows.reconcile()[0].content["fence_leaks"] == 0


def test_it_is_cured_where_it_is_mended(three_shadows):
    on_the_real_queue(three_shadows[1])
    rows.reconcile()
    why = {"course_id": COURSE, "reason": "moved by hand", "by": "ada"}
    with pytest.raises(ShimError, match="still lacks a fence"):
        api.cure(DivergenceClass.FENCE_LEAK, **why)
    detail(three_shadows[1]).update(queue_name=f"{QUEUE}.shadow")
    api.cure(DivergenceClass.FENCE_LEAK, **why)
    assert rows.reconcile()[0].content["fence_leaks"] == 0
    assert step_past_gate(COURSE, Phase.LIVE).content["executed"]


def test_the_next_step_looks_as_well(three_shadows):
    assert step_past_gate(COURSE, Phase.LIVE).content["executed"]
    rows.reconcile()
    on_the_real_queue(three_shadows[1])
    refused(to=Phase.COMPLETE)


def finished_long_ago(number):
    """Rows that graders were done with before the last reconcile: learners' own on the real queue, and shadows."""
    newest = (model._base_manager.aggregate(last=Max("pk"))["last"] or 0 for model in (StudentItem, Submission))
    first = max(newest) + 1
    long_ago = now() - timedelta(days=9)
    items, submissions, details = [], [], []
    for pk in range(first, first + number):
        fence, queue = ("", QUEUE) if pk % 2 else ("shadow:", f"{QUEUE}.shadow")
        names = {"student_id": f"{fence}{pk:032}", "course_id": f"{fence}{COURSE}", "item_id": f"{fence}p{pk}"}
        items.append(StudentItem(pk=pk, item_type="problem", **names))
        submissions.append(Submission(pk=pk, student_item_id=pk, attempt_number=1, answer="a"))
        row = {"queue_name": queue, "queue_key": f"{fence}{pk}", "status": "retired", "grader_reply": "{}"}
        details.append(ExternalGraderDetail(submission_id=pk, status_time=long_ago, created_at=long_ago, **row))
    for model, made in ((StudentItem, items), (Submission, submissions), (ExternalGraderDetail, details)):
        model._base_manager.bulk_create(made, batch_size=1000)
        with connection.cursor() as cursor:
            cursor.execute(f"ANALYZE TABLE {model._meta.db_table}")
            cursor.fetchall()


def rows_read(action):
    with connection.cursor() as cursor:
        cursor.execute("FLUSH STATUS")
    action()
    with connection.cursor() as cursor:
        cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%%'")
        return sum(int(number) for _, number in cursor.fetchall())


def plans(action):
    """How the server gets at each table of the statements of an action: by table, the kind of access and the index."""
    with CaptureQueriesContext(connection) as captured:
        action()
    found = []
    for one in captured.captured_queries:
        with connection.cursor() as cursor:
            cursor.execute("EXPLAIN " + one["sql"])
            names = [column[0] for column in cursor.description]  # MySQL has one more
            places = [names.index(name) for name in ("table", "type", "key")]
            found += [tuple(row[place] for place in places) for row in cursor.fetchall()]
    return found


@pytest.mark.skipif(connection.vendor != "mysql", reason="SQLite does not count the rows that it reads")
def test_what_it_reads_does_not_grow_with_what_is_over(three_shadows):
    rows.reconcile()
    on_the_real_queue(three_shadows[1])

    def look():
        found = reader.rows_on_queues(COURSE, [QUEUE, f"{QUEUE}.shadow"], since=invariants._last_look(COURSE))
        assert len(found) == 3

    finished_long_ago(500)
    few = rows_read(look)
    finished_long_ago(8000)
    many = rows_read(look)
    assert few > 3  # it is counted at all
    assert many <= few + 20, (few, many)
    assert {kind for _, kind, _ in plans(look)} <= {"range", "eq_ref", "ref", "const"}
    assert any(table == "submissions_externalgraderdetail" and "queue_n" in key for table, _, key in plans(look))
