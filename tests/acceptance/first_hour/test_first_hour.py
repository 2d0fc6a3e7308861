"""
``serve`` in a process of its own, and the walk of docs/runbook/first-hour.md on it.

Whoever walks knows the page and what the screens print. The databases are looked at only when the walk is over, to see
that nobody was left without a grade. The short form asks for fewer pairs; the long one is what ``make serve`` gives.
"""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading

import pytest
import requests

from sandbox import runbook, waiting, walk
from sandbox.databases import PROJECT_ROOT
from sandbox.demo.story import CLEAN
from sandbox.serve import learners

pytestmark = pytest.mark.timeout(1500)

#: Fewer pairs, and learners in a hurry.
SHORT = {
    "SANDBOX_GATE_THRESHOLD": "0.3",
    "SANDBOX_SHIM_SETTINGS": json.dumps({"GATE_MIN_PAIRS_PER_PROBLEM": 2}),
}
READY = "Ctrl-C stops everything"


class Serving:
    """A ``serve``, and what it has printed."""

    def __init__(self, folder, *options, **environment):
        names = ("MIGRATION_SHIM_", "SANDBOX_", "DJANGO_SETTINGS_MODULE")
        env = {name: value for name, value in os.environ.items() if not name.startswith(names)}
        env |= {"MIGRATION_SHIM_SANDBOX_DIR": str(folder), "PYTHONUNBUFFERED": "1"} | environment
        command = [sys.executable, str(PROJECT_ROOT / "sandbox" / "manage.py"), "serve", "--free-ports", *options]
        self.folder, self.lines = folder, []
        self.process = subprocess.Popen(
            command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.reader = threading.Thread(target=lambda: self.lines.extend(self.process.stdout), daemon=True)
        self.reader.start()
        waiting.until(
            "serve", lambda: "".join(self.lines), lambda text: READY in text or self.process.poll() is not None
        )
        assert READY in self.screen(), self.screen()

    def screen(self):
        return "".join(self.lines)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self.reader.join()
        return code


@pytest.fixture
def serve(tmp_path):
    """Start a ``serve``; it is stopped whatever happens."""
    started = []

    def start(*options, **environment):
        started.append(Serving(tmp_path, *options, **environment))
        return started[0]

    yield start
    for serving in started:
        serving.stop()


def environment_of(serving):
    """The file that its screen tells another terminal to read."""
    (path,) = re.findall(r"^  \. (\S+)$", serving.screen(), re.M)
    return serving.folder / path


def waiting_learners(serving):
    """Submissions of its learners that wait for a grade: learner, problem and key."""
    database = sqlite3.connect(f"file:{serving.folder}/lms.sqlite3?mode=ro", uri=True)
    try:
        rows = database.execute(
            "SELECT student_id, module_id, state FROM courseware_studentmodule WHERE student_id >= ?",
            [learners.FIRST_ID],
        ).fetchall()
    finally:
        database.close()
    return {
        (student, problem, entry["queuestate"]["key"])
        for student, problem, state in rows
        for entry in json.loads(state)["correct_map"].values()
        if entry["queuestate"]
    }


def troubles(serving):
    """Lines of its screen and its logs that speak of an error."""
    texts = [serving.screen()]
    texts += [path.read_text(errors="replace") for path in (serving.folder / "log").glob("*.log")]
    return [line for text in texts for line in text.splitlines() if re.search(r"ERROR|CRITICAL|Traceback", line)]


def walked(serving, pause):
    said = []
    walking = walk.Walk(environment_of(serving), said.append, pause=pause)
    try:
        seconds = walking.go()
    except (walk.Stuck, waiting.NoProgress) as error:
        pytest.fail("\n".join([str(error), *said, serving.screen()]))
    assert typed_once(walking)[-1] == [line.words for block in walk.blocks() for line in block][-1]
    # A command that is broken to fit the screen is read as a shell reads it.
    outputs = [re.sub(r" \\\n +", " ", screen.output) for screen in walking.screens]
    asked = [command for output in outputs for command in re.findall(r"^Next: (xqueue_.*)$", output, re.M)]
    known = runbook.commands()
    assert asked
    assert [command for command in asked if runbook.shape(command) not in known] == []
    # Whoever waits now has a grade soon; whoever was forgotten never gets one.
    before = waiting_learners(serving)
    waiting.until("grades", lambda: before & waiting_learners(serving), lambda left: not left, seconds=60)
    return seconds


def typed_once(walking):
    return list(dict.fromkeys(screen.line.words for screen in walking.screens))


def in_the_browser(serving):
    """Log in at the address that the screen prints, with its account, and step the course back by the dashboard."""
    url, name, password = re.search(
        r"^Dashboard: +(\S+)\n +log in as (\S+), password (\S+)$", serving.screen(), re.M
    ).groups()
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(serving.folder / "tls" / "cert.pem")

        def post(address, **fields):
            fields["csrfmiddlewaretoken"] = session.cookies["csrftoken"]
            return session.post(address, data=fields, headers={"Referer": url})

        page = session.get(url)
        assert "/admin/login/" in page.url
        assert post(page.url, username=name, password=password).url == url
        page = session.get(f"{url}course/", params={"course": CLEAN})
        assert "complete" in page.text
        plan = post(f"{url}plan/", course=CLEAN, to="legacy")
        assert plan.status_code == 200
        done = post(f"{url}step/", course=CLEAN, to="legacy", expected="complete", reason="seen enough")
        assert done.status_code == 200
        assert re.search(r"seen enough", done.text)


def test_the_page_types_what_the_runbook_has():
    """The walk takes no way of its own: each of its commands stands on a page for operators, too."""
    known = runbook.commands(but=walk.PAGE)
    words = [line.words.removeprefix("manage.py ").partition(" > ")[0] for block in walk.blocks() for line in block]
    assert len(words) > 10
    # The page has the sandbox's graders read a document; an operator copies from the screen.
    shapes = {runbook.shape(command).removesuffix(" --format json") for command in words}
    config = "xqueue_status --course ID --watcher-config"
    assert shapes - known <= {config}
    assert any("xqueue_status --watcher-config" in text for text in runbook.texts(but=walk.PAGE))


@pytest.mark.long  # make walk runs it, and the whole check does
def test_the_first_course_is_walked_on_few_pairs(serve):
    serving = serve("--pace", "0.2", **SHORT)
    walked(serving, pause=1)
    in_the_browser(serving)
    assert serving.stop() == 0
    assert troubles(serving) == []
    assert not environment_of(serving).exists()


@pytest.mark.long
def test_the_first_course_is_walked_as_serve_is(serve):
    serving = serve()
    seconds = walked(serving, pause=walk.PAUSE)
    in_the_browser(serving)
    assert serving.stop() == 0
    assert troubles(serving) == []
    assert seconds < 20 * 60
