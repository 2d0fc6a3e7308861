"""
Many courses in one process: learners who submit through the LMS, an XQueue, graders on both systems, and a clock.

XQueue is its rules over its real table (``xqueue.py``), the target the real edx-submissions behind the watcher seam.
"""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.cache import cache
from django.db import transaction
from django.test import Client
from django.utils import timezone
from django.utils.timezone import now
from edx_django_utils.cache import RequestCache

from migration_shim import api
from migration_shim.copies import breaker
from migration_shim.legacy import rows as legacy_rows
from migration_shim.legacy.client import LegacyClient
from migration_shim.preflight import connectivity
from sandbox.lms import capa, grading
from sandbox.lms.courseware.models import StudentModule
from sandbox.lms.models import AnonymousUserId, LearnerEffect
from tests.builders import outbox, rows
from tests.builders.xqueue import XQueue

PROBLEM = "a" * 32
SEAM = "/migration_shim/xqueue"
RIGHT = '{"correct": true, "score": 1, "msg": "<p>ok</p>"}'
WRONG = '{"correct": false, "score": 0, "msg": "<p>no</p>"}'
#: What a test cannot wait for: hundreds of pairs, holds and deadlines.
SETTINGS = {
    "HOLD_SECONDS": 0,
    "GATE_THRESHOLD": 0.9,
    "GATE_MIN_PAIRS_PER_QUEUE": 2,
    # One difference holds a problem up until it has so many pairs.
    "GATE_MIN_PAIRS_PER_PROBLEM": 100,
    "GRADING_DEADLINE_SECONDS": 3600,
    "HAND_OUT_SECONDS": 60,
}


class Clock:
    """The time of everybody in this process: Django's ``now`` and the clock of XQueue's database, so much ahead."""

    def __init__(self, monkeypatch: Any) -> None:
        self.ahead = timedelta(0)
        clock = self

        class Ahead(datetime):
            """The ``datetime`` that Django's ``now`` asks."""

            @classmethod
            def now(cls, tz: Any = None) -> datetime:
                return datetime.now(tz) + clock.ahead

        monkeypatch.setattr(timezone, "datetime", Ahead)
        monkeypatch.setattr(legacy_rows, "clock", now)

    def goes_on(self, **length: float) -> None:
        """Let time pass."""
        self.ahead += timedelta(**length)

    def is_at(self, moment: datetime) -> None:
        """Let it be a moment that is still to come."""
        assert moment >= now(), f"it is {now()} already"
        self.ahead += moment - now()


class Campus:
    """Courses by number, each with one problem and a queue of its own, and everybody at work in them."""

    def __init__(self, numbers: range) -> None:
        self.queues = {f"course-v1:ExU+C{number:02}+2026": f"queue-{number:02}" for number in numbers}
        self.courses = list(self.queues)
        known = {name for queue in self.queues.values() for name in (queue, f"{queue}.reverse")}
        self.xqueue = XQueue(known, timedelta(minutes=1), self._post)
        self.keys: dict[str, list[tuple[int, str, str]]] = {course: [] for course in self.courses}
        #: Queues of the target that no grader polls, and courses whose grader there gives other grades.
        self.dead: set[str] = set()
        self.differing: set[str] = set()
        self.learners = 0
        grader = get_user_model().objects.create_user("grader")
        grader.groups.add(Group.objects.get_or_create(name="xqueue")[0])
        self.client = Client(raise_request_exception=False, **rows.HOST)
        self.client.force_login(grader)

    def _post(self, header: str, reply: str) -> int:
        path = urlsplit(json.loads(header)["lms_callback_url"]).path
        return self.client.post(path, {"xqueue_header": header, "xqueue_body": reply}).status_code

    def refusal(self, queue: str) -> tuple[int, Any]:
        """XQueue's answer to ``get_queuelen``."""
        if self.xqueue.down:
            return 1, "cannot connect to server"
        return (0, 0) if queue in self.xqueue.queues else (1, "Valid queue names are: ...")

    def submit(self, course: str) -> None:
        """A learner of a course submits for the first time: the request to the door, then CAPA's save."""
        self.learners += 1
        user, key = 5000 + self.learners, rows.usage_key(PROBLEM, course)
        get_user_model().objects.create(pk=user, username=f"learner{user}")
        AnonymousUserId.objects.create(user_id=user, anonymous_user_id=rows.anonymous_id(user))
        request = capa.make_request(
            answer_id=f"{capa.html_id(key)}_2_1",
            response=f"x = {user}\n",
            grader_payload=rows.PAYLOAD,
            callback=capa.callback_url("https://courses.example.edu", course, user, key),
            queue_name=self.queues[course],
            user_id=user,
            anonymous_id=rows.anonymous_id(user),
            seed=user,
            now=now(),
        )
        RequestCache.clear_all_namespaces()
        error, message = api.queue_interface().send_to_queue(request.header, request.body)
        assert not error, message
        entry = capa.entry_after_sending(request, error, message)
        with transaction.atomic():
            state = grading.locked_state(get_user_model()(pk=user), course, key)
            state.store({request.answer_id: entry}, attempts=1, submitted_at=now())
            state.save()
        self.keys[course].append((user, key, request.answer_id))

    def past(self, number: int) -> None:
        """So many learners of every course have submitted and got their grades before anybody thought of moving."""
        for course in self.courses:
            for _ in range(number):
                self.submit(course)
        self.grade()

    def day(self, number: int = 1) -> None:
        """So many learners of every course submit, workers write the copies, and all graders do what is there."""
        for course in self.courses:
            for _ in range(number):
                self.submit(course)
        outbox.drain()
        self.grade()

    def grade(self) -> None:
        """All graders of both systems work until their queues are empty."""
        for course, queue in self.queues.items():
            for name in (queue, f"{queue}.reverse"):
                self._grade_on_legacy(name)
            for name in (queue, f"{queue}.shadow"):
                if name not in self.dead:
                    self._grade_on_target(name, WRONG if course in self.differing and name != queue else RIGHT)

    def _grade_on_legacy(self, queue: str) -> None:
        while (row := self.xqueue.read(queue)) is not None:
            assert self.xqueue.put(row.pk, self.xqueue.hand_out(row), RIGHT)

    def _grade_on_target(self, queue: str, reply: str) -> None:
        while True:
            answer = self.client.get(f"{SEAM}/get_submission/", {"queue_name": queue}).json()
            if answer["return_code"]:
                assert "is empty" in answer["content"], answer
                return
            header = json.loads(answer["content"])["xqueue_header"]
            form = {"xqueue_header": header, "xqueue_body": reply}
            assert self.client.post(f"{SEAM}/put_result/", form).json()["return_code"] == 0

    def grades(self) -> Counter[int]:
        """How many submissions of all courses have reached their learner how often."""
        published = Counter(
            LearnerEffect.objects.filter(kind=LearnerEffect.Kind.GRADE_PUBLISHED).values_list("user_id", "usage_key")
        )
        return Counter(published[user, key] for sent in self.keys.values() for user, key, _ in sent)

    def waiting(self) -> int:
        """How many learners still wait for a grade."""
        found = (StudentModule.find(user, key) for sent in self.keys.values() for user, key, _ in sent)
        return sum(capa.is_queued(state.correct_map) for state in found)


@contextmanager
def campus(numbers: range, settings: Any, monkeypatch: Any) -> Iterator[Campus]:
    """A campus, whose XQueue is what the app's client meets."""
    settings.MIGRATION_SHIM = {**settings.MIGRATION_SHIM, **SETTINGS}
    cache.clear()
    breaker.reset()
    found = Campus(numbers)
    monkeypatch.setattr(
        LegacyClient,
        "submit",
        lambda client, header, body, files=None, *, deadline=None, correlation="1": found.xqueue.submit(header, body),
    )
    monkeypatch.setattr(LegacyClient, "queue_length", lambda client, queue: found.refusal(queue))
    known = next(iter(found.xqueue.queues))
    monkeypatch.setattr(LegacyClient, "_log_in", lambda client, deadline: found.refusal(known))
    # What the LMS submits to answers as XQueue does; whether its address does is no matter here.
    monkeypatch.setattr(connectivity, "_health", lambda access: None)
    monkeypatch.setattr(connectivity, "_get", lambda session, url: (0, "OK"))
    yield found
    cache.clear()
    breaker.reset()
