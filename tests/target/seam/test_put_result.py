"""What the watcher seam does with a grader's result: stored once, or counted; and the queue moves on."""

import json
import logging
import threading
import time
from contextlib import contextmanager

import pytest
from django.db import connection, connections, transaction
from django.forms import model_to_dict
from openedx_events.learning.signals import EXTERNAL_GRADER_SCORE_SUBMITTED
from submissions.models import ExternalGraderDetail, Score, score_set

from migration_shim.conf import load
from migration_shim.target import prediction, results
from migration_shim.target.transitions import supersede
from sandbox.lms.courseware.models import StudentModule
from sandbox.lms.models import LearnerEffect
from tests.builders import rows
from tests.builders.rows import fresh  # noqa: F401
from tests.builders.watchers import COMMITTED, SHADOW, real, scores, shadow

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"])

# Replies that edx-submissions cannot store. It answers 200, 400 or 500 to them; here each is one counted failure.
BAD = {
    "score null": '{"correct": true, "score": null, "msg": "m"}',
    "no score": '{"correct": true, "msg": "m"}',
    "score text": '{"correct": true, "score": "1", "msg": "m"}',
    "score a list": '{"correct": true, "score": [1], "msg": "m"}',
    "negative": '{"correct": true, "score": -1, "msg": "m"}',
    "NaN": '{"correct": true, "score": NaN, "msg": "m"}',
    "infinite": '{"correct": true, "score": 1e400, "msg": "m"}',
    "huge": '{"correct": true, "score": 1e300, "msg": "m"}',
    "too many digits": '{"correct": true, "score": 1' + "0" * 5000 + ', "msg": "m"}',
    "a list": "[1]",
    "a text": '"1"',
    "a number": "1",
    "null": "null",
    "not JSON": "<html>",
    "empty": "",
    "nested too deep": "[" * 100_000,
}
# What upstream stores, though CAPA reads it otherwise: score, points of 1 and of 10.
STORED = {
    "half": ("0.5", 0, 5),
    "over half": ("0.51", 1, 5),
    "whole": ("1", 1, 10),
    "a float": ("1.0", 1, 10),
    "true": ("true", 1, 10),
    "absolute points": ("7", 7, 70),
    "just under zero": ("-0.02", 0, 0),
}
#: The same of a release before 4.0.2: a score is points, and no fraction is one.
UNSCALED = {
    "half": ("0.5", None, None),
    "over half": ("0.51", None, None),
    "whole": ("1", 1, 1),
    "a float": ("1.0", 1, 1),
    "true": ("true", None, None),
    "absolute points": ("7", 7, 7),
    "just under zero": ("-0.02", None, None),
}
EXPECTED = STORED if prediction.scales() else UNSCALED


def effects():
    """All that the LMS holds of its learners' external grades."""
    return [list(model.objects.order_by("pk").values_list()) for model in (LearnerEffect, StudentModule)]


@contextmanager
def connected(signal, receiver):
    """A receiver of another plugin, inside put_result's transaction."""
    signal.connect(receiver, weak=False)
    try:
        yield
    finally:
        signal.disconnect(receiver)


def failing(error):
    """A receiver that raises."""

    def receiver(**kwargs):
        raise error

    return receiver


# --- stored -------------------------------------------------------------------------------------------------------


def test_a_result_reaches_its_learner_and_is_kept_as_it_came(watcher):
    sent = real()
    reply = '{"msg": "<p>\\u00fc ok</p>",  "score": 1, "correct": true}\n'
    assert watcher.grade(reply) == (0, "")
    detail = sent.detail
    assert (detail.status, detail.grader_reply, detail.num_failures) == ("retired", reply, 0)
    assert scores() == [(1, 1)]
    assert StudentModule.objects.get().grade == 1
    assert LearnerEffect.objects.filter(kind="grade_published").count() == 1


def test_the_same_reply_again_is_answered_with_success_and_changes_nothing(watcher):
    sent = real()
    header = watcher.pull()["xqueue_header"]
    assert watcher.put(header) == (0, "")
    before = effects(), list(ExternalGraderDetail.objects.values_list()), model_to_dict(sent.entry)
    for _ in range(3):
        assert watcher.put(header) == (0, "")
    assert (effects(), list(ExternalGraderDetail.objects.values_list()), model_to_dict(sent.entry)) == before
    assert Score.objects.count() == 1


def test_another_reply_to_a_graded_row_is_refused(watcher):
    sent = real()
    header = watcher.pull()["xqueue_header"]
    assert watcher.put(header, rows.RIGHT) == (0, "")
    before = effects()
    assert watcher.put(header, rows.WRONG) == (1, "Incorrect key for submission")
    assert effects() == before
    assert sent.detail.grader_reply == rows.RIGHT
    assert scores() == [(1, 1)]


@pytest.mark.parametrize(("score", "of_one", "of_ten"), EXPECTED.values(), ids=EXPECTED)
def test_the_points_are_upstreams(watcher, score, of_one, of_ten):
    real(points=1, age=2), real(points=10, age=1)
    reply = f'{{"correct": true, "score": {score}, "msg": "m"}}'
    assert watcher.grade(reply) == watcher.grade(reply) == (0, "")
    assert scores() == [(stored, possible) for stored, possible in ((of_one, 1), (of_ten, 10)) if stored is not None]


@pytest.mark.parametrize("reply", [rows.RIGHT, '{"score": 1}'], ids=["a grade", "what CAPA calls invalid"])
def test_a_stored_result_ends_the_lease_of_its_session(watcher, reply):
    sent = real()
    header = watcher.pull()["xqueue_header"]
    assert sent.entry.lease_session != ""
    assert watcher.put(header, reply) == (0, "")
    assert (sent.detail.status, sent.entry.lease_session) == ("retired", "")


def test_a_result_that_is_not_stored_does_not(watcher):
    sent = real()
    header = watcher.pull()["xqueue_header"]
    assert watcher.put(header, BAD["score null"]) == (0, "")
    assert sent.detail.status == "retry"
    assert sent.entry.lease_session != ""


def test_a_shadows_result_reaches_nobody(watcher):
    detail = shadow()
    assert watcher.grade(queue=SHADOW) == (0, "")
    detail.refresh_from_db()
    assert detail.status == "retired"
    assert Score.objects.get().student_item.student_id.startswith("shadow:")
    assert effects() == [[], []]


# --- refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["", "wrong", "0" * 32])
def test_a_wrong_key_is_refused(watcher, key):
    sent = real()
    header = watcher.pull()["xqueue_header"] | {"submission_key": key}
    assert watcher.put(header) == (1, "Incorrect key for submission")
    assert (sent.detail.status, sent.detail.num_failures, Score.objects.count()) == ("pulled", 0, 0)


def test_the_empty_key_of_a_row_that_nobody_was_handed_is_refused(watcher):
    sent = real()
    for status in ("pending", "pulled"):
        for key in ("", None):
            ExternalGraderDetail.objects.update(pullkey=key, status=status)
            header = {"submission_id": sent.submission_id, "submission_key": ""}
            assert watcher.put(header) == (1, "Incorrect key for submission")
        assert (sent.detail.status, Score.objects.count()) == (status, 0)


def test_an_unknown_submission_is_refused(watcher):
    assert watcher.put({"submission_id": 999_999, "submission_key": "k"}) == (1, "Submission does not exist")


@pytest.mark.parametrize(
    "header",
    [
        "",
        "{",
        "[]",
        "null",
        "1",
        "{}",
        '{"submission_id": 1}',
        '{"submission_key": "k"}',
        '{"submission_id": "one", "submission_key": "k"}',
        '{"submission_id": "", "submission_key": "k"}',
        '{"submission_id": "-1", "submission_key": "k"}',
        '{"submission_id": "\u0661", "submission_key": "k"}',
        '{"submission_id": 1.5, "submission_key": "k"}',
        '{"submission_id": true, "submission_key": "k"}',
        '{"submission_id": null, "submission_key": "k"}',
        '{"submission_id": [1], "submission_key": "k"}',
        '{"submission_id": 0, "submission_key": "k"}',
        '{"submission_id": 99999999999999999999, "submission_key": "k"}',
        '{"submission_id": 1, "submission_key": null}',
        '{"submission_id": 1, "submission_key": 7}',
        "[" * 100_000,
    ],
)
def test_a_header_that_is_none_is_refused(watcher, header):
    real()
    watcher.pull()
    assert watcher.put(header) == (1, "Incorrect reply format")
    assert ExternalGraderDetail.objects.get().status == "pulled"


@pytest.mark.parametrize("missing", ["xqueue_header", "xqueue_body"])
def test_a_field_that_is_missing_is_refused(watcher, missing):
    form = {"xqueue_header": "{}", "xqueue_body": "{}"}
    del form[missing]
    assert watcher.post("put_result", **form).json() == {"return_code": 1, "content": "Incorrect reply format"}


def test_an_id_that_came_as_text_is_taken(watcher):
    """XQueue takes it too, and some graders send it."""
    sent = real()
    header = watcher.pull()["xqueue_header"]
    assert watcher.put(header | {"submission_id": str(sent.submission_id)}) == (0, "")
    assert sent.detail.status == "retired"


def test_a_superseded_row_takes_no_reply(watcher):
    sent = real()
    header = watcher.pull()["xqueue_header"]
    assert supersede([sent.submission_id]) == [sent.submission_id]
    before = effects()
    assert watcher.put(header) == (1, "Incorrect key for submission")
    assert watcher.put(header | {"submission_key": ""}) == (1, "Incorrect key for submission")
    assert effects() == before
    assert (sent.detail.status, sent.detail.grader_reply, Score.objects.count()) == ("retired", None, 0)


def test_a_reply_over_the_limit_is_refused(watcher):
    sent = real()
    header = watcher.pull()["xqueue_header"]

    def reply(size):
        return json.dumps({"correct": True, "score": 1, "msg": "m" * (size - 40)})

    assert len(reply(results.REPLY_LIMIT)) == results.REPLY_LIMIT
    assert watcher.put(header, reply(results.REPLY_LIMIT + 1)) == (1, "Incorrect reply format")
    # More than Django takes as a form: its own answer, before any view.
    form = {"xqueue_header": json.dumps(header), "xqueue_body": reply(3_000_000)}
    assert watcher.post("put_result", **form).status_code == 400
    assert (sent.detail.status, Score.objects.count()) == ("pulled", 0)
    assert watcher.put(header, reply(results.REPLY_LIMIT)) == (0, "")
    assert len(sent.detail.grader_reply) == results.REPLY_LIMIT


# --- counted ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reply", BAD.values(), ids=BAD)
def test_a_reply_that_cannot_be_stored_is_a_counted_failure(watcher, reply):
    """200 and success, as upstream says it: the grader has done its work, and need not log in again."""
    bad, good = real(age=2), real(age=1)
    before = effects()
    assert watcher.grade(reply) == (0, "")
    detail = bad.detail
    assert (detail.status, detail.num_failures, detail.grader_reply) == ("retry", 1, None)
    assert effects() == before and Score.objects.count() == 0
    assert watcher.pull()["xqueue_header"]["submission_id"] == good.submission_id
    again = watcher.pull()["xqueue_header"]
    assert again["submission_id"] == bad.submission_id
    assert watcher.put(again) == (0, "")
    assert bad.detail.status == "retired"


@pytest.mark.parametrize("kind", ["score null", "negative", "a list", "not JSON"])
def test_five_failures_end_a_row_and_its_learner_is_told_once(watcher, kind):
    """The first two are counted by upstream, the others here."""
    bad, good = real(age=2), real(age=1, learner=False)
    assert watcher.pull()["xqueue_header"]["submission_id"] == bad.submission_id
    ExternalGraderDetail.objects.filter(submission_id=bad.submission_id).update(status="retry")
    assert watcher.pull()["xqueue_header"]["submission_id"] == good.submission_id
    for failures in range(1, 6):
        header = watcher.pull()["xqueue_header"]
        assert header["submission_id"] == bad.submission_id
        assert watcher.put(header, BAD[kind]) == (0, "")
        detail = bad.detail
        assert (detail.status, detail.num_failures) == ("failed" if failures == 5 else "retry", failures)
    assert watcher.pull() is None
    assert watcher.put(header, rows.RIGHT) == (1, "Incorrect key for submission")
    (state,) = StudentModule.objects.get().correct_map.values()
    assert state["queuestate"] is None and "Your submission could not be graded" in state["msg"]
    assert LearnerEffect.objects.filter(kind="grade_published").count() == 1
    assert Score.objects.count() == 0


def test_a_failed_shadow_tells_its_learner_nothing(watcher):
    detail, events = shadow(), []
    with connected(EXTERNAL_GRADER_SCORE_SUBMITTED, lambda **kwargs: events.append(kwargs)):
        for _ in range(5):
            watcher.grade(BAD["a list"], SHADOW)
    detail.refresh_from_db()
    assert (detail.status, effects(), events) == ("failed", [[], []], [])


@pytest.mark.parametrize("signal", [score_set, EXTERNAL_GRADER_SCORE_SUBMITTED], ids=["score_set", "event"])
def test_a_raising_receiver_is_a_counted_failure_and_the_queue_moves_on(watcher, signal):
    """Upstream: five Scores without a word to the learner for the one, an endless 500 for the other."""
    bad, good = real(age=2), real(age=1)
    before = effects()
    with connected(signal, failing(ValueError("of a plugin"))):
        assert watcher.grade() == (0, "")
        assert (bad.detail.status, bad.detail.num_failures) == ("retry", 1)
        if signal is EXTERNAL_GRADER_SCORE_SUBMITTED:
            assert effects() == before and Score.objects.count() == 0
        assert watcher.pull()["xqueue_header"]["submission_id"] == good.submission_id
        for _ in range(4):
            assert watcher.grade() == (0, "")
    assert (bad.detail.status, bad.detail.num_failures) == ("failed", 5)
    assert watcher.pull() is None


def test_a_receiver_that_broke_the_transaction_is_a_counted_failure(watcher):
    sent = real()

    def receiver(**kwargs):
        with connection.cursor() as cursor:
            cursor.execute("SELECT * FROM no_such_table")

    with connected(EXTERNAL_GRADER_SCORE_SUBMITTED, receiver):
        assert watcher.grade() == (0, "")
    assert (sent.detail.status, sent.detail.num_failures, Score.objects.count()) == ("retry", 1, 0)


# --- several at once ----------------------------------------------------------------------------------------------


def in_threads(*calls):
    """Run these at the same moment, each on a connection of its own; what they return, in their order."""
    found = [None] * len(calls)
    start = threading.Barrier(len(calls))

    def run(index):
        try:
            start.wait(10)
            found[index] = calls[index]()
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return found


@COMMITTED
def test_a_grade_is_stored_though_another_session_holds_the_row(watcher):
    """Upstream answers 409, and the official watcher does not repeat a result: the grade would be lost."""
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has no row locks; its writers wait for each other")
    sent = real()
    header = watcher.pull()["xqueue_header"]
    held, seconds = threading.Event(), []

    def hold():
        with transaction.atomic():
            ExternalGraderDetail.objects.select_for_update().get()
            held.set()
            time.sleep(0.5)
        return True

    def put():
        held.wait(10)
        started = time.monotonic()
        answer = watcher.put(header)
        seconds.append(time.monotonic() - started)
        return answer

    assert in_threads(hold, put) == [True, (0, "")]
    assert 0.3 < seconds[0] < 5
    assert (sent.detail.status, scores()) == ("retired", [(1, 1)])


@COMMITTED
def test_a_row_that_is_held_for_long_is_busy_and_stays_with_its_grader(watcher, monkeypatch):
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has no row locks; its writers wait for each other")
    monkeypatch.setattr(results, "TRIES", 2)
    sent = real()
    header = watcher.pull()["xqueue_header"]
    held, done = threading.Event(), threading.Event()

    def hold():
        with transaction.atomic():
            ExternalGraderDetail.objects.select_for_update().get()
            held.set()
            return done.wait(10)

    def put():
        held.wait(10)
        try:
            return watcher.put(header)
        finally:
            done.set()

    assert in_threads(hold, put) == [True, (1, "Submission is currently being processed")]
    assert (sent.detail.status, sent.detail.num_failures) == ("pulled", 0)
    assert watcher.put(header) == (0, "")


@COMMITTED
def test_four_equal_replies_at_once_are_one_grade(watcher):
    """None is refused, and the second sets off nothing: a receiver's message to a broker is not rolled back."""
    sent = real()
    header = watcher.pull()["xqueue_header"]
    result = results.Result(submission_id=sent.submission_id, key=header["submission_key"], reply=rows.RIGHT)
    calls = []

    def receiver(**kwargs):
        calls.append(kwargs["points_earned"])
        time.sleep(0.05)

    with connected(score_set, receiver):
        answers = in_threads(*[lambda: results.store(result, load())] * 4)
    assert sorted(answers) == ["repeated", "repeated", "repeated", "stored"]
    assert calls == [1]
    assert scores() == [(1, 1)]


# --- logs ---------------------------------------------------------------------------------------------------------


def test_no_learner_content_and_no_key_is_logged(watcher, caplog):
    """
    Ours at any level. edx-submissions itself logs the learner's id; the answer, the reply and the keys never.
    """
    caplog.set_level(logging.DEBUG)
    sent = real(answer="answer-of-a-learner", payload="payload-of-a-course")
    keys = {"answer-of-a-learner", "payload-of-a-course", "reply-of-a-grader"}
    keys.add(json.loads(sent.header)["lms_key"])
    replies = [*BAD.values(), '{"score": 1}']
    for reply in [reply for reply in replies if len(reply) < 1000]:
        ExternalGraderDetail.objects.update(num_failures=0)
        document = watcher.pull()
        keys.add(document["xqueue_header"]["submission_key"])
        watcher.put(document["xqueue_header"] | {"submission_key": "wrong"}, "reply-of-a-grader")
        watcher.put(
            document["xqueue_header"],
            reply.replace('"m"', '"reply-of-a-grader"').replace("<html>", "reply-of-a-grader"),
        )
    watcher.put("reply-of-a-grader")
    learner = sent.entry.learner
    ours = [record for record in caplog.records if record.name.startswith("migration_shim")]
    assert any("could not be stored" in record.getMessage() for record in ours)
    for record in ours:
        text = logging.Formatter().format(record)
        assert not [secret for secret in (*keys, learner) if secret in text]
    serious = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert any(record.name.startswith("submissions") for record in serious)
    for record in serious:
        text = logging.Formatter().format(record)
        assert not [secret for secret in keys if secret in text], text
