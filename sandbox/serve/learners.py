"""Learners who submit through the LMS all the time: new answers, second tries, and uploads."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator

import requests

from sandbox.demo import stage, story
from sandbox.demo.stage import LMS_URL, Problem, Stage

FIRST_ID = 9_000_001
NUMBER = 400
#: Of so many submissions one goes to another course than the first, one is a second try, and one is an upload.
OTHER, AGAIN, UPLOAD = 6, 5, 11
#: One of so many answers is wrong.
WRONG = 3
KEPT = 50  # submissions that may be tried again
#: So many others submit before one tries again: the grade is there, or nearly.
BETWEEN = 8
TIMEOUT = 60  # seconds


class Learner:
    """One learner at a browser: logs in once, and again where the LMS has forgotten the session."""

    def __init__(self, running: Stage, user_id: int) -> None:
        """Nothing is sent yet."""
        self.running, self.user_id = running, user_id
        self.session: requests.Session | None = None

    def submit(self, problem: Problem, response: str, upload: str | None = None) -> str:
        """Submit an answer, or a file with it; what the LMS tells. Raises requests.RequestException."""
        if self.session is None:
            self.session = self._log_in()
        fields = {
            "csrfmiddlewaretoken": self.session.cookies["csrftoken"],
            "grader_payload": problem.grader_payload,
            "queue_name": problem.queue,
            "seed": str(problem.seed),
        }
        files = {"files": ("solution.py", upload)} if upload is not None else None
        answer = self.session.post(
            f"{LMS_URL}/courses/{problem.course_id}/submit/{problem.usage_key}",
            data=fields | {"student_response": response},
            files=files,
            timeout=TIMEOUT,
            allow_redirects=False,
        )
        if answer.status_code != 200:
            self.session = None
            answer.raise_for_status()
            raise requests.HTTPError(f"status {answer.status_code}")
        return answer.json()["success"]

    def _log_in(self) -> requests.Session:
        session = self.running.session()
        session.headers["Referer"] = LMS_URL
        # The server may close an idle connection as it is used again; a browser would try once more.
        session.headers["Connection"] = "close"
        session.get(f"{LMS_URL}/login", timeout=TIMEOUT).raise_for_status()
        form = {"username": f"learner{self.user_id}", "password": stage.LEARNER_PASSWORD}
        form["csrfmiddlewaretoken"] = session.cookies["csrftoken"]
        session.post(f"{LMS_URL}/login", data=form, timeout=TIMEOUT).raise_for_status()
        return session


class Learners:
    """All of them, one submission after the other."""

    def __init__(self, running: Stage, first: list[Problem], others: list[Problem]) -> None:
        """Take the problems of the course that most of them attend, and those of all others."""
        ids = stage.make_learners(FIRST_ID, NUMBER)
        self.learners = [Learner(running, user_id) for user_id in ids]
        self.told: Counter[str] = Counter()
        """What the LMS told them, how often."""
        self.kinds: Counter[str] = Counter()
        """Submissions that were queued, by kind."""
        self._acts = self._plan(first, others)
        self._done: list[tuple[Learner, Problem]] = []

    def act(self) -> bool:
        """Let one of them submit. Never busy: the next one takes its time."""
        kind, learner, problem, right = next(self._acts)
        text = story.answer(problem, right=right)
        told = learner.submit(problem, "", text) if kind == "upload" else learner.submit(problem, text)
        self.told[told] += 1
        if told == "queued":
            self.kinds[kind] += 1
            if kind != "again":
                self._done = [*self._done[-KEPT:], (learner, problem)]
        return False

    def _plan(self, first: list[Problem], others: list[Problem]) -> Iterator[tuple[str, Learner, Problem, bool]]:
        learners, courses = itertools.cycle(self.learners), itertools.cycle(first)
        elsewhere = itertools.cycle(others or first)
        for number in itertools.count(1):
            if number % AGAIN == 0 and len(self._done) > BETWEEN:
                yield "again", *self._done.pop(0), True
            elif number % UPLOAD == 0:
                yield "upload", next(learners), next(courses), True
            else:
                problem = next(elsewhere) if number % OTHER == 0 else next(courses)
                yield "new", next(learners), problem, number % WRONG > 0
