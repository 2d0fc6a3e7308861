"""Findings that no captured row shows, each from planted rows; and that every rule is shown by some row or queue."""

import json
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.utils.timezone import now

from migration_shim import api
from migration_shim.core.data import Leg, Origin
from migration_shim.core.errors import PredictionUnavailable
from migration_shim.core.row_rules import RULES
from migration_shim.lms import lti
from migration_shim.models import LedgerEntry
from migration_shim.preflight import queues
from migration_shim.preflight import rows as preflight_rows
from migration_shim.preflight import run as preflight
from sandbox.databases import LEGACY_MEDIA
from tests.builders import rows
from tests.builders.rows import COURSE, QUEUE, fresh  # noqa: F401

pytestmark = [pytest.mark.django_db(databases=["default", "xqueue"]), pytest.mark.usefixtures("quiet")]
KEY = "0123456789abcdef" * 2  # XQueue's name of a stored file

#: Shown by rows of sandbox/data; see test_captured.py.
CAPTURED = {
    "answer_over_limit",
    "body_extra_keys",
    "callback_collision",
    "collided",
    "matlab",
    "matlab_plot",
    "multi_input",
    "payload_extra_keys",
    "payload_missing",
    "payload_no_grader",
    "payload_not_json",
    "points_unknown",
    "random_seed",
    "reply_invalid",
    "reply_refused",
    "score_out_of_range",
    "score_rounded",
    "submission_time_format",
    "unreadable",
}
#: Asked of a running XQueue; see test_run.py and test_probe.py.
ASKED = {"queue_unknown", "reverse_queue_unknown", "reverse_queue_not_polled"}
TOLD = {
    "deleted_unretired",
    "file_unreachable",
    "files_no_storage",
    "grading_over_lease",
    "history_short",
    "lti_points_unknown",
    "push_queue",
    "queue_never_pulled",
    "queue_reserved",
    "retention",
    "score_refused",
    "score_scaled",
    "scores_unpredictable",
    "side_effects_undeclared",
}


def findings(code):
    return [item for item in api.preflight(COURSE, rows.ignore).content["findings"] if item["code"] == code]


def having(settings, **changes):
    settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | changes


def reply(score, correct=True):
    return json.dumps({"correct": correct, "score": score, "msg": "<p>m</p>"})


def test_every_rule_about_rows_and_queues_is_shown_by_a_test():
    assert CAPTURED | ASKED | TOLD | set(SINGLE) | {"names_alike"} == set(RULES)  # that: tests/dual_write/test_alike.py


SINGLE = {
    "payload_not_an_object": {"payload": "[1]"},
    "grader_name_too_long": {"payload": json.dumps({"grader": "g" * 129})},
    "answer_null": {"answer": None},
    "input_unknown": {"response": 101},
    "identity_unfit": {"queue": "q" * 125},
}


@pytest.mark.parametrize("code", SINGLE)
def test_one_odd_row_among_two(code):
    rows.legacy_row(1, **rows.graded())
    odd = rows.legacy_row(2, **SINGLE[code])
    (item,) = findings(code)
    assert (item["rows"], item["example_legacy_id"]) == (1, odd.pk)
    assert item["severity"] == RULES[code].severity


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ("", "payload_missing"),
        (" \n", "payload_missing"),
        (None, "payload_missing"),
        ("g.py", "payload_not_json"),
        ("[" * 50_000, "payload_not_json"),
        ("null", "payload_not_an_object"),
        ('"g.py"', "payload_not_an_object"),
        ("1", "payload_not_an_object"),
        ("{}", "payload_no_grader"),
        ('{"grader": ["g.py"]}', "payload_no_grader"),
        ('{"grader": "g.py", "lang": "c"}', "payload_extra_keys"),
    ],
)
def test_what_a_payload_lacks(payload, code):
    rows.legacy_row(payload=payload, **rows.graded())
    found = {item["code"] for item in api.preflight(COURSE, rows.ignore).content["findings"]}
    assert {name for name in found if name.startswith("payload")} == {code}


@pytest.mark.parametrize("seed", [None, 0, True, "1", 1.5, [1]])
def test_every_seed_but_1_is_reported(seed):
    rows.legacy_row(seed=seed)
    assert findings("random_seed")[0]["rows"] == 1


def test_the_answers_limit_is_that_of_escaped_json():
    rows.legacy_row(1, answer="x" * 102_398)
    assert findings("answer_over_limit") == []
    rows.legacy_row(2, answer="ü" * 18_000)
    rows.legacy_row(3, answer="x" * 102_399)
    (item,) = findings("answer_over_limit")
    assert (item["rows"], item["about"]) == (2, "up to 108,002 characters")


def test_keys_are_named_where_they_are_plain_and_bounded_in_number():
    keys = {f"key{number}": 1 for number in range(9)} | {"<b>\x1b[31m": 1, "x" * 41: 1}
    rows.legacy_row(extra=keys)
    (item,) = findings("body_extra_keys")
    assert item["about"] == "(another key), and others, key0, key1, key2, key3"


# Replies and times


@pytest.mark.parametrize("possible", ["points unknown", "of ten"])
def test_a_score_that_the_target_does_not_take_is_a_blocker(settings, possible):
    """Legacy delivers a score below 0 as none; the target tries five times, and gives up."""
    if possible == "of ten":
        having(settings, POINTS_RESOLVER="tests.preflight.points.ten")
    rows.legacy_row(1, **rows.graded())
    row = rows.legacy_row(2, **rows.graded(reply(-1, correct=False)))
    (item,) = findings("score_refused")
    assert (item["rows"], item["example_legacy_id"], item["severity"]) == (1, row.pk, "blocker")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('{"correct": true, "score": 1, "msg": 5}', "reply_refused"),
        ('{"correct": true, "score": null, "msg": "m"}', "reply_refused"),
        ('{"correct": true, "msg": "m"}', "reply_refused"),
        ("[1]", "reply_refused"),
        ("no JSON", "reply_refused"),
        ('{"correct": true, "score": 1, "msg": ""}', "reply_invalid"),
        ('{"score": 1, "msg": "m"}', "reply_invalid"),
    ],
)
def test_a_reply_that_the_platform_cannot_use(text, code):
    """Where CAPA fails on a reply, nothing stays stored of it; where CAPA calls it invalid, a Score does."""
    rows.legacy_row(1, **rows.graded())
    rows.legacy_row(2, **rows.graded(text))
    found = [
        item for item in api.preflight(COURSE, rows.ignore).content["findings"] if item["code"].startswith("reply")
    ]
    assert [(item["code"], item["rows"]) for item in found] == [(code, 1)]


def test_points_where_the_target_expects_a_share_are_scaled(settings):
    """Most scores of the queue are points out of 10: edx-submissions 4.0.2 would store 70 for 7."""
    having(settings, POINTS_RESOLVER="tests.preflight.points.ten")
    for user, score in enumerate((7, 3, 4.5, 0.5, 0), start=1):
        rows.legacy_row(user, **rows.graded(reply(score)))
    (item,) = findings("score_scaled")
    assert item["rows"] == 4  # all but nothing, which is nothing in any style
    assert findings("points_unknown") == []


def test_a_share_of_ten_is_right_or_rounded(settings):
    having(settings, POINTS_RESOLVER="tests.preflight.points.ten")
    for user, score in enumerate((0.5, 0.7, 1, 0.55), start=1):
        rows.legacy_row(user, **rows.graded(reply(score)))
    (item,) = findings("score_rounded")
    assert (item["rows"], findings("score_scaled"), findings("score_out_of_range")) == (1, [], [])


def test_a_style_is_the_queues_whatever_the_order(settings):
    """One stray among shares, told before any of them."""
    having(settings, POINTS_RESOLVER="tests.preflight.points.ten")
    stray = rows.legacy_row(1, **rows.graded(reply(7)))
    for user in range(2, 5):
        rows.legacy_row(user, problem=f"{user:032x}", **rows.graded(reply(0.5)))
    for user in range(5, 9):
        rows.legacy_row(user, queue="of-points", **rows.graded(reply(7)))
    by_queue = {item["queue"]: item for item in findings("score_scaled")}
    assert by_queue[QUEUE]["example_legacy_id"] == stray.pk
    assert (by_queue[QUEUE]["rows"], by_queue["of-points"]["rows"]) == (1, 4)


def test_when_edx_submissions_cannot_be_asked_that_is_a_blocker(monkeypatch):
    def unknown():
        raise PredictionUnavailable("put_result is no plain function")

    monkeypatch.setattr(preflight.prediction, "check", unknown)
    rows.legacy_row(**rows.graded(reply(-1)))
    (item,) = findings("scores_unpredictable")
    assert (item["severity"], item["about"]) == ("blocker", "put_result is no plain function")
    assert findings("score_refused") == []


@pytest.mark.parametrize(("seconds", "expected"), [(299, 0), (300, 0), (301, 1)])
def test_a_grading_longer_than_the_lease(seconds, expected):
    pulled = now() - timedelta(hours=1)
    rows.legacy_row(**rows.graded() | {"pull_time": pulled, "return_time": pulled + timedelta(seconds=seconds)})
    found = findings("grading_over_lease")
    assert len(found) == expected
    if found:
        assert (found[0]["rows"], found[0]["about"]) == (1, "up to 301 s")


def test_a_row_that_was_pulled_again_shows_no_grading_time():
    returned = now() - timedelta(hours=1)
    rows.legacy_row(pull_time=now(), return_time=returned, num_failures=1, grader_reply=rows.RIGHT)
    assert findings("grading_over_lease") == []


def test_over_lti_unknown_points_are_a_blocker(monkeypatch, settings):
    """An LMS with the app of LTI, and learners who came to this course over it."""
    launched = {"course-v1:ExU+PY1+2026"}
    launches = SimpleNamespace(filter=lambda course_key: SimpleNamespace(exists=lambda: str(course_key) in launched))
    models = {("lti_provider", "GradedAssignment"): SimpleNamespace(objects=launches)}
    apps = SimpleNamespace(
        is_installed=lambda name: name == "lms.djangoapps.lti_provider",
        get_model=lambda app, model: models[app, model],
    )
    monkeypatch.setattr(lti, "apps", apps)
    rows.legacy_row()
    (item,) = findings("lti_points_unknown")
    assert (item["severity"], item["rows"]) == ("blocker", 1)
    assert findings("points_unknown") == []
    launched.clear()
    assert findings("lti_points_unknown") == []
    assert findings("points_unknown")[0]["severity"] == "note"
    launched.add(COURSE)
    having(settings, POINTS_RESOLVER="tests.preflight.points.ten")
    assert findings("lti_points_unknown") == []


# Queues


@pytest.mark.parametrize(
    ("pushed", "pulled", "declared", "expected"),
    [
        (True, False, False, True),
        (False, True, True, True),
        (False, True, False, False),
        (False, False, True, True),
        (False, False, False, False),
    ],
)
def test_a_queue_that_is_pushed(settings, pushed, pulled, declared, expected):
    having(settings, PUSH_QUEUES=[QUEUE] if declared else [])
    rows.legacy_row(push_time=now() if pushed else None, pull_time=now() if pulled else None)
    found = findings("push_queue")
    assert bool(found) == expected
    assert all((item["severity"], item["queue"], item["rows"]) == ("blocker", QUEUE, int(pushed)) for item in found)
    assert bool(findings("queue_never_pulled")) == (not (pushed or pulled or declared))


FAILED_PUSH = rows.graded("", ago=timedelta(minutes=5)) | {"push_time": now(), "num_failures": 1}


def test_a_push_that_failed_is_no_grade():
    """What XQueue has told the LMS itself says nothing of a grader, and there is no reply that could be echoed."""
    good = rows.legacy_row(1, **rows.graded())
    rows.legacy_row(2, **FAILED_PUSH)
    content = api.preflight(COURSE, rows.ignore).content
    assert {name: number for name, number in content["classes"].items() if number} == {"final": 1, "given_up": 1}
    assert [cohort["history"] for cohort in content["cohorts"]] == [1]
    assert findings("reply_invalid") == findings("reply_refused") == []
    rows.backfill(history=True, per_problem=1)
    assert LedgerEntry.objects.get().legacy_id == good.pk


@pytest.mark.parametrize("suffix", [".held", ".echo", ".shadow", ".HELD"])
def test_a_queue_named_like_those_of_copies_is_a_blocker(suffix):
    rows.legacy_row(1, queue=QUEUE)
    rows.legacy_row(2, queue=QUEUE + suffix)
    (found,) = findings("queue_reserved")
    assert (found["queue"], found["severity"]) == (QUEUE + suffix, "blocker")


def test_a_queue_that_is_polled_since_it_was_pushed_is_no_push_queue():
    rows.legacy_row(1, push_time=now() - timedelta(hours=2))
    assert findings("push_queue") != []
    rows.legacy_row(2, pull_time=now() - timedelta(hours=1))
    assert findings("push_queue") == []


@pytest.mark.parametrize("setting", ["SIDE_EFFECT_QUEUES", "SIDE_EFFECT_FREE_QUEUES"])
def test_a_declared_queue_is_not_asked_about(settings, setting):
    rows.legacy_row(1)
    rows.legacy_row(2, queue="exu-alg2")
    assert [item["queue"] for item in findings("side_effects_undeclared")] == ["exu-alg2", QUEUE]
    having(settings, **{setting: [QUEUE]})
    assert [item["queue"] for item in findings("side_effects_undeclared")] == ["exu-alg2"]
    assert "--grading echo" in findings("side_effects_undeclared")[0]["advice"]


# Files


def stored(name, contents="x"):
    path = LEGACY_MEDIA / QUEUE / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(contents)
    return path


@pytest.fixture
def there():
    path = stored(KEY)
    yield KEY
    path.unlink()


def test_files_that_are_there_are_no_finding(there):
    rows.legacy_row(files={"main.py": there})
    assert findings("file_unreachable") == []
    assert findings("files_no_storage") == []


def test_a_missing_file_is_a_warning_and_a_blocker_where_none_is_there(there):
    gone = rows.legacy_row(1, files={"main.py": "0" * 32})
    rows.legacy_row(2, files={"main.py": "1" * 32}, **rows.graded())
    (item,) = findings("file_unreachable")
    assert (item["severity"], item["rows"], item["example_legacy_id"]) == ("blocker", 2, gone.pk)
    assert item["about"] == "2 file_missing; 2 of 2 rows with files were looked at"
    rows.legacy_row(3, files={"main.py": there})
    (item,) = findings("file_unreachable")
    assert (item["severity"], item["rows"]) == ("warning", 2)
    assert item["about"] == "2 file_missing; 3 of 3 rows with files were looked at"


def test_a_storage_that_gives_nothing_is_not_asked_for_ever(monkeypatch):
    for user in range(1, 9):
        rows.legacy_row(user, files={"main.py": "0" * 32})
    asked = []
    monkeypatch.setattr(queues.files, "check", lambda row, *words: asked.append(row.id) or missing())
    (item,) = findings("file_unreachable")
    assert len(asked) == queues.GIVE_UP == 5
    assert item["about"] == "5 file_unreadable; 5 of 8 rows with files were looked at"
    assert asked == sorted(asked, reverse=True)


def missing():
    raise queues.FileUnavailable("file_unreadable", "")


def test_only_the_newest_files_of_a_long_history_are_looked_at(monkeypatch):
    monkeypatch.setattr("migration_shim.core.row_counts.FILES_LOOKED", 2)
    ids = [rows.legacy_row(user, files={"main.py": KEY}, **rows.graded()).pk for user in range(1, 6)]
    waiting = rows.legacy_row(9, files={"main.py": KEY}).pk
    asked = []
    monkeypatch.setattr(queues.files, "check", lambda row, *words: asked.append(row.id))
    assert findings("file_unreachable") == []
    assert asked == [waiting, ids[4], ids[3]]


def test_without_a_storage_rows_with_files_are_a_blocker(settings):
    having(settings, LEGACY_STORAGE={}, LEGACY_FILE_HOSTS=[])
    rows.legacy_row(1)
    assert findings("files_no_storage") == []
    row = rows.legacy_row(2, files={"main.py": KEY})
    (item,) = findings("files_no_storage")
    assert (item["severity"], item["rows"], item["example_legacy_id"]) == ("blocker", 1, row.pk)


# Legacy's memory


def known_to_the_ledger(legacy_id, state, number=0):
    LedgerEntry.objects.create(
        identity=f"{legacy_id + number:064x}",
        group="g",
        course_id=COURSE,
        item_id=rows.usage_key("a"),
        learner="l",
        queue_name=QUEUE,
        phase="shadow",
        authority="legacy",
        origin=Origin.ROUTER,
        legacy_leg=Leg.STORED,
        target_leg=Leg.STORED,
        legacy_id=legacy_id,
        legacy_state=state,
        arrived_at=now(),
    )


def test_rows_deleted_before_they_had_an_outcome_are_listed(monkeypatch):
    monkeypatch.setattr("migration_shim.preflight.history.PAGE", 2)
    there = rows.legacy_row()
    known_to_the_ledger(there.pk, "queued")
    gone = [there.pk + 10, there.pk + 11, there.pk + 12]
    for legacy_id, state in zip(gone, ("queued", "pulled", "queued"), strict=True):
        known_to_the_ledger(legacy_id, state)
    known_to_the_ledger(there.pk + 20, "graded")
    known_to_the_ledger(there.pk + 21, "")
    (item,) = findings("deleted_unretired")
    assert (item["severity"], item["rows"], item["example_legacy_id"]) == ("blocker", 3, gone[0])
    assert item["listed_legacy_ids"] == gone


def test_how_far_legacy_remembers():
    first = rows.legacy_row(1, id=500, course="course-v1:ExU+Other+2026")
    rows.legacy_row(2, id=503)
    content = api.preflight(COURSE, rows.ignore).content
    first.refresh_from_db()
    assert content["retention"] == {
        "rows": 2,
        "oldest_legacy_id": 500,
        "oldest_arrival": first.arrival_time.isoformat(),
        "missing_ids": 2,
    }
    (item,) = findings("retention")
    assert item["about"].startswith("the oldest is 500 of ")


def test_a_table_that_begins_with_its_first_row_has_lost_none():
    rows.legacy_row(1, id=1)
    assert findings("retention") == []


def test_a_short_past_is_noted_and_an_unlimited_one_is_bounded_by_problem(settings, monkeypatch):
    monkeypatch.setattr("migration_shim.preflight.history.PER_PROBLEM", 2)
    for user in range(1, 6):
        rows.legacy_row(user, problem=f"{user % 2:032x}", **rows.graded())
    having(settings, GATE_THRESHOLD=0.5)
    past = api.preflight(COURSE, rows.ignore).content["history"]
    assert (past["graded"], past["pairs"], past["per_problem"]) == (5, 4, 2)
    (item,) = findings("history_short")
    assert item["about"] == f"4 graded pairs of {past['needed']}"
    having(settings, GATE_THRESHOLD=0.9)
    assert api.preflight(COURSE, rows.ignore).content["history"]["needed"] <= 4
    assert findings("history_short") == []


def test_the_gate_names_the_same_number_of_pairs():
    """449, as the design has it, for the default threshold."""
    assert api.preflight(COURSE, rows.ignore).content["history"]["needed"] == 449


# Whose rows


def test_a_copy_is_nobodys_submission():
    """Reverse shadows and probes, by their sink or by their queue."""
    rows.legacy_row(1, seed=5)
    rows.legacy_row(2, seed=5, queue=f"{QUEUE}.reverse")
    content = api.preflight(COURSE, rows.ignore).content
    assert (content["rows"], content["queues"]) == (1, [QUEUE])


def test_a_row_that_cannot_be_read_belongs_to_the_course_that_it_names():
    rows.legacy_row(1, xqueue_body="{")
    header = json.loads(rows.header(2, "a" * 32, "k"))
    rows.legacy_row(2, xqueue_header=json.dumps(header | {"lms_callback_url": header["lms_callback_url"] + "/!"}))
    rows.legacy_row(3, xqueue_header="{")
    (item,) = findings("unreadable")
    assert (item["rows"], item["problem"]) == (2, "")
    assert item["about"] == "body_not_json, callback_no_course"


def test_a_retired_row_of_another_page_collides_too(monkeypatch):
    """A page of rows that wait asks for the retired ones beside them."""
    monkeypatch.setattr(preflight_rows, "PAGE", 1)
    rows.legacy_row(1, problem="a" * 31 + "b", **rows.graded())
    rows.legacy_row(1, problem="a" * 32)
    assert [item["rows"] for item in findings("callback_collision")] == [1, 1]
