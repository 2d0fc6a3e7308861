"""XQueue's ``submit``: replies, the row, supersession by the truncated callback, files."""

import hashlib
import json

import pytest
from django.db import connections

from sandbox.databases import LEGACY_MEDIA
from sandbox.network import proxied_session
from tests.builders.xqueue_server import CALLBACK

pytestmark = pytest.mark.django_db(transaction=True, databases=["xqueue"])

HEADER = {"lms_callback_url": CALLBACK, "lms_key": "k", "queue_name": "exu-py1"}
LONG = CALLBACK.ljust(128, "x")


def test_a_queued_row_has_every_column_as_xqueue_writes_it(client_of_xqueue, rows):
    header = json.dumps(HEADER)
    body = '{"student_response": "x = 1\\r\\n"}'
    assert client_of_xqueue.post("submit/", xqueue_header=header, xqueue_body=body) == (0, "1")
    row = rows.one()
    assert row.pop("id") > 0
    assert row.pop("arrival_time")
    assert row == {
        "requester_id": "127.0.0.1",
        "lms_callback_url": CALLBACK,
        "queue_name": "exu-py1",
        "xqueue_header": header,
        "xqueue_body": body,
        "s3_keys": "{}",
        "s3_urls": "{}",
        "pull_time": None,
        "push_time": None,
        "return_time": None,
        "grader_id": "",
        "pullkey": "",
        "grader_reply": "",
        "num_failures": 0,
        "lms_ack": 0,
        "retired": 0,
    }


def test_the_requester_is_who_the_proxy_says(client_of_xqueue, rows):
    client_of_xqueue.session.headers["X-Real-IP"] = "10.20.4.7"
    client_of_xqueue.submit()
    assert rows.one()["requester_id"] == "10.20.4.7"


@pytest.mark.parametrize(
    ("form", "answer"),
    [
        ({}, (1, "Queue request has invalid format")),
        ({"xqueue_header": json.dumps(HEADER)}, (1, "Queue request has invalid format")),
        ({"xqueue_body": "{}"}, (1, "Queue request has invalid format")),
        ({"xqueue_header": "not JSON", "xqueue_body": ""}, (1, "Queue request has invalid format")),
        ({"xqueue_header": "[]", "xqueue_body": ""}, (1, "Queue request has invalid format")),
        *(
            (
                {"xqueue_header": json.dumps({k: v for k, v in HEADER.items() if k != name}), "xqueue_body": ""},
                (1, "Queue request has invalid format"),
            )
            for name in HEADER
        ),
        (
            {"xqueue_header": json.dumps(HEADER | {"queue_name": "exu-PY1"}), "xqueue_body": ""},
            (1, "Queue 'exu-PY1' not found"),
        ),
        ({"xqueue_header": json.dumps(HEADER | {"queue_name": ""}), "xqueue_body": ""}, (1, "Queue '' not found")),
        (
            {"xqueue_header": json.dumps(HEADER | {"queue_name": None}), "xqueue_body": ""},
            (1, "Queue 'None' not found"),
        ),
        ({"xqueue_header": json.dumps(HEADER | {"lms_callback_url": None}), "xqueue_body": ""}, 500),
        ({"xqueue_header": json.dumps(HEADER | {"lms_callback_url": 7}), "xqueue_body": ""}, 500),
    ],
)
def test_what_submit_refuses_leaves_no_row(client_of_xqueue, rows, form, answer):
    assert client_of_xqueue.post("submit/", **form) == answer
    assert rows.all() == []


def test_submit_wants_a_post(client_of_xqueue):
    assert client_of_xqueue.get("submit/") == (1, "Queue requests should use HTTP POST")


@pytest.mark.parametrize("body", ["", "not JSON", "[1]", "null", "{"])
def test_the_body_is_not_looked_at(client_of_xqueue, rows, body):
    assert client_of_xqueue.submit(body=body)[0] == 0
    assert rows.one()["xqueue_body"] == body


@pytest.mark.parametrize("text", ["日本語 😀", "a\r\nb\rc\n", "nul \x00 in between", "x" * 120_000])
def test_texts_round_trip(client_of_xqueue, rows, text):
    body = json.dumps({"student_response": text}, ensure_ascii=False)
    assert client_of_xqueue.submit(body=body)[0] == 0
    assert rows.one()["xqueue_body"] == body


def test_an_empty_callback_and_one_without_a_scheme_are_taken(client_of_xqueue, rows):
    assert client_of_xqueue.submit(callback="") == (0, "1")
    assert client_of_xqueue.submit(callback="courses.example.edu/x") == (0, "2")
    assert [row["lms_callback_url"] for row in rows.all()] == ["", "courses.example.edu/x"]


def test_extra_header_keys_stay_in_the_header(client_of_xqueue, rows):
    client_of_xqueue.submit(extra=[1])
    assert json.loads(rows.one()["xqueue_header"])["extra"] == [1]


def test_a_header_over_1024_characters_does_what_the_database_does(client_of_xqueue, rows):
    strict = connections["xqueue"].vendor == "mysql"
    answer = client_of_xqueue.submit(extra="x" * 1024)
    assert answer == (500 if strict else (0, "1"))
    assert len(rows.all()) == (0 if strict else 1)


@pytest.mark.parametrize("multipart", [False, True])
def test_a_form_over_the_limit_is_refused_with_a_bare_page(client_of_xqueue, rows, multipart):
    files = {"a.py": b"x"} if multipart else None
    answer = client_of_xqueue.submit(body="x" * 2_000_000, files=files)
    assert answer[0] == 0
    answer = client_of_xqueue.submit(body="x" * 2_700_000, files=files)
    assert answer == 400
    assert len(rows.all()) == 1


def test_the_answer_counts_what_waits_in_the_queue(client_of_xqueue, rows):
    answers = [client_of_xqueue.submit(callback=f"https://courses.example.edu/{n}") for n in range(3)]
    assert answers == [(0, "1"), (0, "2"), (0, "3")]
    client_of_xqueue.pull()
    assert client_of_xqueue.submit(queue="exu-misc", callback="https://courses.example.edu/other") == (0, "1")
    # Of four, one is with a grader.
    assert client_of_xqueue.submit(callback="https://courses.example.edu/9") == (0, "3")


def test_a_resubmission_retires_the_queued_attempt_and_nothing_else_of_it(client_of_xqueue, rows):
    client_of_xqueue.submit(key="first")
    first = rows.one()
    assert client_of_xqueue.submit(key="second") == (0, "1")
    superseded, newest = rows.all()
    assert superseded == first | {"retired": 1}
    assert newest["retired"] == 0


def test_supersession_crosses_queues(client_of_xqueue, rows):
    client_of_xqueue.submit()
    client_of_xqueue.submit(queue="exu-misc")
    assert [row["retired"] for row in rows.all()] == [1, 0]


@pytest.mark.parametrize(
    ("first", "second", "retired"),
    [
        (LONG + "problem-a", LONG + "problem-b", 1),
        (LONG[:127] + "a", LONG[:127] + "b", 0),
        (LONG, LONG + "longer", 1),
    ],
)
def test_supersession_compares_the_first_128_characters(client_of_xqueue, rows, first, second, retired):
    client_of_xqueue.submit(callback=first)
    client_of_xqueue.submit(callback=second)
    older, newer = rows.all()
    assert (older["retired"], newer["retired"]) == (retired, 0)
    assert (older["lms_callback_url"], newer["lms_callback_url"]) == (first[:128], second[:128])
    assert json.loads(older["xqueue_header"])["lms_callback_url"] == first


def test_callbacks_that_differ_in_case_collide_where_the_collation_says_so(client_of_xqueue, rows):
    client_of_xqueue.submit(callback=CALLBACK)
    client_of_xqueue.submit(callback=CALLBACK.replace("PY1", "py1"))
    case_insensitive = connections["xqueue"].vendor == "mysql"
    assert [row["retired"] for row in rows.all()] == [int(case_insensitive), 0]


def test_a_submission_that_fails_has_superseded_all_the_same(client_of_xqueue, rows):
    """``submit`` is not atomic: the earlier attempt is gone although the later one never came to be."""
    client_of_xqueue.submit()
    in_the_way = LEGACY_MEDIA / "exu-alg2"
    in_the_way.write_text("no directory")
    try:
        assert client_of_xqueue.submit(queue="exu-alg2", files={"a.py": b"x"}) == 500
    finally:
        in_the_way.unlink()
    assert [(row["queue_name"], row["retired"]) for row in rows.all()] == [("exu-py1", 1)]


# Files


@pytest.fixture
def files_session(xqueue_server):
    return proxied_session({"files.example.edu": xqueue_server.address})


def test_files_lie_under_the_queue_by_the_hash_of_header_and_name(client_of_xqueue, rows, files_session):
    client_of_xqueue.submit(files={"a.py": b"print(1)", "b \u00e9.txt": b"\x00\xff"})
    row = rows.one()
    keys, urls = json.loads(row["s3_keys"]), json.loads(row["s3_urls"])
    contents = {"a.py": b"print(1)", "b \u00e9.txt": b"\x00\xff"}
    assert sorted(keys) == sorted(urls) == sorted(contents)
    for name, content in contents.items():
        assert keys[name] == hashlib.md5((row["xqueue_header"] + name).encode()).hexdigest()
        assert urls[name] == f"https://files.example.edu/xqueue/exu-py1/{keys[name]}"
        assert (LEGACY_MEDIA / "exu-py1" / keys[name]).read_bytes() == content
        assert files_session.get(urls[name]).content == content
    assert json.loads(client_of_xqueue.pull()["xqueue_files"]) == urls


def test_stored_files_are_served_under_their_own_host_only(client_of_xqueue, rows, files_session, xqueue_server):
    client_of_xqueue.submit(files={"a.py": b"x"})
    (url,) = json.loads(rows.one()["s3_urls"]).values()
    path = url.removeprefix("https://files.example.edu")
    assert files_session.get(url).status_code == 200
    assert files_session.get(url[:-1]).status_code == 404
    assert files_session.get(xqueue_server.url + path).status_code == 404


def test_the_same_header_and_file_again_go_on_showing_the_first_content(client_of_xqueue, rows, files_session):
    client_of_xqueue.submit(files={"a.py": b"first"}, key="same")
    client_of_xqueue.submit(files={"a.py": b"second"}, key="same")
    first, second = rows.all()
    assert first["s3_urls"] == second["s3_urls"]
    (url,) = json.loads(second["s3_urls"]).values()
    assert files_session.get(url).content == b"first"


@pytest.fixture
def many_files():
    return {f"file{n:02}.py": str(n).encode() for n in range(12)}


def test_urls_over_1024_characters_move_to_a_stored_document(client_of_xqueue, rows, many_files):
    assert client_of_xqueue.submit(files=many_files)[0] == 0
    row = rows.one()
    key = json.loads(row["s3_keys"])["KEY_FOR_EXTERNAL_DICTS"]
    assert json.loads(row["s3_urls"]) == {"URL_FOR_EXTERNAL_DICTS": f"https://files.example.edu/xqueue/exu-py1/{key}"}
    assert key == hashlib.md5((row["xqueue_header"] + json.dumps(list(many_files))).encode()).hexdigest()
    document = json.loads((LEGACY_MEDIA / "exu-py1" / key).read_text())
    assert sorted(document) == ["files", "keys"]
    assert sorted(document["files"]) == sorted(document["keys"]) == sorted(many_files)
    for name, stored in document["keys"].items():
        assert (LEGACY_MEDIA / "exu-py1" / stored).read_bytes() == many_files[name]
    # The grader gets the plain dictionary.
    assert json.loads(client_of_xqueue.pull()["xqueue_files"]) == document["files"]


def test_eleven_of_these_files_still_fit_the_columns(client_of_xqueue, rows, many_files):
    del many_files["file11.py"]
    client_of_xqueue.submit(files=many_files)
    assert sorted(json.loads(rows.one()["s3_keys"])) == sorted(many_files)


def test_a_document_that_cannot_be_had_leaves_the_row_pulled(client_of_xqueue, rows, many_files):
    client_of_xqueue.submit(files=many_files)
    (LEGACY_MEDIA / "exu-py1" / json.loads(rows.one()["s3_keys"])["KEY_FOR_EXTERNAL_DICTS"]).unlink()
    answer = client_of_xqueue.get("get_submission/", queue_name="exu-py1")
    assert answer == (1, "Error fetching submission for exu-py1. Please try again.")
    row = rows.one()
    assert row["pull_time"] and row["pullkey"]
    assert client_of_xqueue.get("get_submission/", queue_name="exu-py1") == (1, "Queue 'exu-py1' is empty")


def test_a_document_url_without_a_scheme_is_an_error_500(client_of_xqueue, rows):
    """As with a relative MEDIA_URL. Under ATOMIC_REQUESTS the pull is undone, and the row blocks its queue."""
    client_of_xqueue.submit()
    rows.change(rows.one()["id"], s3_urls='{"URL_FOR_EXTERNAL_DICTS": "/media/exu-py1/0"}')
    assert client_of_xqueue.get("get_submission/", queue_name="exu-py1") == 500
    atomic = connections["xqueue"].vendor == "mysql"  # see sandbox/xqueue/settings.py
    assert bool(rows.one()["pullkey"]) is not atomic
