"""Preflight: every finding from a captured row, counted by the databases, and nothing written but its own record."""

import json
from collections import Counter

import pytest
from django.db import connections
from django.utils.timezone import now

from migration_shim import api, preflight
from migration_shim.data import ExitCode
from migration_shim.errors import RunLocked
from migration_shim.models import Run
from sandbox import capture
from sandbox.network import free_port
from tests import rows
from tests.rows import COURSE, fresh  # noqa: F401
from tests.sandbox.conftest import recording_lms, start_xqueue, xqueue_server  # noqa: F401

BOTH = ["default", "xqueue"]
pytestmark = pytest.mark.django_db(databases=BOTH)
shared = pytest.mark.django_db(databases=BOTH, transaction=True)
HAZARD = "course-v1:ExampleUniversity+DataStructures201+2026_Spring"
IN_FLIGHT = "course-v1:ExU+ALG2+26T1"
QUEUE_CODES = {"queue_unknown", "reverse_queue_unknown"}


@pytest.fixture
def known_queues(monkeypatch):
    """XQueue knows every queue, and graders poll it; the tests of these findings ask a real one."""
    monkeypatch.setattr(preflight, "_known", lambda queue: True)
    monkeypatch.setattr(preflight.legacy_rows, "pulled_since", lambda queue, moment: True)


def by_code(document):
    """How many rows every finding of a document names."""
    counts = Counter()
    for finding in document.content["findings"]:
        counts[finding["code"]] += finding["rows"]
    return counts


# An oracle of its own: what edx-submissions' endpoint hands out is the "grader", seed 1 and the answer.


def expected_codes(row):
    """The findings of one captured row, by name."""
    try:
        body = json.loads(row["xqueue_body"])
        info = json.loads(body["student_info"])
        answer = body["student_response"]
        assert isinstance(info["anonymous_student_id"], str)
    except (ValueError, TypeError, KeyError):
        return {"unreadable"}
    found = set()
    try:
        payload = json.loads(body.get("grader_payload") or "")
    except ValueError:
        payload = None
    if not isinstance(payload, dict):
        found.add("payload_not_an_object")
    else:
        if not payload.get("grader"):
            found.add("payload_no_grader")
        if len(payload) > ("grader" in payload):
            found.add("payload_extra_keys")
    if info.get("random_seed") != 1:
        found.add("random_seed")
    if len(body) > len({"grader_payload", "student_info", "student_response"} & body.keys()):
        found.add("body_extra_keys")
    if "submission_time" in info:
        found.add("submission_time_format")
    if answer is None or len(json.dumps(answer)) > 102_400:
        found.add("answer_over_limit")
    return found


def rows_of(course):
    return [row for row in rows.captured() if f"/courses/{course}/" in row["xqueue_header"]]


@pytest.mark.usefixtures("known_queues")
@pytest.mark.parametrize("course", [COURSE, HAZARD, IN_FLIGHT])
def test_every_finding_is_counted_as_the_captured_rows_have_it(course):
    capture.load_capture(rows.DATA)
    expected = Counter(code for row in rows_of(course) for code in expected_codes(row))
    document = api.preflight(course, rows.ignore)
    assert document.content["rows"] == len(rows_of(course))
    assert by_code(document) == expected
    blockers = {item["code"] for item in document.content["findings"] if item["severity"] == "blocker"}
    assert document.exit_code == (ExitCode.DIFFERENCES if blockers else ExitCode.OK)
    assert bool(blockers) == (course == HAZARD)


@pytest.mark.usefixtures("known_queues")
def test_the_hazardous_course_has_every_finding_that_captured_rows_can_have():
    capture.load_capture(rows.DATA)
    found = set(by_code(api.preflight(HAZARD, rows.ignore)))
    assert found >= {"payload_extra_keys", "payload_not_an_object", "random_seed", "answer_over_limit"}


@pytest.mark.usefixtures("known_queues")
def test_a_finding_names_queue_problem_and_an_example():
    capture.load_capture(rows.DATA)
    captured = {row["id"]: row for row in rows.captured()}
    findings = api.preflight(HAZARD, rows.ignore).content["findings"]
    assert len(findings) > 5
    for finding in findings:
        row = captured[finding["example_legacy_id"]]
        assert finding["code"] in expected_codes(row)
        assert finding["queue"] == row["queue_name"]
        assert finding["problem"] in row["xqueue_header"]
        assert finding["effect"]
        assert finding["advice"]


BODIES = {
    "payload_extra_keys": {"payload": '{"grader": "g.py", "lang": "c"}'},
    "payload_not_an_object": {"payload": "g.py"},
    "payload_no_grader": {"payload": "{}"},
    "grader_name_too_long": {"payload": json.dumps({"grader": "g" * 129})},
    "random_seed": {"seed": 2},
    "body_extra_keys": {"extra": {"token": "t"}},
    "answer_over_limit": {"answer": "x" * 102_399},
    "unreadable": {"xqueue_body": "{"},
}


@pytest.mark.usefixtures("known_queues")
@pytest.mark.parametrize("code", BODIES)
def test_one_row_of_each_kind(code):
    rows.legacy_row(1)
    odd = rows.legacy_row(2, **BODIES[code])
    document = api.preflight(COURSE, rows.ignore)
    assert document.content["rows"] == 2
    (finding,) = (item for item in document.content["findings"] if item["code"] == code)
    assert (finding["rows"], finding["example_legacy_id"]) == (1, odd.pk)
    others = set(by_code(document)) - {code, "submission_time_format"}
    assert not others


@pytest.mark.usefixtures("known_queues")
@pytest.mark.parametrize("payload", ["", None, "null", "[]", '"g.py"', "1", "[" * 50_000])
def test_whatever_is_no_object_is_a_payload_that_graders_do_not_get(payload):
    rows.legacy_row(payload=payload)
    assert by_code(api.preflight(COURSE, rows.ignore))["payload_not_an_object"] == 1


@pytest.mark.usefixtures("known_queues")
@pytest.mark.parametrize("seed", [None, 0, True, "1", 1.5, [1]])
def test_every_seed_but_1_is_reported(seed):
    rows.legacy_row(seed=seed)
    assert by_code(api.preflight(COURSE, rows.ignore))["random_seed"] == 1


@pytest.mark.usefixtures("known_queues")
def test_the_answers_limit_is_that_of_escaped_json():
    rows.legacy_row(1, answer="x" * 102_398)
    assert by_code(api.preflight(COURSE, rows.ignore))["answer_over_limit"] == 0
    rows.legacy_row(2, answer="ü" * 18_000)
    assert by_code(api.preflight(COURSE, rows.ignore))["answer_over_limit"] == 1


@pytest.mark.usefixtures("known_queues")
def test_only_the_courses_own_rows_are_looked_at():
    rows.legacy_row(1, course=IN_FLIGHT, seed=5)
    rows.legacy_row(2, course="course-v1:ExU+py1+2026", seed=5)
    document = api.preflight(COURSE, rows.ignore)
    assert (document.content["rows"], document.content["queues"], document.content["findings"]) == (0, [], [])
    assert document.exit_code == ExitCode.OK


# Queues


def blocked_queues(document):
    return {(item["code"], item["queue"]) for item in document.content["findings"] if item["code"] in QUEUE_CODES}


def ask(settings, url):
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {
        "LEGACY_URL": url,
        "LEGACY_USERNAME": "lms",
        "LEGACY_PASSWORD": "lms-password",
        "LEGACY_CONNECT_TIMEOUT": 2.0,
    }


@shared
def test_xqueue_is_asked_for_every_queue(settings, xqueue_server):  # noqa: F811
    ask(settings, xqueue_server.url)
    rows.legacy_row(1, queue=rows.QUEUE)
    rows.legacy_row(2, queue="exu-alg2")
    rows.legacy_row(3, queue="nobody-knows-it")
    document = api.preflight(COURSE, rows.ignore)
    assert document.content["queues"] == ["exu-alg2", rows.QUEUE, "nobody-knows-it"]
    unknown = {queue for code, queue in blocked_queues(document) if code == "queue_unknown"}
    assert unknown == {"nobody-knows-it"}
    assert document.exit_code == ExitCode.DIFFERENCES


@shared
def test_an_account_that_xqueue_does_not_let_in_knows_no_queue(settings, xqueue_server):  # noqa: F811
    ask(settings, xqueue_server.url)
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"LEGACY_PASSWORD": "wrong"}
    rows.legacy_row()
    assert ("queue_unknown", rows.QUEUE) in blocked_queues(api.preflight(COURSE, rows.ignore))


def test_an_xqueue_that_cannot_be_reached_knows_no_queue(settings):
    ask(settings, f"http://127.0.0.1:{free_port()}")
    rows.legacy_row()
    document = api.preflight(COURSE, rows.ignore)
    assert ("queue_unknown", rows.QUEUE) in blocked_queues(document)
    assert document.exit_code == ExitCode.DIFFERENCES


def test_without_an_address_of_xqueue_no_queue_is_known(settings):
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"LEGACY_URL": None}
    settings.XQUEUE_INTERFACE = None
    rows.legacy_row()
    assert ("queue_unknown", rows.QUEUE) in blocked_queues(api.preflight(COURSE, rows.ignore))


# The record


def table_counts():
    counts = {}
    for alias in BOTH:
        with connections[alias].cursor() as cursor:
            for table in connections[alias].introspection.table_names(cursor):
                cursor.execute(f"SELECT COUNT(*) FROM {table}")
                counts[table] = cursor.fetchone()[0]
    return counts


@pytest.mark.usefixtures("known_queues")
def test_nothing_is_written_but_its_record():
    capture.load_capture(rows.DATA)
    api.preflight(COURSE, rows.ignore)
    before = table_counts()
    document = api.preflight(COURSE, rows.ignore)
    changed = {table: number - before[table] for table, number in table_counts().items() if number != before[table]}
    assert changed == {"migration_shim_run": 1}
    run = Run.objects.latest("id")
    assert (run.kind, run.scope, run.complete) == ("preflight", COURSE, True)
    assert run.document == document.content


@pytest.mark.usefixtures("known_queues")
def test_what_the_platform_lacks_is_a_blocker(settings, monkeypatch):
    monkeypatch.setitem(settings.DATABASES["xqueue"], "ATOMIC_REQUESTS", True)
    rows.legacy_row()
    document = api.preflight(COURSE, rows.ignore)
    (site,) = (item for item in document.content["findings"] if item["code"] == "site")
    assert "ATOMIC_REQUESTS" in site["problem"]
    assert document.exit_code == ExitCode.DIFFERENCES


def test_a_run_that_fails_is_on_record_as_incomplete(monkeypatch):
    def fail(queue):
        raise OSError("no route")

    monkeypatch.setattr(preflight, "_known", fail)
    rows.legacy_row()
    with pytest.raises(OSError, match="no route"):
        api.preflight(COURSE, rows.ignore)
    run = Run.objects.get()
    assert (run.complete, run.document) == (False, {})
    assert run.finished_at <= now()


@pytest.mark.usefixtures("known_queues")
def test_a_second_run_over_a_course_is_refused_while_the_first_is_at_work():
    Run.objects.create(kind="preflight", scope=COURSE)
    with pytest.raises(RunLocked):
        api.preflight(COURSE, rows.ignore)
    api.preflight(HAZARD, rows.ignore)
