"""
From ``legacy`` to ``complete``, and back from every phase, with the commands of the runbook and no others.

Learners submit and graders work throughout. At the end nobody waits, and everybody has exactly one grade. The id of the
course has letters outside ASCII, which look different in a callback.
"""

import contextlib
import json
import os
import re
import time
from collections import Counter
from urllib.parse import quote

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db import connection

from migration_shim.models import LedgerEntry
from sandbox import capture, runbook
from sandbox.demo import stage, story, witness
from sandbox.lms import capa
from sandbox.lms.models import LearnerEffect
from sandbox.lms.seed import seed_learners
from tests.acceptance.story.campus import Campus

pytestmark = [
    pytest.mark.django_db(databases=["default", "xqueue"], transaction=True),
    pytest.mark.timeout(1200),
]
if connection.vendor == "sqlite":
    # It takes minutes. Among the tests of every day it runs on MariaDB, as an LMS has it or nearly so.
    pytestmark.append(pytest.mark.long)

COURSE, QUEUE = story.CLEAN.replace("ExU", "ÉxÜ"), story.CLEAN_QUEUE
PATIENCE = 180  # seconds; a machine may be busy
#: A test cannot wait for minutes, nor for 449 pairs.
SHORT = {"HANDOFF_SETTLE_SECONDS": 10, "PROCESSING_DELAY_SECONDS": 3, "GATE_THRESHOLD": 0.3}
ENVIRONMENT = {
    "SANDBOX_SHIM_SETTINGS": json.dumps(SHORT),
    "SANDBOX_WAITTIME_BETWEEN_REQUESTS": "0",
    "SANDBOX_PROCESSING_DELAY": "0.05",  # minutes
}


def renamed(rows):
    """Captured rows as they would be if the clean course had the name of this one."""
    old, new = story.CLEAN.partition(":")[2], quote(COURSE.partition(":")[2], safe=capa.PATH_SAFE)
    return [
        row | _columns(row["xqueue_header"].replace(old, new)) if old in row["xqueue_header"] else row for row in rows
    ]


def _columns(header):
    return {"xqueue_header": header, "lms_callback_url": json.loads(header)["lms_callback_url"][:128]}


def written(rows, directory):
    """A capture of these rows, with the files of the one that they come from."""
    (directory / capture.FILES_DIRECTORY).symlink_to(story.DATA / capture.FILES_DIRECTORY)
    lines = "".join(f"{json.dumps(row)}\n" for row in rows)
    (directory / capture.ROWS_FILE).write_text(lines, encoding="utf-8")
    return directory


@pytest.fixture
def campus(tmp_path):
    """A course with captured history, learners and graders at work, and both stand-ins as servers."""
    before = dict(os.environ)
    rows = renamed(story.captured_rows())
    counts = capture.load_capture(written(rows, tmp_path))
    seed_learners(rows)
    assert counts.rows
    group, _ = Group.objects.get_or_create(name="xqueue")
    for name in ("grader-real", "grader-shadow"):
        get_user_model().objects.create_user(name, password=stage.GRADER[1]).groups.add(group)
    learners = stage.make_learners(9_000_001, 3000)
    problems = witness.problems_of(COURSE)
    with stage.running(**ENVIRONMENT) as running:
        campus = Campus(running, QUEUE, problems, learners)
        try:
            yield campus
        finally:
            campus.close()
            for name in os.environ.keys() - before.keys():
                del os.environ[name]
            os.environ.update(before)


class Operator:
    """Types the runbook's commands."""

    def __init__(self, campus: Campus) -> None:
        self.campus, self.known = campus, runbook.commands()

    def __call__(self, words: str, *, expect: tuple[int, ...] = (0,)) -> str:
        """Run one command of the runbook; what it prints. Another exit code than the expected one is a failure."""
        assert runbook.shape(words) in self.known, f"the runbook does not have: {words}"
        ran = stage.command(self.campus.running, *_split(words))
        assert ran.exit_code in expect, f"{words}: {ran.exit_code}\n{ran.output}"
        return ran.output

    def until(self, words: str, *, found: str = "", exit_code: int = 0) -> str:
        """The same, asked again until it says so: evidence has to come in first."""
        assert runbook.shape(words) in self.known, f"the runbook does not have: {words}"
        deadline = time.monotonic() + PATIENCE
        while True:
            ran = stage.command(self.campus.running, *_split(words))
            if ran.exit_code == exit_code and found in ran.output:
                return ran.output
            assert time.monotonic() < deadline, f"{words}: {ran.exit_code}\n{ran.output}"
            time.sleep(1)

    def gate(self) -> str:
        """Reconcile and ask the gate until it opens; at a quiet hour, as the runbook says."""
        deadline = time.monotonic() + PATIENCE
        with self.campus.learners.paused():
            while True:
                self(f"xqueue_reconcile --course {COURSE}")
                ran = stage.command(self.campus.running, *_split(f"xqueue_gate --course {COURSE} --explain"))
                if ran.exit_code == 0:
                    return ran.output
                assert time.monotonic() < deadline, ran.output
                assert "FAIL" not in ran.output.splitlines()[0], ran.output
                time.sleep(1)

    def step(self, to: str) -> None:
        """Plan a step, then take it."""
        words = f'xqueue_cutover --course {COURSE} --to {to} --reason "the story"'
        assert self(words).startswith("Plan.")
        assert self(f"{words} --execute").startswith("Done.")


def _split(words: str) -> list[str]:
    return [part.strip('"') for part in re.findall(r'"[^"]*"|\S+', words)]


def graded(attempts) -> Counter:
    """How many attempts have how many grades."""
    return Counter(sum(found.values()) for found in witness.grades(attempts).values())


def test_the_first_course_of_the_runbook(campus):
    operator = Operator(campus)
    waiting_before = story.in_flight(COURSE)

    # From legacy to shadow.
    operator(f"xqueue_preflight --course {COURSE} --probe", expect=(0, 2))  # 0 where the grader is quick
    operator.until(f"xqueue_preflight --course {COURSE}", found="0 blockers")
    operator.step("shadow")
    operator(f"xqueue_backfill --mode shadow --course {COURSE}")
    operator(f"xqueue_backfill --mode shadow --course {COURSE} --execute")
    operator.until(f"xqueue_status --course {COURSE}", found="shadow copies owed: none")

    # To live, while legacy holds submissions: they are handed off, with legacy's graders paused.
    learners_go_on(campus, 12)
    operator.gate()
    with campus.legacy_paused():
        wait_until(lambda: witness.unretired(COURSE) >= 3)
        operator.step("live")
        operator(f"xqueue_backfill --mode handoff --course {COURSE}")
        moved = operator(f"xqueue_backfill --mode handoff --course {COURSE} --execute")
        assert re.search(r"released +[1-9]", moved), moved
        assert witness.unretired(COURSE) == 0

    # To complete, on evidence of its own.
    learners_go_on(campus, 18)
    operator.gate()
    operator.step("complete")
    learners_go_on(campus)

    # Back from complete at once, and what is in flight with it.
    go_back(campus, operator)
    learners_go_on(campus)

    # Back from shadow.
    operator.step("shadow")
    learners_go_on(campus)
    operator.step("legacy")
    learners_go_on(campus)

    # Back from live.
    operator.step("shadow")
    learners_go_on(campus, 12)
    operator.until(f"xqueue_status --course {COURSE}", found="shadow copies owed: none")
    operator.gate()
    operator.step("live")
    learners_go_on(campus)
    go_back(campus, operator)
    learners_go_on(campus)

    # The end: no more submissions, and the graders finish.
    campus.learners.end()
    attempts = [*campus.attempts, *waiting_before]
    wait_until(lambda: witness.still_queued(attempts) == 0)
    assert campus.close() == []
    assert len(campus.attempts) > 50
    assert graded(attempts) == {1: len(attempts)}
    sources = Counter(source for found in witness.grades(attempts).values() for source in found)
    assert set(sources) == {LearnerEffect.Source.CALLBACK, LearnerEffect.Source.EVENT}
    assert witness.wiped() == 0


def learners_go_on(campus: Campus, number: int = 5) -> None:
    """A few more submit, and get their grades."""
    first = len(campus.attempts)
    wait_until(lambda: len(campus.attempts) >= first + number)
    some = campus.attempts[first : first + number]
    wait_until(lambda: graded(some) == {1: number}, lambda: (campus.trouble(), ungraded(some)))


def go_back(campus: Campus, operator: Operator) -> None:
    """To legacy, the target's graders paused: a return takes what is in flight along."""
    with contextlib.ExitStack() as pauses:
        pauses.enter_context(campus.target.paused())
        if connection.vendor == "sqlite":
            # One lock for a whole database: XQueue holds its own while it posts a grade to the LMS, and the LMS would
            # wait there for the return, and the return for XQueue.
            pauses.enter_context(campus.legacy_paused())
            pauses.enter_context(campus.reverse.paused())
        first = len(campus.attempts)
        wait_until(lambda: len(campus.attempts) >= first + 3)
        operator.step("legacy")
        operator(f"xqueue_backfill --mode return --course {COURSE}")
        back = operator(f"xqueue_backfill --mode return --course {COURSE} --execute")
        assert re.search(r"imported +[1-9]", back), back
        operator.until(f"xqueue_status --course {COURSE}", found="in flight on target: nothing")


def ungraded(attempts) -> list:
    """What legacy and the target hold of learners who have no grade, for the message of a failure."""
    waiting = [attempt for attempt, found in witness.grades(attempts).items() if not found]
    columns = ("phase", "authority", "legacy_leg", "legacy_state", "target_leg", "target_state", "move")
    entries = LedgerEntry.objects.values_list(*columns)
    return [list(entries.filter(raw_header__contains=f"/xqueue/{attempt.user_id}/")) for attempt in waiting]


def wait_until(holds, what=lambda: "") -> None:
    """Wait for others to do their part."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain: {what()}"
        time.sleep(1)
