"""Whether XQueue has rows of a course: asked by seeks, with the same answer as reading every row."""

import json

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext

from migration_shim.core.hosts import course_of_header
from migration_shim.legacy import course_rows
from migration_shim.models import LegacySubmission
from tests.builders import rows
from tests.builders.rows import COURSE, fresh  # noqa: F401

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
NON_ASCII = "course-v1:ÉcoleX+Téléphonie+2026"
LONG = f"course-v1:ExU+{'é' * 40}+2026"
OLD = "Old/CS50/2012"


def row(course, *, user=7, beginning="https://courses.example.edu", quoted=None, **columns):
    """A row whose callback is made as Django's ``reverse()`` makes it."""
    path = (quoted or course_rows.quote(course, safe=course_rows._SAFE)) + f"/xqueue/{user}/i4x:;_;_p/score_update"
    url = f"{beginning}/courses/{path}"
    header = json.dumps({"lms_callback_url": url, "lms_key": f"{user:032x}", "queue_name": "q"})
    return rows.legacy_row(user, lms_callback_url=url[:128], xqueue_header=header, **columns)


def sink(number):
    """A reverse shadow's row, whose callback names no course."""
    url = f"https://courses.example.edu/migration_shim/sink/{number:032x}/"
    header = json.dumps({"lms_callback_url": url, "lms_key": "k", "queue_name": "q"})
    return rows.legacy_row(number, lms_callback_url=url, xqueue_header=header)


def by_reading():
    """The oracle: every row's header is parsed."""
    return {
        course_of_header(header)
        for header in LegacySubmission.objects.using("xqueue").values_list("xqueue_header", flat=True)
    } - {""}


def test_it_says_what_reading_every_row_says():
    for number in range(60):
        sink(number)
    for user in range(5):
        row(COURSE, user=user)
    row(OLD)
    row(NON_ASCII, retired=True)
    row(LONG)
    row("course-v1:ExU+PORT+1", beginning="http://courses.example.edu:8000")
    row("course-v1:ExU+HIDDEN+1", quoted="course-v1%3AExU%2BHIDDEN%2B1")
    row("course-v1:ExU+PATH+1", beginning="https://z.example.edu/lms")
    rows.legacy_row(1, lms_callback_url="nonsense", xqueue_header="{")
    there = by_reading()
    assert len(there) == 7
    away = {
        *("course-v1:ExU+PY+2026", "course-v1:ExU+PY1+202", "course-v1:ExU+PY1+20266", "course-v1:ExU+PY_+2026"),
        *("course-v1:ExU+%+2026", LONG.replace("2026", "2027"), "Old/CS50/2013", COURSE.lower(), COURSE.upper()),
    }
    assert {course for course in there | away if course_rows.has_course(course)} == there


def test_a_course_beside_one_of_another_case_is_told_apart():
    for user in range(25):
        row("course-v1:ExU+py1+2026", user=user)
    assert not course_rows.has_course(COURSE)
    row(COURSE)
    assert course_rows.has_course(COURSE)


def test_rows_of_another_lms_are_not_ours(settings):
    row(COURSE, beginning="https://staging.example.edu")
    assert course_rows.has_course(COURSE)  # nobody says whose they are
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"FOREIGN_CALLBACK_HOSTS": ["staging.example.edu"]}
    rows.RequestCache.clear_all_namespaces()
    assert not course_rows.has_course(COURSE)


def test_its_statements_do_not_grow_with_rows():
    def asked():
        with CaptureQueriesContext(connections["xqueue"]) as queries:
            assert not course_rows.has_course("course-v1:ExU+nobody+1")
        return len(queries)

    row(COURSE)
    sink(1)
    before = asked()
    for number in range(2, 80):
        row(f"course-v1:ExU+C{number}+1", user=number)
        sink(number)
    assert asked() == before
