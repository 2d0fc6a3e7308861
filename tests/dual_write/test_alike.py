"""Two problems whose usage keys differ only in case: MariaDB takes them for one, and no grade may go to the other."""

import pytest
from django.db import connection
from submissions.models import ExternalGraderDetail, StudentItem, Submission, SubmissionFile, get_storage

from migration_shim import api
from migration_shim.models import CoursePhase, LedgerEntry
from migration_shim.target import writer
from sandbox import capture
from tests.builders import handing_off as world
from tests.builders import rows
from tests.builders.attempts import COURSE, QUEUE, attempt, put_course_in
from tests.builders.outbox import drain

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "xqueue"])

SMALL, LARGE = "Quiz_1", "quiz_1"
FILES = [("main.py", b"print(1)\n")]


def blind():
    """Whether this database passes over case."""
    return connection.vendor == "mysql"


def two(**options):
    """Attempts of one learner at the two problems."""
    return [attempt(user=77, problem=problem, **options) for problem in (SMALL, LARGE)]


def items():
    return sorted(StudentItem.objects.values_list("item_id", flat=True))


def contents():
    """How many contents edx-submissions' storage has for the queue."""
    folder = get_storage()
    return len(folder.listdir(QUEUE)[1]) if folder.exists(QUEUE) else 0


@pytest.mark.parametrize("returns", [True, False])
@pytest.mark.parametrize("phase", ["live", "complete"])
def test_the_second_one_is_refused_and_nothing_of_it_is_stored(phase, returns, legacy, monkeypatch):
    """Also where an INSERT returns nothing, as MySQL's."""
    if not returns:
        monkeypatch.setattr(connection.features, "can_return_columns_from_insert", False)
    put_course_in(phase)
    first, second = two(files=FILES)
    assert first.send() == (0, "")
    before = contents()
    error, message = second.send()
    if not blind():
        assert (error, items()) == (0, [first.usage_key, second.usage_key])
        return
    assert (error, message) == (
        1,
        "The grading service takes this problem for another one; please tell the course staff.",
    )
    assert items() == [first.usage_key]
    assert (Submission.objects.count(), ExternalGraderDetail.objects.count(), SubmissionFile.objects.count()) == (
        1,
        1,
        1,
    )
    assert (second.entry(), contents()) == (None, before)
    assert first.send() == (0, "")  # the first one is as it was


def test_another_learner_at_the_other_problem_is_nobody_elses(legacy):
    put_course_in("complete")
    assert attempt(user=1, problem=SMALL).send() == (0, "")
    assert attempt(user=2, problem=LARGE).send() == (0, "")
    assert StudentItem.objects.count() == 2


def test_where_the_bytes_say_nothing_the_texts_do(legacy, monkeypatch):
    """As in a column of another character set than the connection's."""
    same = writer._same_item
    monkeypatch.setattr(writer, "_same_item", lambda vendor: f"(1 = 0 AND {same(vendor)})")
    put_course_in("complete")
    first, second = two(files=FILES)
    assert first.send() == (0, "")
    assert first.entry().target_submission_id == Submission.objects.get().pk
    assert second.send()[0] == (1 if blind() else 0)


@pytest.mark.parametrize("copies", ["inline", "deferred"])
def test_a_shadow_of_the_second_one_has_the_reason(copies, legacy, shim):
    shim(COPIES=copies)
    put_course_in("shadow")
    first, second = two()
    assert (first.send()[0], second.send()[0]) == (0, 0)
    drain()
    entry = second.entry()
    assert first.entry().target_leg == "stored"
    expected = ("failed", "student_item_differs") if blind() else ("stored", "")
    assert (entry.target_leg, entry.target_reason) == expected
    assert StudentItem.objects.count() == (1 if blind() else 2)


def test_a_backfill_and_a_handoff_leave_it_to_legacy_with_the_reason(settings):
    quick = {"HANDOFF_SETTLE_SECONDS": 0, "PROCESSING_DELAY_SECONDS": 0}
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | quick
    for problem in (SMALL, LARGE):
        rows.legacy_row(7, problem=problem)
    drained = {"student_item_differs": 1} if blind() else {}
    assert rows.backfill(execute=False).content["reasons"].get("drain", {}) == drained
    assert rows.backfill().content["reasons"].get("drain", {}) == drained
    put_course_in("live")
    assert world.run(execute=False).content["reasons"].get("drain", {}) == drained
    document = world.run()
    assert document.content["reasons"].get("drain", {}) == drained
    assert document.content["released"] == 2 - len(drained)


def test_preflight_names_the_pair_and_blocks(quiet):
    for problem in (SMALL, LARGE, "another"):
        rows.legacy_row(7, problem=problem, **rows.graded())
    found = [item for item in api.preflight(COURSE, rows.ignore).content["findings"] if item["code"] == "names_alike"]
    pair = " and ".join(sorted(rows.usage_key(problem) for problem in (SMALL, LARGE)))
    assert [(item["severity"], item["about"]) for item in found] == ([("blocker", pair)] if blind() else [])


def test_preflight_names_a_course_that_is_taken_for_this_one(quiet):
    other = COURSE.replace("PY1", "py1")
    CoursePhase.objects.create(course_id=other)
    rows.legacy_row(7)
    found = [item for item in api.preflight(COURSE, rows.ignore).content["findings"] if item["code"] == "names_alike"]
    assert [item["about"] for item in found] == ([f"{COURSE} and {other}"] if blind() else [])


@pytest.fixture
def quiet(monkeypatch):
    """Nothing is wrong with the site and its queues."""
    from migration_shim.preflight import queues, site

    monkeypatch.setattr(site, "site_findings", lambda course_id, settings: [])
    monkeypatch.setattr(queues, "is_known_to_xqueue", lambda queue: True)


def test_an_entry_is_written_for_one_that_is_stored_only(legacy):
    put_course_in("complete")
    for one in two():
        one.send()
    assert LedgerEntry.objects.count() == StudentItem.objects.count()


@pytest.mark.parametrize("history", [False, True])
def test_the_plan_of_the_captured_rows_is_what_is_done(history):
    """Two of the captured courses differ in case only."""
    capture.load_capture(rows.DATA)
    planned = rows.backfill(execute=False, history=history).content
    done = rows.backfill(history=history).content
    assert (planned["classes"], planned["reasons"]) == (done["classes"], done["reasons"])
    assert done["reasons"].get("drain", {}).get("student_item_differs", 0) == (1 if blind() and history else 0)
