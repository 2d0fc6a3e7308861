"""XQueue's ``get_queuelen``, ``get_submission`` and ``put_result``, and every stage of a row."""

import json
import re

import pytest
from django.db import connections

from tests.builders.xqueue_server import CALLBACK, Client

pytestmark = pytest.mark.django_db(transaction=True, databases=["xqueue"])

VALID = '{"correct": true, "score": 1, "msg": "<p>ok</p>"}'


# get_queuelen


ALL_QUEUES = (
    "exu-py1, exu-py1.reverse, ExampleUniversity-DataStructures201, ExampleUniversity-DataStructures201.reverse, "
    "exu-alg2, exu-alg2.reverse, exu-misc, exu-misc.reverse"
)


@pytest.mark.parametrize(
    ("params", "answer"),
    [
        ({"queue_name": "exu-py1"}, (0, 0)),
        ({"queue_name": "none-such"}, (1, f"Valid queue names are: {ALL_QUEUES}")),
        ({"queue_name": ""}, (1, f"Valid queue names are: {ALL_QUEUES}")),
        ({}, (1, "'get_queuelen' must provide parameter 'queue_name'")),
    ],
)
def test_get_queuelen(client_of_xqueue, rows, params, answer):
    assert client_of_xqueue.get("get_queuelen/", **params) == answer


def test_the_length_leaves_out_rows_that_are_being_graded(client_of_xqueue, rows):
    for number in range(3):
        client_of_xqueue.submit(callback=f"https://courses.example.edu/{number}")
    pulled = json.loads(client_of_xqueue.pull()["xqueue_header"])["submission_id"]
    assert client_of_xqueue.get("get_queuelen/", queue_name="exu-py1") == (0, 2)
    rows.let_processing_delay_pass(pulled)
    assert client_of_xqueue.get("get_queuelen/", queue_name="exu-py1") == (0, 3)


# get_submission


@pytest.mark.parametrize(
    ("params", "content"),
    [
        ({"queue_name": "exu-py1"}, "Queue 'exu-py1' is empty"),
        ({"queue_name": "none-such"}, "Queue 'none-such' not found"),
        ({}, "'get_submission' must provide parameter 'queue_name'"),
    ],
)
def test_nothing_to_pull(client_of_xqueue, rows, params, content):
    assert client_of_xqueue.get("get_submission/", **params) == (1, content)


def test_a_pull_hands_out_texts_and_marks_the_row(client_of_xqueue, rows):
    client_of_xqueue.submit(body='{"grader_payload": "not JSON"}')
    queued = rows.one()
    client_of_xqueue.session.headers["X-Real-IP"] = "10.20.4.7"
    payload = client_of_xqueue.pull()
    pulled = rows.one()
    assert payload == {
        "xqueue_header": json.dumps({"submission_id": pulled["id"], "submission_key": pulled["pullkey"]}),
        "xqueue_body": '{"grader_payload": "not JSON"}',
        "xqueue_files": "{}",
    }
    assert re.fullmatch("[0-9a-f]{32}", pulled["pullkey"])
    changed = {name for name in pulled if pulled[name] != queued[name]}
    assert changed == {"pull_time", "pullkey", "grader_id"}
    assert pulled["grader_id"] == "10.20.4.7"


def test_the_oldest_arrival_comes_first(client_of_xqueue, rows):
    for number in range(3):
        client_of_xqueue.submit(callback=f"https://courses.example.edu/{number}", body=str(number))
    first, _, third = rows.all()
    rows.change(first["id"], arrival_time=third["arrival_time"])
    rows.change(third["id"], arrival_time=first["arrival_time"])
    assert [client_of_xqueue.pull()["xqueue_body"] for _ in range(3)] == ["2", "1", "0"]


def test_a_row_is_offered_again_after_the_delay_and_the_late_grader_is_refused(client_of_xqueue, rows, lms):
    client_of_xqueue.submit()
    first = client_of_xqueue.pull()["xqueue_header"]
    assert client_of_xqueue.get("get_submission/", queue_name="exu-py1") == (1, "Queue 'exu-py1' is empty")
    rows.let_processing_delay_pass(rows.one()["id"])
    second = client_of_xqueue.pull()["xqueue_header"]
    assert json.loads(first)["submission_id"] == json.loads(second)["submission_id"]
    assert client_of_xqueue.put(first) == (1, "Incorrect key for submission")
    assert client_of_xqueue.put(second) == (0, "")
    assert len(lms.posts) == 1


def test_a_retired_row_is_not_offered(client_of_xqueue, rows):
    client_of_xqueue.submit()
    rows.change(rows.one()["id"], retired=True)
    assert client_of_xqueue.get("get_submission/", queue_name="exu-py1") == (1, "Queue 'exu-py1' is empty")


# put_result: what is refused


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"xqueue_header": '{"submission_id": 1, "submission_key": "x"}'},
        {"xqueue_body": VALID},
        {"xqueue_header": "not JSON", "xqueue_body": VALID},
        {"xqueue_header": "[1]", "xqueue_body": VALID},
        {"xqueue_header": '{"submission_id": 1}', "xqueue_body": VALID},
        {"xqueue_header": '{"submission_key": "x"}', "xqueue_body": VALID},
    ],
)
def test_an_incorrect_form_is_refused_with_200(client_of_xqueue, rows, form):
    assert client_of_xqueue.post("put_result/", **form) == (1, "Incorrect reply format")


def test_put_result_wants_a_post(client_of_xqueue, rows):
    assert client_of_xqueue.get("put_result/") == (1, "'put_result' must use HTTP POST")


@pytest.mark.parametrize("submission_id", ["x", None, [1]])
def test_an_id_that_is_no_number_is_an_error_500(client_of_xqueue, rows, submission_id):
    assert client_of_xqueue.put(json.dumps({"submission_id": submission_id, "submission_key": "k"})) == 500


def test_an_unknown_id_is_refused_with_200(client_of_xqueue, rows):
    header = json.dumps({"submission_id": 999_999_999, "submission_key": "k"})
    assert client_of_xqueue.put(header) == (1, "Submission does not exist")


@pytest.mark.parametrize("key", ["", "wrong", None])
def test_a_wrong_or_empty_key_is_refused_with_200(client_of_xqueue, rows, lms, key):
    client_of_xqueue.submit()
    client_of_xqueue.pull()
    header = json.dumps({"submission_id": rows.one()["id"], "submission_key": key})
    assert client_of_xqueue.put(header) == (1, "Incorrect key for submission")
    assert (lms.posts, rows.one()["return_time"]) == ([], None)


def test_a_row_that_was_never_pulled_takes_no_reply_even_under_its_empty_key(client_of_xqueue, rows, lms):
    client_of_xqueue.submit()
    header = json.dumps({"submission_id": rows.one()["id"], "submission_key": ""})
    assert client_of_xqueue.put(header) == (1, "Incorrect key for submission")
    assert lms.posts == []


# put_result: delivery


def test_a_delivered_row_is_acked_and_retired(client_of_xqueue, rows, lms):
    client_of_xqueue.submit()
    pull = client_of_xqueue.pull()
    pulled = rows.one()
    assert client_of_xqueue.put(pull["xqueue_header"], VALID) == (0, "")
    (post,) = lms.posts
    assert post["path"] == CALLBACK.removeprefix("https://courses.example.edu")
    assert post["headers"]["Host"] == "courses.example.edu"
    assert post["form"] == {"xqueue_header": pulled["xqueue_header"], "xqueue_body": VALID}
    done = rows.one()
    assert {name: done[name] for name in done if done[name] != pulled[name]} == {
        "return_time": done["return_time"],
        "grader_reply": VALID,
        "lms_ack": 1,
        "retired": 1,
    }
    assert done["return_time"]


def test_a_reply_goes_to_the_whole_callback_url_not_to_the_column(client_of_xqueue, rows, lms):
    callback = CALLBACK + "/" + "x" * 100
    client_of_xqueue.submit(callback=callback)
    client_of_xqueue.put(client_of_xqueue.pull()["xqueue_header"])
    assert lms.posts[0]["path"] == callback.removeprefix("https://courses.example.edu")


@pytest.mark.parametrize(
    "reply",
    [
        '{"correct": true, "score": 0.5, "msg": ""}',
        '{"correct": false, "score": -1, "msg": ""}',
        '{"correct": true, "score": null, "msg": ""}',
        '{"correct": true, "score": NaN, "msg": ""}',
        '{"msg": "no score"}',
        "[1]",
        "no JSON at all",
        "é 日本 😀",
    ],
)
def test_any_reply_goes_on_to_the_lms_byte_for_byte(client_of_xqueue, rows, lms, reply):
    client_of_xqueue.submit()
    assert client_of_xqueue.put(client_of_xqueue.pull()["xqueue_header"], reply) == (0, "")
    assert [post["form"]["xqueue_body"] for post in lms.posts] == [reply]
    row = rows.one()
    assert (row["grader_reply"], row["lms_ack"], row["retired"]) == (reply, 1, 1)


@pytest.mark.parametrize("status", [201, 302, 404, 500, 502])
def test_a_refused_delivery_is_posted_five_times_and_counted_once(client_of_xqueue, rows, lms, status):
    client_of_xqueue.submit()
    lms.statuses = [status] * 5
    assert client_of_xqueue.put(client_of_xqueue.pull()["xqueue_header"], VALID) == (0, "")
    assert len(lms.posts) == 5
    row = rows.one()
    assert (row["lms_ack"], row["num_failures"], row["retired"]) == (0, 1, 0)
    assert row["return_time"] and row["grader_reply"] == VALID


def test_a_redirect_to_a_page_that_answers_200_is_an_ack(client_of_xqueue, rows, lms):
    """XQueue follows a redirect by GET, without the result: an LMS that sends it to a login page has lost the grade."""
    client_of_xqueue.submit()
    lms.statuses, lms.redirect_target = [302], 200
    client_of_xqueue.put(client_of_xqueue.pull()["xqueue_header"])
    row = rows.one()
    assert (len(lms.posts), row["lms_ack"], row["retired"]) == (1, 1, 1)


def test_the_fifth_post_may_still_succeed(client_of_xqueue, rows, lms):
    client_of_xqueue.submit()
    lms.statuses = [500] * 4
    client_of_xqueue.put(client_of_xqueue.pull()["xqueue_header"])
    row = rows.one()
    assert (len(lms.posts), row["lms_ack"], row["num_failures"], row["retired"]) == (5, 1, 0, 1)


def test_the_fourth_failure_retires_the_row(client_of_xqueue, rows, lms):
    client_of_xqueue.submit()
    lms.statuses = [500] * 20
    header = client_of_xqueue.pull()["xqueue_header"]
    stages = []
    for _ in range(4):
        assert client_of_xqueue.put(header) == (0, "")
        row = rows.one()
        stages.append((row["num_failures"], row["retired"], row["lms_ack"]))
    assert stages == [(1, 0, 0), (2, 0, 0), (3, 0, 0), (4, 1, 0)]
    assert len(lms.posts) == 20


def test_a_failed_row_is_handed_out_again_and_may_then_be_acked(client_of_xqueue, rows, lms):
    client_of_xqueue.submit()
    lms.statuses = [500] * 5
    client_of_xqueue.put(client_of_xqueue.pull()["xqueue_header"])
    rows.let_processing_delay_pass(rows.one()["id"])
    client_of_xqueue.put(client_of_xqueue.pull()["xqueue_header"])
    row = rows.one()
    assert (row["num_failures"], row["lms_ack"], row["retired"]) == (1, 1, 1)


def test_an_unreachable_lms_is_one_failure(client_of_xqueue, rows):
    client_of_xqueue.submit(callback="http://127.0.0.1:9/nobody-listens")
    assert client_of_xqueue.put(client_of_xqueue.pull()["xqueue_header"]) == (0, "")
    assert rows.one()["num_failures"] == 1


@pytest.mark.parametrize("callback", ["", "courses.example.edu/no/scheme"])
def test_a_callback_without_a_scheme_is_an_error_500_that_is_never_counted(client_of_xqueue, rows, callback):
    client_of_xqueue.submit(callback=callback)
    header = client_of_xqueue.pull()["xqueue_header"]
    pulled = rows.one()
    assert client_of_xqueue.put(header) == 500
    assert rows.one() == pulled


def test_a_second_put_posts_again_and_overwrites(client_of_xqueue, rows, lms):
    client_of_xqueue.submit()
    header = client_of_xqueue.pull()["xqueue_header"]
    assert client_of_xqueue.put(header, "first") == (0, "")
    assert client_of_xqueue.put(header, "second") == (0, "")
    assert [post["form"]["xqueue_body"] for post in lms.posts] == ["first", "second"]
    assert rows.one()["grader_reply"] == "second"


def test_a_second_put_that_fails_brings_the_row_back(client_of_xqueue, rows, lms):
    """``retired`` follows the last delivery: a row that was done is in-flight again."""
    client_of_xqueue.submit()
    header = client_of_xqueue.pull()["xqueue_header"]
    client_of_xqueue.put(header)
    lms.statuses = [500] * 5
    client_of_xqueue.put(header)
    row = rows.one()
    assert (row["lms_ack"], row["retired"], row["num_failures"]) == (0, 0, 1)


def test_a_row_superseded_after_its_pull_still_delivers(client_of_xqueue, rows, lms):
    client_of_xqueue.submit(key="old")
    header = client_of_xqueue.pull()["xqueue_header"]
    client_of_xqueue.submit(key="new")
    older, _ = rows.all()
    assert (older["retired"], older["lms_ack"], older["return_time"]) == (1, 0, None)
    assert older["pullkey"]
    assert client_of_xqueue.put(header) == (0, "")
    older, newer = rows.all()
    assert (older["retired"], older["lms_ack"]) == (1, 1)
    assert newer["retired"] == 0
    assert json.loads(lms.posts[0]["form"]["xqueue_header"])["lms_key"] == "old"


def test_a_callback_that_times_out_is_posted_five_times_and_counted_once(start_xqueue, rows, lms):
    client = Client(start_xqueue(SANDBOX_REQUESTS_TIMEOUT="0.2").url)
    client.submit()
    lms.delay = 0.6
    assert client.put(client.pull()["xqueue_header"]) == (0, "")
    assert (len(lms.posts), rows.one()["num_failures"]) == (5, 1)


def test_the_defaults_are_xqueues(client_of_xqueue):
    from sandbox.xqueue import settings

    assert (settings.REQUESTS_TIMEOUT, settings.MAX_NUMBER_OF_FAILURES) == (5, 3)
    assert settings.SUBMISSION_PROCESSING_DELAY == 1
    assert settings.DATABASES["default"]["ATOMIC_REQUESTS"] is (connections["xqueue"].vendor == "mysql")


def test_no_answer_reply_or_key_reaches_the_log(xqueue_server, client_of_xqueue, rows, lms):
    """XQueue itself logs whole requests that it refuses, and results that it cannot deliver; the stand-in must not."""
    client_of_xqueue.submit(body="learners-answer", key="learners-key")
    lms.statuses = [500] * 5
    header = client_of_xqueue.pull()["xqueue_header"]
    client_of_xqueue.put(header, "graders-reply")
    client_of_xqueue.post("submit/", xqueue_header="learners-key", xqueue_body="learners-answer")
    client_of_xqueue.post("put_result/", xqueue_header="learners-key", xqueue_body="graders-reply")
    client_of_xqueue.submit(callback=None, body="learners-answer", key="learners-key")
    log = xqueue_server.log_path.read_text()
    for trace in ("unable to return a result", "invalid queue submission", "invalid reply", "Internal Server Error"):
        assert trace in log
    for secret in ("learners-answer", "learners-key", "graders-reply", rows.one()["pullkey"]):
        assert secret not in log
