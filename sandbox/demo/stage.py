"""The demo's stage: empty databases, captured rows, servers, learners, graders, and an operator at the command line."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Group
from django.db import connections

from migration_shim.models import LedgerEntry
from sandbox import waiting
from sandbox.databases import PROJECT_ROOT, SANDBOX_DIR
from sandbox.grader import PullGrader, ServerEntry
from sandbox.lms.courseware.models import StudentModule
from sandbox.network import free_port, parse_hosts, proxied_session
from sandbox.servers import FILES_HOST, running_lms, running_xqueue
from sandbox.waiting import PATIENCE

LMS_HOST = "courses.example.edu"
LMS_URL = f"https://{LMS_HOST}"
SEAM_URL = f"{LMS_URL}/migration_shim"
HOLD = 2.1  # seconds: the seam hands out nothing younger than 2 s
GRADER = ("grader", "grader-password")
LEARNER_PASSWORD = "learner-password"


class NotEmpty(RuntimeError):
    """The databases hold something already, and the demo does not delete what it did not make."""


def empty_sandbox() -> None:
    """Remove the SQLite files, media and cache of the sandbox. Databases of a server are not touched."""
    connections.close_all()
    for path in SANDBOX_DIR.glob("*.sqlite3*"):
        path.unlink()
    for name in ("media", "cache", "reports", "log"):
        shutil.rmtree(SANDBOX_DIR / name, ignore_errors=True)


def require_empty() -> None:
    """Raise NotEmpty unless there are neither legacy rows nor learners."""
    with connections["xqueue"].cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM queue_submission")
        rows = cursor.fetchone()[0]
    users = get_user_model().objects.count()
    if rows or users:
        raise NotEmpty(f"the databases hold {rows} legacy rows and {users} users; the demo needs empty ones")


class XQueue:
    """The XQueue stand-in of a stage, which a drill may take away for a while."""

    def __init__(self, environment: dict[str, str], port: int) -> None:
        self._start = lambda: running_xqueue(environment, port=port)
        self._running = contextlib.ExitStack()
        self.url = self._running.enter_context(self._start()).url

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Nothing answers at its address while this holds."""
        self.stop()
        try:
            yield
        finally:
            self._running.enter_context(self._start())

    def stop(self) -> None:
        """End it."""
        self._running.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """The running stand-ins. ``environment`` is what a command needs to find them."""

    xqueue_url: str
    lms_address: str
    """Host and port, behind the platform's name."""
    environment: dict[str, str]
    xqueue: XQueue

    def session(self):
        """Return an HTTP session that reaches the LMS under its public name, as through its proxy."""
        return proxied_session(parse_hosts(self.environment["SANDBOX_HOSTS"]))


@contextlib.contextmanager
def running(*, lms_port: int | None = None, xqueue_port: int | None = None, **environment: str) -> Iterator[Stage]:
    """Both stand-ins, on free ports unless told, knowing each other; ``environment`` goes to them and to commands."""
    lms_port, xqueue_port = lms_port or free_port(), xqueue_port or free_port()
    env = {
        **environment,
        "SANDBOX_HOSTS": f"{LMS_HOST}=127.0.0.1:{lms_port},{FILES_HOST}=127.0.0.1:{xqueue_port}",
        "MIGRATION_SHIM_XQUEUE_URL": f"http://127.0.0.1:{xqueue_port}",
    }
    # In this process too: the grader and the learners of the demo live here.
    os.environ.update(env)
    xqueue = XQueue(env, xqueue_port)
    with contextlib.ExitStack() as servers:
        servers.callback(xqueue.stop)
        lms = servers.enter_context(running_lms(env, port=lms_port))
        yield Stage(xqueue_url=xqueue.url, lms_address=lms.address, environment=env, xqueue=xqueue)


def make_grader_account() -> None:
    """Make the graders' account in the LMS; edx-submissions lets in members of the group ``xqueue``."""
    user, _ = get_user_model().objects.get_or_create(username=GRADER[0])
    user.set_password(GRADER[1])
    user.save()
    user.groups.add(Group.objects.get_or_create(name="xqueue")[0])


def grader_on_legacy(stage: Stage, *queues: str) -> PullGrader:
    """A grader that polls XQueue, as slowly as the machine is."""
    account = (os.environ.get("MIGRATION_SHIM_XQUEUE_USER", "lms"), os.environ.get("MIGRATION_SHIM_XQUEUE_PASSWORD"))
    entry = ServerEntry(url=stage.xqueue_url, username=account[0], password=account[1] or "lms-password", queues=queues)
    return PullGrader([entry], timeout=PATIENCE)


def grader_on_target(*queues: str) -> PullGrader:
    """A grader that polls the watcher seam in the LMS, once what was just submitted may be handed out."""
    time.sleep(HOLD)
    entry = ServerEntry(url=SEAM_URL, username=GRADER[0], password=GRADER[1], queues=queues)
    return PullGrader([entry], timeout=PATIENCE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A problem of the captured courses, as its authors made it."""

    course_id: str
    usage_key: str
    queue: str
    grader_payload: str
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One submission that a learner of the demo made."""

    user_id: int
    problem: Problem


def make_learners(first_id: int, number: int) -> list[int]:
    """Make learners who can log in, unless they are there; their user ids."""
    password = make_password(LEARNER_PASSWORD)
    ids = list(range(first_id, first_id + number))
    model = get_user_model()
    learners = [model(id=pk, username=f"learner{pk}", password=password) for pk in ids]
    model.objects.bulk_create(learners, ignore_conflicts=True)
    return ids


def submit(stage: Stage, user_id: int, problem: Problem, response: str) -> Attempt:
    """Log a learner in and submit one answer through the LMS, as a browser does. Raises unless it was queued."""
    session = stage.session()
    session.headers["Referer"] = LMS_URL
    session.get(f"{LMS_URL}/login").raise_for_status()

    def post(path: str, **fields: str):
        fields["csrfmiddlewaretoken"] = session.cookies["csrftoken"]
        answer = session.post(f"{LMS_URL}/{path}", data=fields)
        answer.raise_for_status()
        return answer

    post("login", username=f"learner{user_id}", password=LEARNER_PASSWORD)
    told = post(
        f"courses/{problem.course_id}/submit/{problem.usage_key}",
        student_response=response,
        grader_payload=problem.grader_payload,
        queue_name=problem.queue,
        seed=str(problem.seed),
    ).json()
    if told["success"] != "queued":
        raise RuntimeError(f"the LMS did not queue a submission of learner {user_id}: {told}")
    return Attempt(user_id=user_id, problem=problem)


def wait_for_the_worker(say: Callable[[str], None] | None = None) -> None:
    """Wait until nothing that was submitted is owed a copy any more. Raises NoProgress."""
    owed = LedgerEntry.objects.filter(copy_due__isnull=False)
    waiting.until("copies", lambda: f"{owed.count()} owed", lambda seen: seen == "0 owed", say=say)


def state_of(attempt: Attempt) -> StudentModule | None:
    """The learner's state of the problem."""
    return StudentModule.find(attempt.user_id, attempt.problem.usage_key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A command that an operator ran."""

    exit_code: int
    output: str
    """What it printed, warnings and errors behind it."""
    printed: str = ""
    """What it printed, without them."""


def command(stage: Stage, *words: str) -> Ran:
    """Run ``sandbox/manage.py`` with these words in a process of its own, as an operator would."""
    done = subprocess.run(
        [sys.executable, str(PROJECT_ROOT / "sandbox" / "manage.py"), *words],
        cwd=PROJECT_ROOT,
        env=os.environ | stage.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return Ran(exit_code=done.returncode, output=done.stdout + done.stderr, printed=done.stdout)


def document(stage: Stage, *words: str) -> dict[str, Any]:
    """What a command answers to a program. Raises RuntimeError where it gives no document."""
    ran = command(stage, *words, "--format", "json")
    try:
        return json.loads(ran.printed)
    except ValueError as error:
        raise RuntimeError(f"{' '.join(words)} gave no document: {ran.output[-500:]}") from error


def reports_dir() -> Path:
    """Where the demo puts its reports."""
    path = SANDBOX_DIR / "reports"
    path.mkdir(parents=True, exist_ok=True)
    return path
