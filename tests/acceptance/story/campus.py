"""
Everybody but the operator: learners who submit through the LMS all the time, and graders on both systems.

They know nothing but HTTP, so that they may run in threads beside the test.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import requests

from sandbox.demo import stage, story
from sandbox.demo.stage import Attempt, Problem, Stage
from sandbox.grader import PullGrader, ServerEntry
from sandbox.grader_rules import grade_submission

LEARNER_PAUSE = 0.4  # seconds
GRADER_PAUSE = 0.2
#: How long legacy's graders look at a submission. One that answers before the LMS has committed the learner's state is
#: not heard there (XQueue hands out at once, today as ever), and the learner waits: that is no matter of this test.
THINKING = 1.5
LEGACY_GRADERS = 4


class Actor:
    """Somebody who does one thing again and again in a thread, and can be asked to pause."""

    def __init__(self, act: Callable[[], None], pause: float) -> None:
        self.act, self.pause = act, pause
        self.free = threading.Lock()
        self.ended = threading.Event()
        self.trouble: list[str] = []
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while not self.ended.wait(self.pause):
            with self.free:
                try:
                    self.act()
                except (requests.RequestException, RuntimeError) as error:
                    self.trouble.append(repr(error))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nothing is under way while this holds."""
        with self.free:
            yield

    def end(self) -> None:
        """Finish what is under way, and stop."""
        self.ended.set()
        self.thread.join()


class Campus:
    """The learners and the graders of one course."""

    def __init__(self, running: Stage, queue: str, problems: list[Problem], learners: list[int]) -> None:
        self.running, self.problems = running, itertools.cycle(problems)
        self.waiting = list(reversed(learners))
        self.attempts: list[Attempt] = []
        legacy = (running.xqueue_url, "lms", "lms-password")
        self.learners = Actor(self._submit, LEARNER_PAUSE)
        # A watcher has a session of its own for each queue, and on an LMS an account of its own.
        self.legacy = [Actor(_grader(*legacy, queue, thinking=THINKING), GRADER_PAUSE) for _ in range(LEGACY_GRADERS)]
        self.reverse = Actor(_grader(*legacy, f"{queue}.reverse"), GRADER_PAUSE)
        self.target = Actor(_grader(stage.SEAM_URL, "grader-real", stage.GRADER[1], queue), GRADER_PAUSE)
        self.shadow = Actor(_grader(stage.SEAM_URL, "grader-shadow", stage.GRADER[1], f"{queue}.shadow"), GRADER_PAUSE)
        self.actors = [self.learners, *self.legacy, self.reverse, self.target, self.shadow]

    def _submit(self) -> None:
        number = len(self.attempts)
        problem = next(self.problems)
        text = story.answer(problem, right=number % 3 > 0)
        self.attempts.append(stage.submit(self.running, self.waiting.pop(), problem, text))

    @contextmanager
    def legacy_paused(self) -> Iterator[None]:
        """No grader of legacy has anything in its hands while this holds."""
        with ExitStack() as pauses:
            for actor in self.legacy:
                pauses.enter_context(actor.paused())
            yield

    def trouble(self) -> list[str]:
        """What went wrong so far."""
        dead = [
            f"{actor.act} is dead" for actor in self.actors if not actor.thread.is_alive() and not actor.ended.is_set()
        ]
        return dead + [trouble for actor in self.actors for trouble in actor.trouble]

    def close(self) -> list[str]:
        """Send everybody home; what went wrong on the way."""
        trouble = self.trouble()
        for actor in self.actors:
            actor.end()
        return trouble


def _grader(url: str, username: str, password: str, queue: str, thinking: float = 0) -> Callable[[], None]:
    def grade(submission: dict[str, Any], files: dict[str, bytes]) -> Any:
        time.sleep(thinking)
        return grade_submission(submission, files)

    grader = PullGrader([ServerEntry(url=url, username=username, password=password, queues=(queue,))], grade)

    def act() -> None:
        grader.run_once()
        # XQueue gives one row to two graders that ask at once, and refuses the first one's result: today as ever.
        if grader.refused and not thinking:
            grader.refused = 0
            raise RuntimeError(f"{url} refused a result of {queue}")

    return act
