"""Both systems for the doors: an XQueue process, edx-submissions, graders at both, and real CAPA at the LMS's end."""

import json
import shutil
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from django.db import connections
from django.test import Client
from submissions.models import ExternalGraderDetail

from sandbox.databases import LEGACY_MEDIA
from sandbox.grader import PullGrader, ServerEntry
from sandbox.grader_rules import grade_submission
from sandbox.lms import grading, receivers
from sandbox.servers import FILES_HOST, Server, running_xqueue
from tests.acceptance.doors.problems import Classroom
from tests.builders import rows as use_cases
from tests.builders.rows import HOST, QUEUE
from tests.builders.xqueue_server import RecordingLms, Rows

REVERSE = f"{QUEUE}.reverse"
SHADOW = f"{QUEUE}.shadow"
XQUEUES = ",".join((QUEUE, REVERSE, "matlab", "matlab.reverse"))


class Systems:
    """XQueue and edx-submissions as the graders and the LMS see them."""

    def __init__(self, xqueue: Server, callbacks: RecordingLms) -> None:
        self.xqueue = xqueue
        self.callbacks = callbacks
        self._grader: use_cases.Grader | None = None

    def legacy_rows(self) -> list[dict]:
        """The rows of ``queue_submission``, oldest id first."""
        return Rows().all()

    def forget_legacy_rows(self) -> None:
        """Empty ``queue_submission``."""
        with connections["xqueue"].cursor() as cursor:
            cursor.execute("DELETE FROM queue_submission")

    def target_rows(self, queue: str | None = None) -> list[ExternalGraderDetail]:
        """The rows of edx-submissions, oldest first; those of one queue, if asked."""
        found = ExternalGraderDetail.objects.select_related("submission__student_item").order_by("id")
        return list(found.filter(queue_name=queue) if queue else found)

    def grade_on_legacy(self, queue: str = QUEUE) -> int:
        """Let a grader empty a queue of XQueue; how many rows it got. The results wait in ``callbacks``."""
        account = {"username": "lms", "password": "lms-password"}
        grader = PullGrader([ServerEntry(url=self.xqueue.url, queues=(queue,), **account)])
        handed_out = grader.drain()
        assert (grader.refused, grader.unanswered) == (0, 0)
        return handed_out

    def hand_on(self) -> list[int]:
        """Hand what XQueue has posted on to the LMS's views, as its proxy does; the statuses."""
        lms = Client(raise_request_exception=False, enforce_csrf_checks=True, **HOST)
        return [lms.post(post["path"], post["form"]).status_code for post in self.callbacks.posts]

    def grade_on_target(self, queue: str = QUEUE) -> int:
        """Let a grader empty a queue of edx-submissions; how many rows it got. Each result is delivered at once."""
        self._grader = self._grader or use_cases.Grader()
        waiting = ExternalGraderDetail.objects.filter(queue_name=queue, status="pending").count()
        for _ in range(waiting):
            document = self._grader.pull(queue)
            urls = json.loads(document["xqueue_files"])
            files = {name: self._fetch(url) for name, url in urls.items()}
            reply = grade_submission(json.loads(document["xqueue_body"]), files)
            form = {"xqueue_header": document["xqueue_header"], "xqueue_body": json.dumps(reply)}
            answer = self._grader.client.post("/xqueue/put_result/", form, **self._grader._csrf())
            assert answer.status_code == 200, answer.content
        return waiting

    def _fetch(self, url: str) -> bytes:
        answer = Client(**HOST).get(urlsplit(url).path)
        assert answer.status_code == 200
        return b"".join(answer.streaming_content)


@pytest.fixture(scope="session")
def callbacks() -> Iterator[RecordingLms]:
    """Where XQueue posts its results: they are kept, for a test to hand on to the LMS's views when it wants."""
    lms = RecordingLms()
    yield lms
    lms.close()


@pytest.fixture(scope="session")
def xqueue(databases_ready, callbacks) -> Iterator[Server]:
    """One XQueue process for all doors, which knows the reverse-shadow queues too."""
    env = {"SANDBOX_HOSTS": f"courses.example.edu={callbacks.address}", "SANDBOX_XQUEUES": XQUEUES}
    with running_xqueue(env) as server:
        yield server


@pytest.fixture
def systems(xqueue, callbacks, legacy_rows, settings, monkeypatch) -> Systems:
    """Both systems, empty; the app knows where XQueue is, and a grader where XQueue's files are."""
    callbacks.reset()
    shutil.rmtree(LEGACY_MEDIA)
    LEGACY_MEDIA.mkdir()
    settings.MIGRATION_SHIM = {**settings.MIGRATION_SHIM, "LEGACY_URL": xqueue.url}
    monkeypatch.setenv("SANDBOX_HOSTS", f"{FILES_HOST}={xqueue.address}")
    return Systems(xqueue, callbacks)


@pytest.fixture
def classroom(monkeypatch) -> Classroom:
    """Learners at real CAPA problems: replies reach these, where the LMS stand-in would use its model of CAPA."""
    room = Classroom()
    monkeypatch.setattr(grading, "deliver", room.deliver)
    monkeypatch.setattr(receivers, "deliver", room.deliver)
    return room
