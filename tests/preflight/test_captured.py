"""Findings over captured rows: an oracle agrees on every count, place and listed row, and backfill on every class."""

import json

import pytest
from django.db import connections

from migration_shim import api
from migration_shim.core import row_counts, row_rules
from migration_shim.core.data import ExitCode
from migration_shim.preflight import rows as preflight_rows
from migration_shim.preflight import run as preflight
from sandbox import capture
from tests.builders import rows
from tests.builders.rows import COURSE, fresh  # noqa: F401
from tests.preflight.oracle import Oracle

pytestmark = [pytest.mark.django_db(databases=["default", "xqueue"]), pytest.mark.usefixtures("quiet")]
HAZARD = "course-v1:ExampleUniversity+DataStructures201+2026_Spring"
IN_FLIGHT = "course-v1:ExU+ALG2+26T1"
MISC = "course-v1:ExU+MISC1+2026"
MISC_LOWER = "course-v1:ExU+misc1+2026"
#: Findings about queues and about legacy's past; the oracle is about rows.
NOT_OF_ROWS = {"side_effects_undeclared", "queue_never_pulled", "history_short", "retention"}


def by_place(document):
    found = {
        (item["code"], item["queue"], item["problem"]): item["rows"]
        for item in document.content["findings"]
        if item["code"] not in NOT_OF_ROWS
    }
    places = [item for item in document.content["findings"] if item["code"] not in NOT_OF_ROWS]
    assert len(found) == len(places), "a place stands there twice"
    return found


@pytest.fixture
def captured():
    capture.load_capture(rows.DATA)
    return rows.captured()


@pytest.mark.parametrize("course", [COURSE, HAZARD, IN_FLIGHT, MISC, MISC_LOWER])
def test_every_count_is_the_oracles(captured, course):
    expected = Oracle(captured, course, case_counts=connections["xqueue"].vendor == "sqlite")
    document = api.preflight(course, rows.ignore)
    assert document.content["rows"] == len(expected.rows)
    assert by_place(document) == dict(expected.counts)
    for item in document.content["findings"]:
        place = (item["code"], item["queue"], item["problem"])
        if item["code"] not in NOT_OF_ROWS:
            assert item["example_legacy_id"] in expected.rows_with[place]
        wanted = expected.rows_with[place] if item["code"] == "collided" else []
        assert item["listed_legacy_ids"] == wanted
    blockers = {item["code"] for item in document.content["findings"] if item["severity"] == "blocker"}
    assert document.exit_code == (ExitCode.DIFFERENCES if blockers else ExitCode.OK)
    assert bool(blockers) == (course == HAZARD)


def test_the_hazardous_course_shows_all_its_hazards(captured):
    found = {code for code, *_ in by_place(api.preflight(HAZARD, rows.ignore))}
    assert found >= {
        "answer_over_limit",
        "callback_collision",
        "collided",
        "multi_input",
        "payload_extra_keys",
        "payload_missing",
        "payload_no_grader",
        "payload_not_json",
        "random_seed",
        "reply_invalid",
        "reply_refused",
        "score_out_of_range",
        "score_rounded",
        "submission_time_format",
    }


@pytest.mark.parametrize("course", [COURSE, HAZARD, IN_FLIGHT, MISC])
def test_history_and_problems_are_the_oracles(captured, course):
    expected = Oracle(captured, course, case_counts=connections["xqueue"].vendor == "sqlite")
    content = api.preflight(course, rows.ignore).content
    pairs = {problem: number for problem, number in expected.history.items() if problem}
    assert content["history"]["graded"] == sum(pairs.values())
    assert content["history"]["pairs"] == sum(min(number, 200) for number in pairs.values())
    assert content["history"]["thin_problems"] == sorted(name for name, number in pairs.items() if number < 20)
    cohorts = {(item["queue"], item["problem"]): item for item in content["cohorts"]}
    for (queue, problem), item in cohorts.items():
        mine = [row for row in expected.rows if (row.queue, row.problem) == (queue, problem)]
        assert item["rows"] == len(mine)
        assert item["in_flight"] == sum(not row.columns["retired"] for row in mine)
        assert item["inputs"] == expected.inputs[queue, problem]
    assert len(cohorts) == len({(row.queue, row.problem) for row in expected.rows})


@pytest.mark.parametrize("course", [COURSE, HAZARD, IN_FLIGHT])
def test_the_classes_are_those_of_a_backfill_with_history(captured, course):
    content = api.preflight(course, rows.ignore).content
    plan = rows.backfill(execute=False, history=True, per_problem=10_000, courses=frozenset([course])).content
    imported = {name: number for name, number in plan["classes"].items() if number and name != "out_of_scope"}
    assert content["classes"] == imported
    assert sum(content["classes"].values()) == content["rows"]


def test_a_finding_says_what_to_do_and_shows_an_example(captured):
    findings = api.preflight(HAZARD, rows.ignore).content["findings"]
    assert len(findings) > 20
    by_id = {row["id"]: row for row in captured}
    for item in findings:
        rule = row_rules.RULES[item["code"]]
        assert (item["effect"], item["advice"], item["seam"]) == (rule.effect, rule.advice, rule.seam)
        if item["example_legacy_id"] is not None:
            row = by_id[item["example_legacy_id"]]
            assert item["queue"] == row["queue_name"]
            assert item["problem"] in row["xqueue_header"]


def test_nothing_of_a_learner_is_in_the_document(captured):
    """Neither ids nor keys nor answers nor replies."""
    text = json.dumps(api.preflight(HAZARD, rows.ignore).content)
    for row in captured:
        header = json.loads(row["xqueue_header"])
        assert header["lms_key"] not in text
        if row["queue_name"] == "ExampleUniversity-DataStructures201":
            body = json.loads(row["xqueue_body"])
            assert json.loads(body["student_info"])["anonymous_student_id"] not in text


def test_pages_may_be_of_any_size(captured, monkeypatch):
    """A row's siblings are found wherever the pages end."""
    whole = api.preflight(HAZARD, rows.ignore).content
    monkeypatch.setattr(preflight_rows, "HEADERS", 11)
    monkeypatch.setattr(preflight_rows, "PAGE", 4)
    assert api.preflight(HAZARD, rows.ignore).content["findings"] == whole["findings"]


def test_places_over_the_bound_are_counted_together(captured, monkeypatch):
    whole = api.preflight(HAZARD, rows.ignore).content
    monkeypatch.setattr(row_counts, "COHORTS", 2)
    bounded = api.preflight(HAZARD, rows.ignore).content
    assert len(bounded["cohorts"]) == 3
    assert sum(item["rows"] for item in bounded["cohorts"]) == whole["rows"]
    for code in ("random_seed", "collided", "answer_over_limit", "score_out_of_range"):
        totals = [
            sum(item["rows"] for item in content["findings"] if item["code"] == code) for content in (whole, bounded)
        ]
        assert totals[0] == totals[1] > 0


def test_every_rule_can_be_reported():
    assert set(preflight.finding_codes()) >= set(row_rules.RULES)
