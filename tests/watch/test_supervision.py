"""One course with something odd in it: the round says so, and every other course is watched over as ever."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import DataError
from django.utils.timezone import now
from submissions.models import Submission

from migration_shim import api
from migration_shim.core.data import ExitCode
from migration_shim.core.errors import RunLocked
from migration_shim.ledger import aggregates, counts
from migration_shim.models import LedgerEntry, Run
from migration_shim.reports import terminal
from migration_shim.runs import records as runs
from migration_shim.status import document as status
from sandbox.lms.blocks import SubmittedFile
from tests.builders import live_courses as world
from tests.builders import rows
from tests.builders.rows import COURSE
from tests.schemas import validate

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"], transaction=True)
ODD, PLAIN = "course-v1:ExU+AODD+1", "course-v1:ExU+PLAIN+1"
SECRET = "answer-of-a-learner"
NUL_QUEUE = "exu\x00py1"


def waiting(course, user, queue=rows.QUEUE, **columns):
    """A submission of a course in shadow, with its copy, which nobody has graded for long."""
    world.stand("shadow", course)
    row = rows.legacy_row(user, course=course, queue=queue, **columns)
    rows.backfill(courses=frozenset([course]))
    entry = LedgerEntry.objects.get(legacy_id=row.pk)
    long_ago = now() - world.LONG
    LedgerEntry.objects.filter(pk=entry.pk).update(created_at=long_ago, arrived_at=long_ago)
    return entry


def test_a_blank_at_the_end_of_a_queues_name_stops_no_round():
    waiting(ODD, 1, "exu-py1 ")
    waiting(PLAIN, 2, "exu-py1")
    waiting(ODD, 3, "exu-py1", problem="b" * 32)
    waiting(ODD, 4, "EXU-PY1", problem="c" * 32)
    content = world.watch()
    assert content["problems"] == []
    stuck = [breach["text"] for breach in world.course_of(content, ODD)["breaches"] if breach["bound"] == "stuck_queue"]
    assert len(stuck) == 3, stuck
    assert counts.queues(ODD) == ["EXU-PY1", "exu-py1", "exu-py1 "]


def test_a_queue_without_a_folder_stops_no_round(shim):
    waiting(ODD, 1, NUL_QUEUE)
    waiting(PLAIN, 2)
    content = world.watch(purge=True)
    assert content["problems"] == []
    assert content["sweep"]["ours"] == 0


@pytest.mark.parametrize("phase", ["shadow", "live"])
def test_a_file_for_a_queue_without_a_folder_raises_into_no_lms(phase, shim):
    """In live it is refused with a reason; in shadow the copy fails and says so."""
    world.stand(phase)
    shim(COPIES="inline")
    row = rows.legacy_row(1, queue=NUL_QUEUE)
    sent = [SubmittedFile(SimpleUploadedFile("a.py", b"x"))]
    error, said = api.queue_interface().send_to_queue(row.xqueue_header, row.xqueue_body, sent)
    assert error == 1
    assert isinstance(said, str)
    assert not Submission.objects.exists()


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kolkata"])
def test_a_day_is_a_day_of_utc_whatever_the_lms_time_zone_and_without_zone_tables(settings, zone):
    settings.TIME_ZONE = zone
    entry = waiting(COURSE, 1)
    LedgerEntry.objects.filter(pk=entry.pk).update(arrived_at=datetime(2026, 11, 20, 2, 30, tzinfo=UTC), result="equal")
    entry = waiting(COURSE, 2, problem="b" * 32)
    LedgerEntry.objects.filter(pk=entry.pk).update(
        arrived_at=datetime(2026, 11, 20, 21, 30, tzinfo=UTC), result="diverged"
    )
    assert aggregates.daily(counts.facts(COURSE)) == [{"day": "2026-11-20", "compared": 2, "diverged": 1}]
    assert world.watch()["problems"] == []


@pytest.fixture(params=[KeyError, RecursionError, UnicodeEncodeError, DataError])
def broken(request, monkeypatch):
    """One of two courses whose counting raises what nobody has thought of; its name."""
    error, counted = request.param, aggregates.of_course
    raised = error("utf-8", SECRET, 0, 1, SECRET) if error is UnicodeEncodeError else error(SECRET)

    def of_course(course_id, numbers):
        if course_id == ODD:
            raise raised
        return counted(course_id, numbers)

    waiting(ODD, 1)
    waiting(PLAIN, 2)
    monkeypatch.setattr(aggregates, "of_course", of_course)
    return error.__name__


def test_a_round_survives_any_exception_of_one_course_and_names_it(broken, caplog):
    document = world.round_of()
    content = validate(document.content)
    assert content["problems"] == [{"step": "reconcile", "course": ODD, "said": broken}]
    assert document.exit_code & ExitCode.ERROR
    assert world.course_of(content, PLAIN)["reconcile"]["complete"]
    assert any(ODD in line and broken in line for line in caplog.messages)
    assert SECRET not in caplog.text + json.dumps(content)


def test_a_reconcile_of_all_courses_survives_any_exception_of_one_and_names_it(broken, caplog):
    document, _ = rows.reconcile(ODD, PLAIN)
    content = validate(document.content)
    assert content["problems"] == [{"course": ODD, "said": broken}]
    assert document.exit_code & ExitCode.ERROR
    assert [course["course"] for course in content["courses"]] == [PLAIN]
    assert not content["complete"]
    assert SECRET not in caplog.text + json.dumps(content) + terminal.render(content)
    assert f"{ODD}: NOT COMPARED: {broken}" in terminal.render(content)


def test_a_reconcile_of_all_courses_passes_over_one_that_is_being_reconciled():
    waiting(ODD, 1)
    waiting(PLAIN, 2)
    with runs.running("reconcile", ODD):
        document, _ = rows.reconcile(ODD, PLAIN)
        (problem,) = validate(document.content)["problems"]
        with pytest.raises(RunLocked):
            rows.reconcile(ODD)
    assert (problem["course"], problem["said"][:10]) == (ODD, "RunLocked:")
    assert document.exit_code & (ExitCode.LOCKED | ExitCode.ERROR) == ExitCode.LOCKED
    assert [course["course"] for course in document.content["courses"]] == [PLAIN]


def test_a_status_of_many_courses_survives_any_exception_of_one_and_names_it(monkeypatch, caplog):
    for course in (ODD, PLAIN):
        world.stand("shadow", course)
    looked = status.course.attention

    def attention(course):
        if course["course"] == ODD:
            raise KeyError(SECRET)
        return looked(course)

    monkeypatch.setattr(status.course, "attention", attention)
    document = api.status([ODD, PLAIN])
    content = validate(document.content)
    assert content["problems"] == [{"course": ODD, "said": "KeyError"}]
    assert document.exit_code & ExitCode.ERROR
    assert [course["course"] for course in content["courses"]] == [PLAIN]
    assert f"{ODD}: STATUS UNKNOWN: KeyError" in terminal.render(content)
    assert SECRET not in caplog.text + json.dumps(content)


def test_a_round_is_alive_while_a_reconcile_in_it_links(monkeypatch):
    """Else a second watch takes it for dead and begins another round beside it."""
    waiting(ODD, 1)
    monkeypatch.setattr("migration_shim.runs.control.BEAT_SECONDS", 0)
    asleep = now() - runs.HEARTBEAT_LIMIT - timedelta(seconds=1)
    seen = []

    def link(settings, control):
        Run.objects.update(heartbeat_at=asleep)
        control.turn()
        seen.append(runs.is_alive(Run.objects.get(kind="watch").pk))

    monkeypatch.setattr("migration_shim.comparison.linking.link_new_rows", link)
    assert world.watch()["problems"] == []
    assert seen == [True]
