"""The pull grader: its protocol against a real LMS process and a real XQueue process, and how it grades."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import pytest
import requests
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.files.uploadedfile import SimpleUploadedFile
from submissions.api import create_external_grader_detail

import sandbox.grader
from sandbox.grader import PullGrader, ServerEntry
from sandbox.grader_rules import MISBEHAVIOUR, grade_submission
from sandbox.lms.blocks import SubmittedFile
from sandbox.lms.models import LoginSession
from sandbox.servers import running_lms
from sandbox.waiting import NoProgress

RIGHT = "def square(n):\n    return n * n\n"
WRONG = "def square(n):\n    return n + n\n"


def body(response=RIGHT, payload='{"grader": "py1/square/grade.py"}', seed=1, **more):
    info = json.dumps({"anonymous_student_id": "a", "submission_time": "20261122120000", "random_seed": seed})
    return {"grader_payload": payload, "student_info": info, "student_response": response} | more


def outcome(*args, files=None, **kwargs):
    reply = grade_submission(body(*args, **kwargs), files or {})
    return reply["correct"], reply["score"]


# --- grading --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (RIGHT, (True, 1)),
        ("# week 2\r\ndef square(n):\r\n    return n ** 2\r\n\r\nprint(square(3))\r\n", (True, 1)),
        (WRONG, (False, 0)),
        ("def square(n):\n    print(n * n)\n", (False, 0)),
        ("def total(xs):\n    return sum(xs)\n", (False, 0)),
        ("def square(n:", (False, 0)),
        ("x\x00", (False, 0)),
        ("", (False, 0)),
        (None, (False, 0)),
    ],
    ids=repr,
)
def test_clean_course_is_all_or_nothing(response, expected):
    assert outcome(response) == expected


def test_reply_of_the_clean_course_is_that_of_a_captured_row():
    assert grade_submission(body(), {}) == {
        "correct": True,
        "score": 1,
        "msg": '<div class="test"><header>Test results</header><div class="shortform">CORRECT</div>'
        '<p class="ok">square: 3 passed</p></div>',
    }


def test_uploaded_file_counts_as_an_answer():
    assert outcome("", files={"a.py": b"x"}) == (True, 1)
    assert outcome("", files={"a.py": b""}) == (False, 0)
    assert outcome(WRONG, files={"a.py": b"x"}) == (False, 0)


def test_same_submission_gets_the_same_reply_whoever_and_whenever():
    other = json.dumps({"anonymous_student_id": "shadow:a", "submission_time": "1795000000", "random_seed": 1})
    for response in (RIGHT, WRONG, "x"):
        assert grade_submission(body(response), {}) == grade_submission(body(response, student_info=other), {})


HAZARDS = {
    "seed": ("ds201/square/grade.py", {"seed": 352}),
    "extra keys": ("ds201/reverse/grade.py", {"extra": {"lang": "es", "hide_output": True}}),
}


@pytest.mark.parametrize(("grader", "use"), HAZARDS.values(), ids=HAZARDS)
def test_cut_down_payload_gets_another_grade_for_about_half_of_the_answers(grader, use):
    right = {"square": RIGHT, "reverse": "def reverse(s):\n    return s[::-1]\n"}[grader.split("/")[1]]
    full, cut = [], []
    for number in range(40):
        response = f"# answer {number}\n{right}"
        full.append(outcome(response, json.dumps({"grader": grader} | use.get("extra", {})), use.get("seed", 1)))
        cut.append(outcome(response, json.dumps({"grader": grader})))
    assert set(full) == {(True, 1)}
    differing = sum(first != second for first, second in zip(full, cut, strict=True))
    assert 10 <= differing <= 30
    assert all(score in (1, 0.75, 0.5, 10, 7) for _, score in cut)


def test_payload_without_a_graders_name_finds_no_tests_once_cut_down():
    assert outcome(payload='{"output": "hello world", "max_length": 2}') == (True, 1)
    assert outcome(payload='{"grader": ""}') == (False, 0)


def test_language_of_the_message():
    payload = '{"grader": "ds201/square/grade.py", "lang": "es"}'
    assert "3 de 3 pruebas superadas" in grade_submission(body(payload=payload), {})["msg"]


@pytest.mark.parametrize("payload", ["ds201/square/grade.py", '<tests name="stack"/>', "", None, "[1]"], ids=repr)
def test_payload_that_is_no_object_is_graded_by_the_answer(payload):
    assert outcome(RIGHT, payload) == (True, 1)
    assert outcome(WRONG, payload) == (False, 0)


@pytest.mark.parametrize(("line", "reply"), MISBEHAVIOUR.items(), ids=MISBEHAVIOUR)
def test_misbehaviour_on_request(line, reply):
    assert grade_submission(body(f"{line}\n{RIGHT}"), {}) == reply


# --- the protocol ---------------------------------------------------------------------------------------------------


class ScriptedServer:
    """A server that answers each path with the next scripted (status, return_code, content) and keeps the requests."""

    def __init__(self):
        self.requests = []
        self.script = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self, method):
                form = parse_qs(self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode())
                path, _, query = self.path.partition("?")
                name = path.removeprefix("/xqueue").strip("/")
                outer.requests.append((method, name, form or parse_qs(query), dict(self.headers)))
                planned = outer.script.get(f"{method} {name}")
                status, code, content = planned.pop(0) if planned else (200, 0 if name == "login" else 1, "")
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "/xqueue/login/")
                if name == "login":
                    self.send_header("Set-Cookie", f"csrftoken=token{len(outer.requests)}; Path=/")
                self.end_headers()
                self.wfile.write(json.dumps({"return_code": code, "content": content}).encode())

            def do_GET(self):
                self.answer("GET")

            def do_POST(self):
                self.answer("POST")

            def log_message(self, *args):
                """Keep the test output clean."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def names(self):
        return [f"{method} {name}" for method, name, _, _ in self.requests]

    def grader(self, *queues, **kwargs):
        server = ServerEntry(url=self.url, username="u", password="p", queues=queues or ("q",))
        return PullGrader([server], **kwargs)


@pytest.fixture
def server():
    server = ScriptedServer()
    yield server
    server.server.shutdown()
    server.server.server_close()


def submission(text=None, files="{}"):
    header = json.dumps({"submission_id": 1, "submission_key": "pk"})
    return json.dumps({"xqueue_header": header, "xqueue_body": text or json.dumps(body()), "xqueue_files": files})


LOGIN = ["GET login", "POST login"]


def test_login_comes_first_and_only_once(server):
    grader = server.grader("a", "b")
    assert grader.run_once() == grader.run_once() == 0
    assert server.names() == [*LOGIN, *["GET get_submission"] * 4]
    assert [form["queue_name"] for _, name, form, _ in server.requests if name == "get_submission"] == [
        ["a"],
        ["b"],
    ] * 2


def test_login_carries_token_and_referer(server):
    server.grader().run_once()
    (_, _, form, headers) = server.requests[1]
    assert form == {"username": ["u"], "password": ["p"]}
    assert headers["X-CSRFToken"] == "token1"
    assert headers["Referer"] == f"{server.url}/xqueue/login/"
    assert "Cookie" not in server.requests[0][3]


def test_result_is_posted_with_the_header_as_it_came(server):
    server.script["GET get_submission"] = [(200, 0, submission())]
    server.script["POST put_result"] = [(200, 0, "")]
    grader = server.grader()
    assert (grader.run_once(), grader.refused) == (1, 0)
    (_, _, form, headers) = server.requests[-1]
    assert form["xqueue_header"] == ['{"submission_id": 1, "submission_key": "pk"}']
    assert json.loads(form["xqueue_body"][0]) == grade_submission(body(), {})
    assert (headers["X-CSRFToken"], headers["Referer"]) == ("token2", server.url)


@pytest.mark.parametrize("status", [301, 302, 401, 403])
def test_refused_session_logs_in_and_repeats_once(server, status):
    server.script["GET get_submission"] = [(status, 1, "")]
    server.grader().run_once()
    assert server.names() == [*LOGIN, "GET get_submission", *LOGIN, "GET get_submission"]
    # A fresh login starts as an anonymous client: neither cookie nor token of the old session.
    assert "Cookie" not in server.requests[3][3]
    assert "X-CSRFToken" not in server.requests[3][3]


def test_session_refused_twice_is_given_up(server):
    server.script["GET get_submission"] = [(403, 1, ""), (403, 1, "")]
    assert server.grader().run_once() == 0
    assert server.names().count("POST login") == 2


def test_wrong_key_logs_in_again_as_a_watcher_does_and_is_counted(server):
    server.script["GET get_submission"] = [(200, 0, submission())]
    server.script["POST put_result"] = [(403, 1, ""), (403, 1, "")]
    grader = server.grader()
    assert (grader.run_once(), grader.refused) == (1, 1)
    assert server.names()[-4:] == ["POST put_result", *LOGIN, "POST put_result"]


@pytest.mark.parametrize("status", [500, 409, 404])
def test_refused_result_is_not_repeated(server, status):
    server.script["GET get_submission"] = [(200, 0, submission())]
    server.script["POST put_result"] = [(status, 1, "")]
    grader = server.grader()
    assert (grader.run_once(), grader.refused) == (1, 1)
    assert server.names().count("POST put_result") == 1


@pytest.mark.parametrize(("method", "status", "code"), [("POST", 401, 1), ("POST", 200, 1)])
def test_without_a_login_nothing_is_asked(server, method, status, code):
    server.script[f"{method} login"] = [(status, code, "")] * 5
    assert server.grader().run_once() == 0
    assert "GET get_submission" not in server.names()


def test_text_of_a_misbehaving_grader_goes_as_it_is(server):
    server.script["GET get_submission"] = [(200, 0, submission())]
    server.script["POST put_result"] = [(200, 0, "")]
    server.grader(grade=lambda body, files: "<html>").run_once()
    assert server.requests[-1][2]["xqueue_body"] == ["<html>"]


def test_relative_address_of_a_file_is_taken_from_the_server(server):
    seen = []
    server.script["GET get_submission"] = [(200, 0, submission(files='{"a.py": "/media/q/1"}'))]
    server.script["GET media/q/1"] = [(200, 0, "file")]
    server.grader(grade=lambda body, files: seen.append(files) or {}).run_once()
    assert seen == [{"a.py": b'{"return_code": 0, "content": "file"}'}]


@pytest.mark.parametrize("url", ["/media/q/1", "https://elsewhere.example.com/1"], ids=["404", "unreachable"])
def test_file_that_cannot_be_fetched_leaves_the_submission_unanswered(server, url):
    server.script["GET get_submission"] = [(200, 0, submission(files=json.dumps({"a.py": url})))]
    server.script["GET media/q/1"] = [(404, 1, "")]
    grader = server.grader()
    assert (grader.run_once(), grader.unanswered) == (1, 1)
    assert "POST put_result" not in server.names()


@pytest.mark.parametrize(("text", "expected"), [("def f(", "def f("), ('["a", 1]', ["a", 1]), ("7", 7)])
def test_body_that_is_no_object_is_the_answer(server, text, expected):
    seen = []
    server.script["GET get_submission"] = [(200, 0, submission(text))]
    server.script["POST put_result"] = [(200, 0, "")]
    server.grader(grade=lambda body, files: seen.append(body) or {}).run_once()
    assert seen == [{"student_response": expected}]


def test_drain_ends_with_an_empty_round_and_counts(server):
    server.script["GET get_submission"] = [(200, 0, submission())] * 3
    server.script["POST put_result"] = [(200, 0, "")] * 3
    assert server.grader().drain() == 3


def test_drain_goes_on_as_long_as_results_are_taken(server):
    server.script["GET get_submission"] = [(200, 0, submission())] * 20
    server.script["POST put_result"] = [(200, 0, "")] * 20
    assert server.grader().drain(seconds=0) == 20


def test_drain_gives_up_when_no_result_is_taken(server):
    server.script["GET get_submission"] = [(200, 0, submission())] * 50
    server.script["POST put_result"] = [(200, 0, "")] * 2 + [(200, 1, "Incorrect key")] * 48
    with pytest.raises(NoProgress, match="graders of q: nothing has changed for 0 s; last seen: 2 results taken"):
        server.grader().drain(seconds=0)


def test_drain_asks_again_where_a_request_had_no_answer(server, monkeypatch):
    grader = server.grader()
    rounds = iter([requests.ConnectionError(), 2, requests.ReadTimeout(), 1, 0])

    def run_once():
        outcome = next(rounds)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(grader, "run_once", run_once)
    monkeypatch.setattr(sandbox.grader, "RETRY", 0)
    assert grader.drain() == 3


# --- against the real endpoints, in processes of their own ----------------------------------------------------------


@pytest.fixture(scope="module")
def lms_server(databases_ready):
    with running_lms() as lms:
        yield lms


@pytest.fixture
def graders_account(transactional_db):
    user = get_user_model().objects.create_user("grader", password="pw")
    user.groups.add(Group.objects.create(name="xqueue"))
    return user


def entry(url, queue="q"):
    return ServerEntry(url=url, username="grader", password="pw", queues=(queue,))


def make_row(files=None):
    item = {"student_id": "shadow:a", "course_id": "c", "item_id": "shadow:i", "item_type": "problem"}
    return create_external_grader_detail(
        item, RIGHT, queue_name="q", queue_key="k", grader_file_name="py1/square/grade.py", files=files
    )


def test_grades_at_an_lms_behind_its_proxy(lms_server, graders_account, monkeypatch):
    monkeypatch.setenv("SANDBOX_HOSTS", f"courses.example.edu={lms_server.address}")
    row = make_row({"a.py": SubmittedFile(SimpleUploadedFile("a.py", b"print(1)"))})
    seen = []

    def grade(submitted, files):
        seen.append(files)
        return grade_submission(submitted, files)

    assert PullGrader([entry("https://courses.example.edu")], grade).drain() == 1
    row.refresh_from_db()
    assert (row.status, json.loads(row.grader_reply)["score"]) == ("retired", 1)
    assert seen == [{"a.py": b"print(1)"}]


def test_without_the_proxy_the_secure_cookies_keep_a_grader_out(lms_server, graders_account):
    row = make_row()
    grader = PullGrader([entry(lms_server.url)])
    assert grader.run_once() == 0
    assert [cookie.name for cookie in grader.clients[0].session.cookies if not cookie.secure] == []
    row.refresh_from_db()
    assert row.status == "pending"


def test_two_connections_of_one_account_evict_each_other(lms_server, graders_account, monkeypatch):
    monkeypatch.setenv("SANDBOX_HOSTS", f"courses.example.edu={lms_server.address}")
    grader = PullGrader([entry("https://courses.example.edu"), entry("https://courses.example.edu")])
    first, second = grader.clients
    keys = []
    for client in (first, second, first):
        assert client.request("get", "/xqueue/get_submission/", params={"queue_name": "q"}) == (
            False,
            "Queue 'q' is empty",
        )
        keys.append(LoginSession.objects.get(user=graders_account).session_key)
    assert len(set(keys)) == 3


@pytest.mark.django_db(transaction=True, databases=["default", "xqueue"])
def test_grades_at_xqueue(client_of_xqueue, xqueue_server, lms, rows):
    client_of_xqueue.submit(body=json.dumps(body(WRONG)), files={"a.py": b"print(1)"})
    server = ServerEntry(url=xqueue_server.url, username="lms", password="lms-password", queues=("exu-py1",))
    seen = []
    grader = PullGrader([server], lambda submitted, files: seen.append(files) or grade_submission(submitted, files))
    # The file's host is the stand-in itself; a session of this process has to be told so.
    grader.clients[0].session.adapters["https://"].hosts["files.example.edu"] = xqueue_server.address
    assert grader.drain() == 1
    row = rows.one()
    assert (row["lms_ack"], json.loads(row["grader_reply"])["score"]) == (1, 0)
    assert seen == [{"a.py": b"print(1)"}]
