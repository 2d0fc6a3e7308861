"""A course whose letters Django percent-encodes in every callback: it is read out of them, and never searched for."""

from datetime import timedelta
from urllib.parse import quote

import pytest
from django.urls import path, reverse

from migration_shim import api, toggles
from migration_shim.core.data import Phase
from migration_shim.cutover import impact
from migration_shim.models import LedgerEntry, LegacySubmission
from tests.builders import other_lms as world
from tests.builders import rows
from tests.builders.other_lms import ACCENTED
from tests.builders.rows import clean_course, fresh  # noqa: F401
from tests.schemas import validate

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
REVERSE = f"{rows.QUEUE}.reverse"
urlpatterns = [path("courses/<path:course>/xqueue", lambda request: None, name="callback")]


def accented(user=7, **columns):
    """A row of the course, as the platform sends it."""
    return world.encoded(rows.legacy_row(user, course=ACCENTED, **columns))


def test_the_callbacks_of_these_tests_are_those_of_the_platform(settings):
    settings.ROOT_URLCONF = __name__
    assert reverse("callback", args=[ACCENTED]) == f"/courses/{world.ENCODED}/xqueue"
    assert f"/courses/{world.ENCODED}/" in accented().xqueue_header


def test_the_course_goes_through_backfill_reconcile_and_gate():
    toggles.force_flags(ACCENTED, True, False)
    rows.in_phase("shadow", ACCENTED)
    sent = [accented(user, problem=f"{user % 2:032x}") for user in range(1, 7)]
    plan = rows.backfill(execute=False, courses=frozenset([ACCENTED]))
    assert plan.content["classes"]["imported"] == 6
    assert rows.backfill(courses=frozenset([ACCENTED])).content["written"] == 6
    rows.change(sent, **rows.graded())
    rows.grade_target(submission__student_item__course_id=f"shadow:{ACCENTED}")
    document, found = rows.reconcile(ACCENTED)
    assert (found, document.content["equal"], document.content["fence_leaks"]) == ([], 6, 0)
    assert api.preflight(ACCENTED, rows.ignore).content["rows"] == 6
    content = validate(api.gate(ACCENTED).content)
    assert content["evidence"]["fence_leaks"] == 0
    assert sum(problem["graded_pairs"] for problem in content["evidence"]["problems"]) == 6


def test_a_leak_of_the_course_is_counted():
    rows.in_phase("live", ACCENTED)
    rows.entries(1, course_id=ACCENTED, authority="target", phase="live")
    assert rows.reconcile(ACCENTED)[0].content["fence_leaks"] == 0
    accented(8, queue=REVERSE)
    world.moved(accented(9, queue=REVERSE))  # another LMS's, which no copy of ours is
    rows.legacy_row(10, course=ACCENTED.replace("É", "E"), queue=REVERSE)
    assert rows.reconcile(ACCENTED)[0].content["fence_leaks"] == 1
    content = api.gate(ACCENTED).content
    assert content["verdict"] == "FAIL"
    assert "1 fence leak:" in content["reasons"][0]


@pytest.mark.parametrize("long", [False, True])
def test_what_is_in_flight_is_counted_for_a_step(long):
    """Also where the course's letters fill the 128 characters that XQueue keeps of a callback."""
    course = f"course-v1:{'É' * 30}+PY1+2026" if long else ACCENTED
    for user, columns in enumerate([{}, {}, {"pull_time": rows.now() - timedelta(minutes=50), "pullkey": "x"}], 1):
        row = rows.legacy_row(user, course=course, **columns)
        block = course.replace("course-v1:", "block-v1:")
        row = world.rewritten(row, course, quote(course, safe=":+"))
        world.rewritten(row, block, quote(block, safe=":+"))
        assert ("/xqueue/" in row.lms_callback_url) is not long
    rows.legacy_row(4, course=course.lower())
    world.staging(5, course=course)
    assert impact.in_flight(course)["legacy"] == {"queued": 2, "pulled": 1}
    how = {"reason": "r", "execute": False, "user": "ada", "login": None}
    plan = validate(api.cutover(course, Phase.SHADOW, **how).content)
    assert plan["in_flight"]["legacy"] == {"queued": 2, "pulled": 1}
    (found,) = validate(api.status([course]).content)["courses"]
    assert found["in_flight"]["legacy"] == {"queued": 2, "pulled": 1}
    (queue,) = found["queues_without_watcher"]
    assert (queue["side"], queue["queue"]) == ("legacy", rows.QUEUE)


def test_counting_costs_one_statement_however_many_rows_and_courses_there_are(django_assert_num_queries):
    def asked():
        with django_assert_num_queries(1, using="xqueue"):
            return impact.in_flight(rows.COURSE)["legacy"]

    rows.legacy_row(1)
    assert asked() == {"queued": 1}
    for user in range(2, 12):
        rows.legacy_row(user, course=f"course-v1:ExU+PY{user}+2026", age=timedelta(minutes=user))
    assert asked() == {"queued": 1}
    LegacySubmission.objects.update(retired=True)
    assert asked() == {}
    assert not LedgerEntry.objects.exists()
