"""What ``make serve`` runs, and what it prints: everything that an operator needs to walk a first course."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group

from sandbox import capture
from sandbox.databases import PROJECT_ROOT, SANDBOX_DIR
from sandbox.demo import stage, story, witness
from sandbox.demo.stage import Stage
from sandbox.grader import ServerEntry
from sandbox.lms.seed import seed_learners
from sandbox.network import free_port
from sandbox.serve import front
from sandbox.serve.actors import Actor
from sandbox.serve.graders import WATCHERS, Graders
from sandbox.serve.learners import Learners

QUEUES = (story.CLEAN_QUEUE, story.HAZARD_QUEUE, "exu-alg2")
#: Nobody polls this one: it holds the malformed rows of the capture, and XQueue fails on their callbacks.
UNPOLLED = "exu-misc"
OTHERS = (story.HAZARD, "course-v1:ExU+ALG2+26T1")
LMS_PORT, XQUEUE_PORT, FRONT_PORT = 18000, 18040, 18443
PACE = 0.8  # seconds between two submissions
NEWS = 60.0  # seconds between two lines about what happened
#: Who logs in to the dashboard.
OPERATOR = ("operator", "operator-password")
#: Whom preflight logs in as at the seam.
PREFLIGHT = "preflight"
ENVIRONMENT_FILE = SANDBOX_DIR / "serve.env"
#: What a shell may have set otherwise than this run: its commands would look into other databases, or at other flags.
ELSEWHERE = (
    "MIGRATION_SHIM_TARGET_DB",
    "MIGRATION_SHIM_LEGACY_DB",
    "MIGRATION_SHIM_BROKER_URL",
    "DJANGO_SETTINGS_MODULE",
    "SANDBOX_DOOR",
    "SANDBOX_DOOR_URL",
    "SANDBOX_FLAGS",
    "SANDBOX_SCORE_RECEIVER",
)
#: What differs from an LMS in production, and why: an hour is no fortnight.
SETTINGS = {
    "SIDE_EFFECT_FREE_QUEUES": [*QUEUES, UNPOLLED],
    "PREFLIGHT_GRADERS": {PREFLIGHT: stage.GRADER[1]},
}
ENVIRONMENT = {"SANDBOX_GATE_THRESHOLD": "0.05", "SANDBOX_REQUESTS_TIMEOUT": "30"}


def run(say: Callable[[str], None], *, pace: float = PACE, free_ports: bool = False) -> None:
    """Serve until a signal. The caller has prepared the databases."""
    stopped = threading.Event()
    before = {number: signal.signal(number, lambda *_: stopped.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with contextlib.ExitStack() as stack:
            _fill(say)
            _make_accounts()
            running = stack.enter_context(_stand_ins(free_ports))
            dashboard = _front(stack, running, free_ports)
            legacy = ServerEntry(url=running.xqueue_url, username="lms", password="lms-password", queues=QUEUES)
            graders = Graders(legacy, say)
            stack.callback(graders.close)
            others = [problem for course in OTHERS for problem in witness.problems_of(course)]
            learners = Learners(running, witness.problems_of(story.CLEAN), others)
            _write_environment(running, dashboard)
            stack.callback(ENVIRONMENT_FILE.unlink, missing_ok=True)
            _tell(say, running, dashboard)
            submitting = Actor("learners", learners.act, pace)
            stack.callback(submitting.join)
            stack.callback(submitting.end)
            while not stopped.wait(NEWS):
                say(_news(learners, graders, submitting))
            say("stopping")
            say(_news(learners, graders, submitting))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _fill(say: Callable[[str], None]) -> None:
    """The past: captured rows, and the learners whom they belong to."""
    try:
        stage.require_empty()
    except stage.NotEmpty:
        return
    counts = capture.load_capture(story.DATA)
    seed_learners(story.captured_rows(), password=stage.LEARNER_PASSWORD)
    say(f"{counts.rows} captured rows loaded")


def _make_accounts() -> None:
    stage.make_grader_account()
    group, _ = Group.objects.get_or_create(name="xqueue")
    model = get_user_model()
    for name, password, staff in ((*OPERATOR, True), (PREFLIGHT, stage.GRADER[1], False)):
        user, _ = model.objects.get_or_create(username=name)
        user.is_staff = user.is_superuser = staff
        user.set_password(password)
        user.save()
        if not staff:
            user.groups.add(group)


@contextlib.contextmanager
def _stand_ins(free_ports: bool) -> Iterator[Stage]:
    lms, xqueue = _port(LMS_PORT, free_ports), _port(XQUEUE_PORT, free_ports)
    # What somebody has set for this run goes before what is set for every run.
    given = json.loads(os.environ.get("SANDBOX_SHIM_SETTINGS", "{}"))
    environment = {name: os.environ.get(name, value) for name, value in ENVIRONMENT.items()}
    environment["SANDBOX_SHIM_SETTINGS"] = json.dumps(SETTINGS | given)
    with stage.running(lms_port=lms, xqueue_port=xqueue, **environment) as running:
        yield running


def _port(wanted: int, free_ports: bool) -> int:
    """The port of always, so that a bookmark keeps; or any, where something listens there."""
    if free_ports:
        return free_port()
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", wanted))
        except OSError:
            return free_port()
    return wanted


def _front(stack: contextlib.ExitStack, running: Stage, free_ports: bool) -> str:
    """The dashboard's address, or why there is none."""
    try:
        url = stack.enter_context(front.running(_port(FRONT_PORT, free_ports), running.lms_address))
    except front.NoCertificate as error:
        return f"not served: {error}"
    return f"{url}/admin/migration_shim/coursephase/dashboard/"


def _write_environment(running: Stage, dashboard: str) -> None:
    """What a shell needs to run the commands of the runbook as they stand there."""
    folder = SANDBOX_DIR / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "manage.py"
    command = shlex.join([sys.executable, str(PROJECT_ROOT / "sandbox" / "manage.py")])
    script.write_text(f'#!/bin/sh\nexec {command} "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    values = running.environment | {"MIGRATION_SHIM_SANDBOX_DIR": str(SANDBOX_DIR), "WATCHERS": str(WATCHERS)}
    values["DASHBOARD"] = dashboard
    lines = [f"export {name}={shlex.quote(value)}" for name, value in values.items()]
    for name in ELSEWHERE:
        given = os.environ.get(name)
        lines.append(f"unset {name}" if given is None else f"export {name}={shlex.quote(given)}")
    lines.append(f'export PATH={shlex.quote(str(folder))}:"$PATH"')
    ENVIRONMENT_FILE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _shown(path: Path) -> str:
    """A path as it is typed where ``make serve`` was."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _tell(say: Callable[[str], None], running: Stage, dashboard: str) -> None:
    say("")
    say(f"Dashboard:  {dashboard}")
    say(f"            log in as {OPERATOR[0]}, password {OPERATOR[1]}")
    say("            The certificate is this run's own: a browser warns of it once.")
    say(f"XQueue:     {running.xqueue_url}")
    say(f"LMS:        https://{stage.LMS_HOST}, at {running.lms_address}")
    say(f"Learners submit to {story.CLEAN} most of the time: new answers, second tries, uploads.")
    say("Graders poll at XQueue:")
    for queue in QUEUES:
        say(f"  {queue}")
    say(f"Nobody polls {UNPOLLED}: it holds malformed rows, which a status shall show.")
    say(f"Point them at more queues by a file in {_shown(WATCHERS)}, as the runbook does with a watcher.")
    rate = float(running.environment["SANDBOX_GATE_THRESHOLD"])
    say(f"The gate asks for a rate under {rate:.0%} here; the default of an LMS is 1%, which takes 449 clean pairs.")
    say(f"Logs:       {_shown(SANDBOX_DIR / 'log')}")
    say("")
    say("In another terminal, for the commands of the runbook:")
    say(f"  . {shlex.quote(_shown(ENVIRONMENT_FILE) if '/' in _shown(ENVIRONMENT_FILE) else './serve.env')}")
    say("The first course, step by step: docs/runbook/first-hour.md")
    say("Ctrl-C stops everything; the databases stay.")


def _news(learners: Learners, graders: Graders, submitting: Actor) -> str:
    """What happened so far, in a line; trouble last."""
    kinds = learners.kinds
    line = (
        f"submissions queued: {kinds.total()} (second tries: {kinds['again']}, uploads: {kinds['upload']}); "
        f"results: {graders.graded()}"
    )
    trouble = [f"told by the LMS: {told} ({number})" for told, number in learners.told.items() if told != "queued"]
    if refused := graders.refused():
        trouble.append(f"came too late, as the learner had submitted again: {refused}")
    unanswered = sum((actor.unanswered for actor in (submitting, *graders.actors)), start=Counter())
    trouble += [f"requests without an answer: {kind} ({number})" for kind, number in unanswered.items()]
    return "; ".join((line, *trouble))
