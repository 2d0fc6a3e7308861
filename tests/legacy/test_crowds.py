"""Where one truncated callback covers a whole course: a row is what it is beside all of them, and few are read."""

import random
from datetime import timedelta

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from migration_shim.conf import load
from migration_shim.core.classification import Policy, classify, legacy_state
from migration_shim.core.data import State
from migration_shim.legacy import by_callback, crowds, files, reading
from migration_shim.legacy import rows as legacy_rows
from tests.builders import rows
from tests.builders.rows import fresh  # noqa: F401

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])
ALL = Policy(courses=None, queues=None, history=True, answer_limit=102400, files_readable=True)
CUT = "https://courses.example.edu/courses/course-v1:%D0%A3%D0%BD%D0%B8"


def crowd(number, chance):
    """A course's rows under one callback: a few learners, problems and inputs, sent and sent again, of every state."""
    made = []
    for _ in range(number):
        returned = chance.choice([None, now() - timedelta(minutes=chance.randrange(60))])
        columns = {
            "retired": chance.random() < 0.7,
            "lms_ack": returned is not None and chance.random() < 0.8,
            "num_failures": chance.choice([0, 0, 4]),
            "return_time": returned,
            "lms_callback_url": CUT,
        }
        user, response = chance.randrange(1, 5), chance.choice([2, 3])
        age = timedelta(minutes=chance.randrange(60))
        made.append(rows.legacy_row(user, problem=chance.choice("ab") * 32, response=response, age=age, **columns))
    for row in chance.sample(made, number // 4):  # sent twice, and once to the host by another spelling
        again = {"xqueue_body": row.xqueue_body, "lms_callback_url": CUT, "retired": chance.random() < 0.5}
        for header in (row.xqueue_header, row.xqueue_header.replace("courses.example", "Courses.Example")):
            rows.legacy_row(xqueue_header=header, **again)
    rows.legacy_row(9, xqueue_header="no header", lms_callback_url=CUT)


def decided(page, every, parsed_of):
    """What each row of a page is, beside the rows that are read for the page, and beside all."""
    few = reading.siblings_by_callback([parsed_of[row.id] for row in [*page, *by_callback.siblings_outside(page)]])
    for row in page:
        one = parsed_of[row.id]
        others = [parsed_of[other.id] for other in every if other.id != row.id]
        found = []
        for siblings in (reading.siblings_of(one, few), others):
            states = [classify(one, siblings, ALL, present=present) for present in (False, True)]
            twins = sorted(
                other.row.id
                for other in siblings
                if one.digests and other.digests == one.digests and not (other.row.retired and not row.retired)
            )
            found.append((row.id, legacy_state(one, siblings), states, twins))
        yield found


@pytest.mark.parametrize("seed", range(5))
def test_a_row_is_what_it_is_beside_all_of_a_crowd(seed, monkeypatch):
    chance = random.Random(seed)
    monkeypatch.setattr(by_callback, "CROWD", 2)
    monkeypatch.setattr(crowds, "HEADERS", 7)
    crowd(30, chance)
    storage = files.legacy_storage(load())
    every = legacy_rows.page(after=0, unretired_only=False, size=1000)
    parsed_of = {row.id: reading.read(row, storage)[0] for row in every}
    is_open = [row for row in every if not row.retired]
    for page in (every[:5], every[10:12], every[-3:], is_open[:4], chance.sample(every, 9)):
        for few, beside_all in decided(page, every, parsed_of):
            assert few == beside_all


def test_of_a_crowd_few_rows_are_read():
    for user in range(1, crowds.CROWD + 4):
        rows.legacy_row(user, lms_callback_url=CUT, **rows.graded())
    every = legacy_rows.page(after=0, unretired_only=False, size=1000)
    with CaptureQueriesContext(connections["xqueue"]) as seen:
        assert [row.id for row in by_callback.siblings_outside(every[:2])] == [every[-1].id]
    assert sum("xqueue_body" in query["sql"] for query in seen) == 1
    assert len(by_callback.siblings_outside(every[:3])) == crowds.CROWD  # no crowd


def test_of_a_crowd_a_submission_reads_its_own_rows(monkeypatch):
    read, convert = [], legacy_rows._converted
    monkeypatch.setattr(legacy_rows, "_converted", lambda found: read.append(convert(found)) or read[-1])
    one, *others = (rows.legacy_row(user, course=f"course-v1:ExU+{'P' * 80}+2026") for user in range(1, 6))
    assert {other.lms_callback_url for other in others} == {one.lms_callback_url}
    again = {"xqueue_body": one.xqueue_body, "lms_callback_url": one.lms_callback_url}
    twice = rows.legacy_row(xqueue_header=one.xqueue_header, **again)
    rows.legacy_row(xqueue_header=one.xqueue_header.replace("courses.example", "Courses.Example"), **again)
    main, found = reading.rows_of(one.xqueue_header, twice.pk)
    assert [row.id for row in found] == [one.pk, twice.pk]
    assert main == found[1]
    assert len(read) == 1
    assert len(read[0]) <= 3  # MySQL finds the other spelling too


@pytest.mark.parametrize("change", [("type@problem", "type%40problem"), ("score_update", "score_update?again")])
def test_of_a_crowd_an_attempt_decides_whose_callback_is_spelled_otherwise(change, monkeypatch):
    monkeypatch.setattr(by_callback, "CROWD", 1)
    old = rows.legacy_row(1, lms_callback_url=CUT, retired=True)
    header = old.xqueue_header.replace(*change)
    rows.legacy_row(1, lms_callback_url=CUT, xqueue_body=old.xqueue_body, xqueue_header=header)
    for user in (2, 3):
        rows.legacy_row(user, lms_callback_url=CUT)
    every = legacy_rows.page(after=0, unretired_only=False, size=1000)
    parsed_of = {row.id: reading.read(row, files.legacy_storage(load()))[0] for row in every}
    assert parsed_of[every[0].id].input_key == parsed_of[every[1].id].input_key
    [(few, beside_all)] = decided(every[:1], every, parsed_of)
    assert few == beside_all
    assert few[1] is State.SUPERSEDED
