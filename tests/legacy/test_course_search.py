"""Courses are found in XQueue by seeks: each of them, nothing else, and with one seek a course."""

import json
from datetime import timedelta
from urllib.parse import quote

import pytest
from django.db import OperationalError, connections
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now
from edx_django_utils.cache import RequestCache

from migration_shim.conf import load
from migration_shim.copies import sink
from migration_shim.core.data import Whose
from migration_shim.ledger import site_courses
from migration_shim.legacy import course_search
from migration_shim.models import CoursePhase, LegacyCourse, LegacySubmission
from tests.builders import rows
from tests.builders.rows import COURSE, QUEUE, fresh  # noqa: F401

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
OURS, THEIRS, NOBODYS = "courses.example.edu", "other.example.org", "who.example.net"
OLD = "MITx/6.002x/2012_Fall"
LONG = "course-v1:" + "+".join(name * 3 for name in ("ПРОГ", "БЖДИ", "ЛФЦЧ"))  # 36 letters, six characters each
HASH = "0" * 32


@pytest.fixture(autouse=True)
def hosts(fresh, settings):  # noqa: F811
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"CALLBACK_HOSTS": [OURS], "FOREIGN_CALLBACK_HOSTS": [THEIRS]}


@pytest.fixture(autouse=True)
def always_between(monkeypatch):
    """Every search looks between, where an index ignores case; one a day is tested by itself."""
    monkeypatch.setattr(course_search, "BETWEEN_HOURS", 0)


def row(course, user=7, *, host=OURS, before="", item="block-v1:E+P+R+type@problem+block@" + HASH, **columns):
    """A row whose callback is made of these parts."""
    return with_callback(f"https://{host}{before}/courses/{course}/xqueue/{user}/{item}/score_update", **columns)


def with_callback(url, **columns):
    header = json.dumps({"lms_callback_url": url, "lms_key": "k", "queue_name": QUEUE})
    return rows.legacy_row(1, xqueue_header=header, lms_callback_url=url[:128], **columns)


def look(check=lambda: None, **bounds):
    RequestCache.clear_all_namespaces()
    return course_search.look(check, **bounds)


def table():
    return {(item.course_id, item.host): item.open_rows for item in LegacyCourse.objects.all()}


def test_every_form_of_a_callback_and_no_copy():
    row(COURSE, 1, retired=True)
    row(COURSE, 2)
    row(OLD, item="i4x:;_;_MITx;_6.002x;_problem;_x", retired=True)
    row("course-v1%3AExU%2BQUOTED%2B1", 3)
    row("course-v1:ExU+SUB+1", 3, before="/lms")
    row(quote(LONG, safe="/~:@+"), 5, retired=True)
    row(COURSE + "_2", 4)
    row("course-v1:Theirs+1+1", host=THEIRS)
    row(COURSE, 9, host=NOBODYS)
    row("not a course", 3)
    with_callback(sink.url("a" * 32, load()))
    with_callback("")
    with_callback("https://courses.example.edu/elsewhere")
    assert look()["complete"]
    assert table() == {
        (COURSE, OURS): 1,
        (OLD, OURS): 0,
        ("course-v1:ExU+QUOTED+1", OURS): 1,
        ("course-v1:ExU+SUB+1", OURS): 1,
        (LONG, OURS): 0,
        (COURSE + "_2", OURS): 1,
        (COURSE, NOBODYS): 1,
    }
    ours = [COURSE, COURSE + "_2", OLD, "course-v1:ExU+QUOTED+1", "course-v1:ExU+SUB+1", LONG]
    assert site_courses.all_courses() == sorted(ours)
    assert [(item.course_id, item.whose) for item in site_courses.found() if item.whose is not Whose.OURS] == [
        (COURSE, Whose.UNKNOWN)
    ]


def test_a_course_costs_one_seek_however_many_rows_it_has(monkeypatch):
    monkeypatch.setattr(course_search, "BETWEEN_HOURS", 24)
    look()

    def statements():
        with CaptureQueriesContext(connections["xqueue"]) as seen:
            done = look()
        assert done["complete"]
        return done["seeks"], len(seen)

    for number in range(3):
        for user in range(5):
            row(f"course-v1:ExU+C{number}+1", user, retired=user > 1)
            with_callback(f"https://{THEIRS}/courses/course-v1:T+T{user}+{number}/xqueue/1/x/score_update")
            with_callback(sink.url(f"{number}{user}" * 16, load()))
    few = statements()
    for number in range(3):
        for user in range(5, 60):
            row(f"course-v1:ExU+C{number}+1", user, retired=True)
    assert statements() == few
    row("course-v1:ExU+C9+1")
    assert statements() == (few[0] + 1, few[1] + 1)
    # Three courses, the sinks (of this host), the other LMS and the end.
    assert few == (6, 7)


def test_a_look_that_was_stopped_goes_on_where_it_was_and_takes_nothing_away():
    expected = {(f"course-v1:ExU+C{number}+1", OURS): 1 for number in range(7)}
    for course, _ in expected:
        row(course)
    LegacyCourse.objects.create(course_id="course-v1:ExU+GONE+1", host=OURS, seen_at=now() - timedelta(days=1))
    assert site_courses.last_look() is None
    done = look(seeks=3)
    assert not done["complete"] and done["gone"] == 0
    stopped = site_courses.last_look()
    assert stopped.complete_at is None and stopped.under_way
    seeks = [done["seeks"]]
    while not done["complete"]:
        assert ("course-v1:ExU+GONE+1", OURS) in table()
        done = look(seeks=2)
        seeks.append(done["seeks"])
    assert done["gone"] == 1
    assert sum(seeks) == 8  # a course a seek, and the end: no seek was made twice
    assert table() == expected
    assert not site_courses.last_look().under_way and site_courses.last_look().complete_at is not None


def test_a_course_that_vanished_goes_after_a_whole_search_and_comes_back_as_new():
    row(COURSE)
    row(OLD)
    look()
    first = LegacyCourse.objects.get(course_id=OLD).first_seen_at
    look()
    assert LegacyCourse.objects.get(course_id=OLD).first_seen_at == first
    LegacySubmission.objects.filter(xqueue_header__contains="MITx").delete()
    assert look()["gone"] == 1
    assert table() == {(COURSE, OURS): 1}


def test_a_stop_keeps_what_was_found_and_the_next_look_goes_on():
    class Stop(Exception):
        pass

    calls = []

    def check():
        calls.append(1)
        if len(calls) == 3:
            raise Stop

    for number in range(4):
        row(f"course-v1:ExU+C{number}+1")
    with pytest.raises(Stop):
        look(check)
    assert len(table()) == 2
    assert look()["seeks"] == 3
    assert len(table()) == 4


@pytest.mark.parametrize("order", [1, -1])
def test_ids_that_differ_in_case_are_found_though_all_of_their_rows_are_retired(order):
    """For XQueue's index on MariaDB they are one: whichever comes first, a seek passes by the other."""
    three = [COURSE, COURSE.lower(), COURSE.upper().replace("COURSE-V1", "course-v1")][::order]
    for user, course in enumerate(three, 5):
        for more in range(3):
            row(course, user + 10 * more, retired=True)
    row("course-v1:ExU+Other+1", retired=True)
    look()
    assert table().keys() == {(course, OURS) for course in (*three, "course-v1:ExU+Other+1")}


def test_it_looks_between_once_a_day_and_takes_nothing_away_otherwise(monkeypatch):
    monkeypatch.setattr(course_search, "BETWEEN_HOURS", 24)
    exact = not course_search._ignores_case()
    row(COURSE, 5, retired=True)
    look()
    row(COURSE.lower(), 6, retired=True)
    look()
    assert ((COURSE.lower(), OURS) in table()) is exact
    tomorrow = now() + timedelta(hours=25)
    monkeypatch.setattr(course_search, "now", lambda: tomorrow)
    look()
    assert table().keys() == {(COURSE, OURS), (COURSE.lower(), OURS)}
    monkeypatch.setattr(course_search, "now", lambda: tomorrow + timedelta(hours=1))
    look()
    assert table().keys() == {(COURSE, OURS), (COURSE.lower(), OURS)}


def test_a_search_that_looks_between_goes_on_so_after_a_stop():
    for user, course in enumerate(("course-v1:ExU+A+1", COURSE, COURSE.lower()), 5):
        row(course, user, retired=True)
    while not look(seeks=1)["complete"]:
        pass
    assert len(table()) == 3


def test_a_course_that_is_too_large_to_look_between_holds_up_no_other(monkeypatch):
    monkeypatch.setattr(course_search, "_ignores_case", lambda: True)
    large, other = "course-v1:ExU+A+1", "course-v1:ExU+B+1"
    row(large, 1, retired=True)
    row(other, 2, retired=True)
    LegacyCourse.objects.create(
        course_id=large.lower(), host=OURS, first_seen_at=now(), seen_at=now() - timedelta(days=2)
    )

    def too_slow(folder, known):
        if large in folder:
            raise OperationalError(1969, "max_statement_time exceeded")
        return set()

    monkeypatch.setattr(course_search, "_alike", too_slow)
    with pytest.raises(OperationalError):
        look()
    assert look()["complete"]
    # What is between was not looked for, so what was found there before stays.
    assert table().keys() == {(large, OURS), (large.lower(), OURS), (other, OURS)}


def test_open_rows_are_counted_anew_and_ids_that_differ_in_case_are_two():
    one = row(COURSE, 1, age=timedelta(hours=3))
    row(COURSE, 2)
    row(COURSE.lower(), 1)
    look()
    assert table() == {(COURSE, OURS): 2, (COURSE.lower(), OURS): 1}
    assert LegacyCourse.objects.get(course_id=COURSE).oldest_open_at == one.arrival_time
    rows.change([one], retired=True)
    look()
    assert table()[COURSE, OURS] == 1


def test_an_xqueue_that_does_not_answer_takes_nothing_from_the_record(monkeypatch):
    row(COURSE)
    look()
    seen = site_courses.last_look()

    def down(*args, **kwargs):
        raise OperationalError(2002, "down")

    monkeypatch.setattr(course_search, "_next", down)
    with pytest.raises(OperationalError):
        look()
    assert table() == {(COURSE, OURS): 1}
    assert site_courses.last_look().complete_at == seen.complete_at


def test_the_site_has_what_the_shim_knows_and_what_xqueue_has():
    CoursePhase.objects.create(course_id="course-v1:ExU+KNOWN+1")
    row(COURSE)
    assert site_courses.all_courses() == ["course-v1:ExU+KNOWN+1"]
    look()
    assert site_courses.all_courses() == ["course-v1:ExU+KNOWN+1", COURSE]


def test_the_server_reads_an_entry_of_the_index_a_seek_and_not_the_rows(monkeypatch):
    here = connections["xqueue"]
    for number in range(3):
        one = row(f"course-v1:ExU+C{number}+1", retired=True)
        url = one.lms_callback_url
        many = [(url.replace("/7/", f"/{user}/"), one) for user in range(8, 300)]
        copies = [LegacySubmission(**columns(one) | {"lms_callback_url": text[:128]}) for text, one in many]
        LegacySubmission.objects.using("xqueue").bulk_create(copies)
    with here.cursor() as cursor:
        if here.vendor == "sqlite":
            first = course_search._callbacks().filter(lms_callback_url__gte="x").values("lms_callback_url")[:1]
            plan = first.explain()
            assert "SEARCH " in plan and "COVERING INDEX" in plan and "lms_callback_url>?" in plan
            return
        monkeypatch.setattr(course_search, "BETWEEN_HOURS", 24)
        look()
        cursor.execute("FLUSH STATUS")
        assert look()["seeks"] == 4
        cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
        read = {name: int(number) for name, number in cursor.fetchall()}
    assert read["Handler_read_rnd_next"] + read["Handler_read_next"] < 50


@pytest.mark.skipif(connections["xqueue"].vendor != "mysql", reason="SQLite's index is exact: nobody looks between")
def test_looking_between_reads_the_index_only():
    row(COURSE, retired=True)
    with CaptureQueriesContext(connections["xqueue"]) as seen:
        look()
    (statement,) = [query["sql"] for query in seen if "AS BINARY" in query["sql"]]
    with connections["xqueue"].cursor() as cursor:
        cursor.execute(f"EXPLAIN {statement}")
        entries = [dict(zip([column[0] for column in cursor.description], line, strict=True)) for line in cursor]
    assert ["Using index" in entry["Extra"] for entry in entries] == [True]


def columns(one):
    return {field.name: getattr(one, field.name) for field in one._meta.concrete_fields if not field.primary_key}
