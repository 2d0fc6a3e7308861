"""Many graders at one queue at once: rows in bulk, the graders, and what the log of their polls shows."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import connections
from django.utils.timezone import now
from submissions.models import ExternalGraderDetail, StudentItem, Submission

from migration_shim.models import LedgerEntry
from tests.builders import rows

QUEUE = "crowded"
DEADLINE = 60  # seconds


def fill(number: int, *, start: int = 0, queue: str = QUEUE, status: str = "pending") -> list[int]:
    """Write so many fenced rows of learners of their own, with ledger entries, oldest first; their Submission ids."""
    learners = [f"shadow:{rows.anonymous_id(start + index)}" for index in range(number)]
    item_id, first = f"shadow:{rows.usage_key('a' * 32)}", now() - timedelta(hours=1)
    StudentItem.objects.bulk_create(
        StudentItem(student_id=learner, course_id=rows.COURSE, item_id=item_id, item_type="problem")
        for learner in learners
    )
    items = dict(StudentItem.objects.filter(student_id__in=learners).values_list("student_id", "pk"))
    Submission.objects.bulk_create(
        Submission(uuid=uuid.uuid4(), student_item_id=items[learner], attempt_number=1, answer="x = 1\n")
        for learner in learners
    )
    found = Submission.objects.filter(student_item__in=items.values()).values_list("student_item_id", "pk")
    submissions = dict(found)
    ids = [submissions[items[learner]] for learner in learners]
    ExternalGraderDetail.objects.bulk_create(
        ExternalGraderDetail(
            submission_id=submission_id,
            queue_name=queue,
            status=status,
            queue_key="shadow:",
            grader_file_name="g.py",
            status_time=first + timedelta(seconds=index),
        )
        for index, submission_id in enumerate(ids)
    )
    common = {"course_id": rows.COURSE, "item_id": rows.usage_key("a" * 32), "queue_name": queue, "phase": "shadow"}
    common |= {"authority": "legacy", "origin": "backfill", "legacy_leg": "stored", "target_leg": "stored"}
    LedgerEntry.objects.bulk_create(
        LedgerEntry(
            identity=uuid.uuid4().hex * 2,
            group="g",
            learner=learner.removeprefix("shadow:"),
            arrived_at=first,
            target_submission_id=submission_id,
            grader_payload=rows.PAYLOAD,
            student_info="{}",
            **common,
        )
        for learner, submission_id in zip(learners, ids, strict=True)
    )
    return ids


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """One poll: when it began and ended, what it was handed (None: "empty"), and whether its grade was taken."""

    began: float
    ended: float
    submission_id: int | None
    taken: bool | None = None


Puller = Callable[[], tuple[int | None, Any]]


@dataclass(slots=True)
class Crowd:
    """What a number of graders saw, all polling one queue until each has found it empty."""

    polls: list[Poll]
    errors: list[BaseException]
    seconds: float

    @property
    def twice(self) -> int:
        """How many rows were handed out more than once."""
        counts = Counter(poll.submission_id for poll in self.polls if poll.submission_id is not None)
        return sum(number > 1 for number in counts.values())

    @property
    def handed_out(self) -> set[int]:
        """The rows that were handed out."""
        return {poll.submission_id for poll in self.polls if poll.submission_id is not None}

    @property
    def refused(self) -> int:
        """How many finished grades were not taken."""
        return sum(poll.taken is False for poll in self.polls)

    @property
    def false_empties(self) -> int:
        """How many polls were told "empty" though a poll that began after they had ended was handed a row."""
        last = max((poll.began for poll in self.polls if poll.submission_id is not None), default=0.0)
        return sum(poll.submission_id is None and poll.ended < last for poll in self.polls)


def crowd(pullers: list[Callable[[], Callable[[], Poll]]], done: Callable[[], bool] | None = None) -> Crowd:
    """
    Let them pull at once. Each puller is made in a thread of its own and then called until it has found the queue
    empty; with ``done`` until that says so.
    """
    polls: list[Poll] = []
    errors: list[BaseException] = []
    start = threading.Barrier(len(pullers) + 1)
    deadline = time.monotonic() + DEADLINE

    def run(make: Callable[[], Callable[[], Poll]]) -> None:
        try:
            pull = make()
            start.wait(DEADLINE)
            while time.monotonic() < deadline:
                poll = pull()
                polls.append(poll)
                if poll.submission_id is None and (done is None or done()):
                    return
            raise TimeoutError(f"the queue was not empty after {DEADLINE} s")
        except BaseException as error:  # it would be lost with the thread; the caller looks at it
            errors.append(error)
            start.abort()
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(make,)) for make in pullers]
    for thread in threads:
        thread.start()
    with contextlib.suppress(threading.BrokenBarrierError):  # then there are errors
        start.wait(DEADLINE)
    began = time.monotonic()
    for thread in threads:
        thread.join()
    return Crowd(polls=polls, errors=errors, seconds=time.monotonic() - began)
