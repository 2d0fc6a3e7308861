"""An XQueue server, an LMS that records what XQueue posts to it, a look at the rows through the alias ``xqueue``."""

import json
import shutil
import threading
import time
from contextlib import ExitStack
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl

import pytest
from django.db import connections
from django.utils import timezone

from sandbox.databases import LEGACY_MEDIA
from sandbox.network import proxied_session
from sandbox.servers import running_xqueue

QUEUE = "exu-py1"
CALLBACK = "https://courses.example.edu/courses/course-v1:ExU+PY1+2026/xqueue/7/block-v1:x/score_update"


class RecordingLms:
    """The LMS's side of a callback: records each post and answers with the next scripted status, then with 200."""

    def __init__(self):
        self.posts = []
        self.statuses = []
        self.delay = 0.0
        self.redirect_target = 404
        lms = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                lms.posts.append({"path": self.path, "headers": dict(self.headers), "form": dict(parse_qsl(body))})
                status = lms.statuses.pop(0) if lms.statuses else 200
                time.sleep(lms.delay)
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()

            def do_GET(self):
                # Where a redirected post ends up.
                self.send_response(lms.redirect_target)
                self.end_headers()

            def log_message(self, *args):
                """Keep the test output clean."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def reset(self):
        self.posts, self.statuses, self.delay, self.redirect_target = [], [], 0.0, 404

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Client:
    """One HTTP client of XQueue, logged in unless told otherwise; the answers are taken apart."""

    content_type = "text/html; charset=utf-8"

    def __init__(self, url, login=True):
        self.url = f"{url}/xqueue/"
        self.session = proxied_session({})
        if login:
            assert self.post("login/", username="lms", password="lms-password") == (0, "Logged in")

    def get(self, path, **params):
        return self.parts(self.session.get(self.url + path, params=params, allow_redirects=False))

    def post(self, path, files=None, **form):
        return self.parts(self.session.post(self.url + path, data=form, files=files, allow_redirects=False))

    def parts(self, answer):
        if answer.status_code != 200:
            return answer.status_code
        assert answer.headers["Content-Type"] == self.content_type
        document = answer.json()
        assert sorted(document) == ["content", "return_code"]
        return document["return_code"], document["content"]

    def submit(self, body="{}", callback=CALLBACK, queue=QUEUE, key="k", files=None, **more):
        header = json.dumps({"lms_callback_url": callback, "lms_key": key, "queue_name": queue} | more)
        return self.post("submit/", xqueue_header=header, xqueue_body=body, files=files)

    def pull(self, queue=QUEUE):
        code, content = self.get("get_submission/", queue_name=queue)
        assert code == 0, content
        return json.loads(content)

    def put(self, header, body='{"correct": true, "score": 1, "msg": ""}'):
        return self.post("put_result/", xqueue_header=header, xqueue_body=body)


class Rows:
    """The rows of ``queue_submission``, oldest id first, as dictionaries."""

    def all(self):
        with connections["xqueue"].cursor() as cursor:
            cursor.execute("SELECT * FROM queue_submission ORDER BY id")
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, values, strict=True)) for values in cursor.fetchall()]

    def one(self):
        (row,) = self.all()
        return row

    def change(self, row_id, **columns):
        """Write as a session of its own would, committed at once; return the number of rows found."""
        names = ", ".join(f"{name} = %s" for name in columns)
        with connections["xqueue"].cursor() as cursor:
            cursor.execute(f"UPDATE queue_submission SET {names} WHERE id = %s", [*columns.values(), row_id])
            return cursor.rowcount

    def let_processing_delay_pass(self, row_id):
        """Make the last pull two minutes old; the delay of the stand-in is one minute."""
        old = timezone.now() - timedelta(minutes=2)
        self.change(row_id, pull_time=connections["xqueue"].ops.adapt_datetimefield_value(old))


@pytest.fixture(scope="session")
def recording_lms():
    lms = RecordingLms()
    yield lms
    lms.close()


@pytest.fixture
def lms(recording_lms):
    """The recording LMS, with an empty memory."""
    recording_lms.reset()
    return recording_lms


@pytest.fixture(scope="session")
def start_xqueue(databases_ready, recording_lms):
    """Start an XQueue stand-in with more environment; it runs until the session ends."""
    with ExitStack() as stack:
        hosts = {"SANDBOX_HOSTS": f"courses.example.edu={recording_lms.address}"}
        yield lambda **env: stack.enter_context(running_xqueue(hosts | env))


@pytest.fixture(scope="session")
def xqueue_server(start_xqueue):
    """The XQueue stand-in with its default settings; its callbacks reach `lms`."""
    return start_xqueue()


@pytest.fixture
def client_of_xqueue(xqueue_server):
    return Client(xqueue_server.url)


@pytest.fixture
def rows(legacy_rows):
    """A look at the rows of a table that starts empty, and so does the storage: a stored file is never overwritten."""
    shutil.rmtree(LEGACY_MEDIA)
    LEGACY_MEDIA.mkdir()
    return Rows()
