"""What a handoff makes of a legacy row: one class for every row, and only what nobody is at work on moves."""

import dataclasses
import json
from datetime import timedelta

import pytest

from migration_shim.core.classification import Policy, is_handed_off
from migration_shim.core.data import Authority, Move, Phase
from migration_shim.core.handoff import HandoffPolicy, LedgerFacts, classify_for_handoff, is_reduced, under_live_pull
from migration_shim.core.wire import parse_body
from tests.builders import core_rows as rows
from tests.builders.core_rows import NOON, SINK, callback_url, parsed

POLICY = HandoffPolicy(
    rows=Policy(courses=None, queues=None, history=False, answer_limit=102400, files_readable=True),
    push_queues=frozenset({"pushed"}),
    processing_delay=timedelta(seconds=60),
    reduced_payloads=False,
)
CLOCK = NOON + timedelta(minutes=10)
LIVE = LedgerFacts(phase=Phase.LIVE)
SECOND = timedelta(seconds=1)


def class_of(row, *siblings, standing=LIVE, **changes):
    decision = classify_for_handoff(row, list(siblings), dataclasses.replace(POLICY, **changes), standing, CLOCK)
    return decision.row_class.value, decision.reason


def pulled(ago, **columns):
    return parsed(pull_time=CLOCK - timedelta(seconds=ago), pullkey="k", **columns)


SHADOW_ONLY = LedgerFacts(phase=Phase.SHADOW)
ROWS = {
    "queued": (parsed(), LIVE, ("imported", "")),
    "in complete": (parsed(), LedgerFacts(phase=Phase.COMPLETE), ("imported", "")),
    "in shadow": (parsed(), SHADOW_ONLY, ("out_of_scope", "phase_shadow")),
    "in legacy": (parsed(), LedgerFacts(phase=Phase.LEGACY), ("out_of_scope", "phase_legacy")),
    "unfit, in shadow": (parsed(xqueue_body=rows.body(None)), SHADOW_ONLY, ("out_of_scope", "phase_shadow")),
    "unfit": (parsed(xqueue_body=rows.body(None)), LIVE, ("drain", "answer_null")),
    "unreadable": (parsed(xqueue_body="no"), SHADOW_ONLY, ("malformed", "body_not_json")),
    "copy": (parsed(xqueue_header=rows.header(url=SINK)), LIVE, ("copy", "")),
    "plot": (
        parsed(xqueue_header=rows.header(url=callback_url(dispatch="ungraded_response"))),
        LIVE,
        ("drain", "dispatch_not_score_update"),
    ),
    "pulled just now": (pulled(59), LIVE, ("drain", "under_live_pull")),
    "pulled in the future": (pulled(-5), LIVE, ("drain", "under_live_pull")),
    "pulled a delay ago": (pulled(60), LIVE, ("imported", "")),
    "pushed": (
        parsed(queue_name="pushed"),
        LIVE,
        ("drain", "push_queue"),
    ),
    "held": (parsed(), LedgerFacts(phase=Phase.LIVE, move=Move.HELD), ("present", "held")),
    "held, and pulled": (pulled(5), LedgerFacts(phase=Phase.LIVE, move=Move.FENCED), ("present", "held")),
    "on its way back": (parsed(), LedgerFacts(phase=Phase.LIVE, move=Move.RETURNING), ("present", "returning")),
    "back": (parsed(), LedgerFacts(phase=Phase.LIVE, move=Move.RETURNED), ("imported", "")),
    "alive on both": (
        pulled(5),
        LedgerFacts(phase=Phase.LIVE, move=Move.WATCHED, authority=Authority.TARGET),
        ("present", "double_authority"),
    ),
    "replaced": (parsed(), LedgerFacts(phase=Phase.LIVE, replaced=True), ("superseded", "newer_attempt_on_target")),
    "handed off": (parsed(retired=True, grader_id="migration_shim:7"), LIVE, ("present", "handed_off")),
    "graded": (parsed(retired=True, lms_ack=True, return_time=NOON), LIVE, ("final", "")),
    "given up": (parsed(retired=True, num_failures=4), LIVE, ("given_up", "")),
}


@pytest.mark.parametrize(("row", "standing", "expected"), ROWS.values(), ids=ROWS)
def test_the_class_of_a_row(row, standing, expected):
    assert class_of(row, standing=standing) == expected


def test_a_row_whose_twin_a_grader_holds_stays():
    main = parsed(id=2)
    assert class_of(main, pulled(5, id=1)) == ("drain", "under_live_pull")
    assert class_of(main, pulled(5, id=1, retired=True)) == ("imported", "")
    assert class_of(main, pulled(5, id=1, xqueue_body=rows.body("other"))) == ("imported", "")


@pytest.mark.parametrize(
    ("payload", "seed", "more", "reduced"),
    [
        ('{"grader": "g.py"}', 1, {}, False),
        ('{"grader": "g.py", "lang": "de"}', 1, {}, True),
        ('{"grader": "g.py"}', 2, {}, True),
        ('{"grader": "g.py"}', 1, {"token": "t"}, True),
        ("", 1, {}, True),
        (None, 1, {}, True),
        ("no", 1, {}, True),
        ("[" * 100_000, 1, {}, True),
        ('["grader"]', 1, {}, True),
    ],
)
def test_what_upstreams_endpoint_would_cut(payload, seed, more, reduced):
    info = json.dumps({"anonymous_student_id": rows.LEARNER, "submission_time": "20261122120000", "random_seed": seed})
    text = json.dumps({"grader_payload": payload, "student_info": info, "student_response": "x"} | more)
    assert is_reduced(parse_body(text)) is reduced
    row = parsed(xqueue_body=text)
    assert class_of(row, reduced_payloads=True)[0] == ("drain" if reduced else "imported")
    assert class_of(row) == ("imported", "")


def test_a_pull_lives_for_the_processing_delay():
    delay = timedelta(seconds=60)
    assert not under_live_pull(rows.row(), CLOCK, delay)
    assert under_live_pull(rows.row(pull_time=CLOCK - delay + SECOND), CLOCK, delay)
    assert not under_live_pull(rows.row(pull_time=CLOCK - delay), CLOCK, delay)
    assert not under_live_pull(rows.row(pull_time=CLOCK, retired=True), CLOCK, delay)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"retired": True, "grader_id": "migration_shim:12"}, True),
        ({"retired": False, "grader_id": "migration_shim:12"}, False),
        ({"retired": True, "grader_id": "migration_shim:12", "pullkey": "k"}, False),
        ({"retired": True, "grader_id": "10.20.0.11"}, False),
        ({"retired": True, "grader_id": "not handed off: 3"}, False),
    ],
)
def test_only_our_own_mark_on_a_retired_row_without_a_key_is_a_handoff(columns, expected):
    assert is_handed_off(rows.row(**columns)) is expected
