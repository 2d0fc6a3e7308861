"""A router to test: submissions as CAPA makes them, an XQueue that works or fails as told, courses in any phase."""

import itertools
import json
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from django.contrib.auth import get_user_model
from django.core.cache import cache
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils.timezone import now
from edx_django_utils.cache import RequestCache

from migration_shim.api import queue_interface
from migration_shim.copies import breaker
from migration_shim.legacy.client import LegacyClient
from migration_shim.models import LedgerEntry
from sandbox.lms import capa
from sandbox.lms.blocks import SubmittedFile
from tests.builders.outbox import save_queue_state
from tests.builders.rows import COURSE, QUEUE, enter
from tests.builders.xqueue_server import recording_lms, start_xqueue, xqueue_server  # noqa: F401  (fixtures)

_users = itertools.count(500_000)


@pytest.fixture(autouse=True)
def closed_breakers(legacy_rows):
    """No legacy rows, closed breakers, empty caches."""
    cache.clear()
    RequestCache.clear_all_namespaces()
    breaker.reset()
    yield
    cache.clear()
    RequestCache.clear_all_namespaces()


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One submission, and the learner it is of."""

    request: capa.QueueRequest
    user: int
    learner: str
    usage_key: str
    files: tuple = ()

    def send(self, block=None, **options):
        """Send it through the Python door."""
        RequestCache.clear_all_namespaces()  # a request of its own
        return queue_interface(block, **options).send_to_queue(self.request.header, self.request.body, list(self.files))

    def save(self):
        """What CAPA does once the door has returned: the learner's state waits for this attempt's key now."""
        user, _ = get_user_model().objects.get_or_create(pk=self.user, defaults={"username": f"learner{self.user}"})
        save_queue_state(user, COURSE, self.usage_key, self.request.answer_id, self.request.key)

    def submit(self, block=None, **options):
        """The whole of a learner's submission: through the door, and CAPA's save."""
        error, message = self.send(block, **options)
        if not error:
            self.save()
        return error, message

    def entry(self):
        """Its ledger entry, or None; looked up by header, which nobody else has."""
        return LedgerEntry.objects.filter(raw_header=self.request.header).first()


def attempt(*, user=None, problem="a" * 32, number=2, answer="x = 1\n", queue=QUEUE, at=None, files=(), payload=None):
    """A submission as CAPA makes it, by a learner of its own unless told whose; ``number`` picks the input."""
    user = user or next(_users)
    usage_key = f"block-v1:ExU+PY1+2026+type@problem+block@{problem}"
    learner = f"{user:032x}"
    request = capa.make_request(
        answer_id=f"{problem}_{number}_1",
        response=answer,
        grader_payload=payload or '{"grader": "py1/square/grade.py"}',
        callback=capa.callback_url("https://courses.example.edu", COURSE, user, usage_key),
        queue_name=queue,
        user_id=user,
        anonymous_id=learner,
        seed=1,
        now=at or datetime.now(tz=now().tzinfo),
    )
    uploads = tuple(SubmittedFile(SimpleUploadedFile(name, content)) for name, content in files)
    return Attempt(request=request, user=user, learner=learner, usage_key=usage_key, files=uploads)


def put_course_in(phase, *, since=None):
    """A course whose flags and record both say ``phase``."""
    enter(phase, since=since or now() - timedelta(hours=1))


@pytest.fixture
def shim(settings):
    """Change settings of the app for one test."""

    def change(**values):
        settings.MIGRATION_SHIM = {**settings.MIGRATION_SHIM, **values}

    change(COPIES="inline")
    return change


@pytest.fixture
def legacy(shim, xqueue_server):  # noqa: F811
    """A working XQueue: the stand-in, in a process of its own."""
    shim(LEGACY_URL=xqueue_server.url)
    return xqueue_server


class BadXQueue:
    """An XQueue that answers every submit in one way; logins work."""

    def __init__(self, answer):
        owner = self
        self.answer, self.submits = answer, 0

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                self.body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path.endswith("/login/"):
                    return self.reply(200, json.dumps({"return_code": 0, "content": "Logged in"}))
                owner.submits += 1
                return owner.answer(self)

            def reply(self, status, text):
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *args):
                """Keep the test output clean."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@contextmanager
def bad_xqueue(answer):
    server = BadXQueue(answer)
    thread = threading.Thread(target=server.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.server.shutdown()
        server.server.server_close()
        LegacyClient.__init__.__globals__["_session"].cache_clear()


@contextmanager
def nothing_listens():
    """An address at which nothing answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def hang(handler, seconds=1.0):
    """An answer that comes after the client has given up."""
    time.sleep(seconds)
    handler.reply(200, json.dumps({"return_code": 0, "content": "1"}))
