"""
Graders that poll what they are pointed at: XQueue's queues from the beginning, and more as an operator says.

An operator points them as watchers are pointed: with the configuration that ``xqueue_status --watcher-config`` prints,
written to a file of ``watchers/``. They play the part of whoever fills in accounts and restarts the watcher.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db import transaction

from sandbox.databases import SANDBOX_DIR
from sandbox.demo import stage
from sandbox.grader import PullGrader, ServerEntry
from sandbox.serve.actors import Actor

PAUSE = 1.0  # seconds between two empty rounds, as a watcher's POLL_INTERVAL
LOOK = 2.0  # seconds between two looks for files of an operator
#: So many submissions are pulled before the first of them is answered.
HANDS = 10
#: How long a grader looks at what it has pulled. XQueue hands out at once, today as ever, and the grade of one that
#: answers before the LMS has saved that the learner waits is lost. A busy machine may need seconds for that.
THINKING = 4.0
WATCHERS = SANDBOX_DIR / "watchers"


class Bench:
    """One grader at one queue of one server."""

    def __init__(self, entry: ServerEntry) -> None:
        """Take the server, with one queue."""
        self.grader = PullGrader([entry], timeout=30)
        (self.client,), (self.queue,) = self.grader.clients, entry.queues
        self.graded = 0

    def act(self) -> bool:
        """Pull what there is, think, and answer; whether there was anything."""
        pulled = list(self._pulled())
        if pulled:
            time.sleep(THINKING)
        for submission in pulled:
            self.grader.answer(self.client, submission)
            self.graded += 1
        return bool(pulled)

    def _pulled(self) -> Iterator[dict[str, str]]:
        for _ in range(HANDS):
            submission = self.client.pull(self.queue)
            if submission is None:
                return
            yield submission


class Graders:
    """All of them. ``say`` is told when one begins to poll."""

    def __init__(self, legacy: ServerEntry, say: Callable[[str], None]) -> None:
        """Begin with the queues of ``legacy``."""
        self.legacy, self.say = legacy, say
        self.benches: dict[tuple[str, str], Bench] = {}
        self.actors: list[Actor] = []
        self._read: dict[Path, str] = {}
        WATCHERS.mkdir(parents=True, exist_ok=True)
        for queue in legacy.queues:
            self.poll(legacy.url, legacy.username, legacy.password, queue)
        self.actors.append(Actor("operator's files", self.look, LOOK))

    def poll(self, url: str, username: str, password: str, queue: str) -> bool:
        """Let a grader poll a queue, unless one does already; whether it was new."""
        if (url, queue) in self.benches:
            return False
        bench = Bench(ServerEntry(url=url, username=username, password=password, queues=(queue,)))
        self.benches[url, queue] = bench
        self.actors.append(Actor(f"grader of {queue}", bench.act, PAUSE))
        return True

    def look(self) -> bool:
        """Take in what an operator has written since; never busy."""
        for path in sorted(WATCHERS.glob("*.json")):
            text = path.read_text(encoding="utf-8", errors="replace")
            if not text.strip() or text == self._read.get(path):
                continue
            try:
                entries = list(configured(json.loads(text)))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                problem = (
                    f"graders: {path.name} is no answer of xqueue_status --watcher-config ({type(error).__name__})"
                )
                # It may be in the middle of being written: say so only when it stays like that.
                if self._read.get(path) == f"{text}?":
                    self.say(problem)
                    self._read[path] = text
                else:
                    self._read[path] = f"{text}?"
                continue
            self._read[path] = text
            if not entries:
                self.say(f"graders: {path.name} names no queue: the course has had no submission since it left legacy")
            for server, queue, account in entries:
                self._point(server, queue, account)
        return False

    def _point(self, server: str, queue: str, account: str) -> None:
        if server == stage.SEAM_URL:
            make_account(account)
            new = self.poll(server, account, stage.GRADER[1], queue)
            place = f"the watcher seam, as {account}"
        else:
            # A file of an earlier run may name the port that XQueue had then.
            new = self.poll(self.legacy.url, self.legacy.username, self.legacy.password, queue)
            place = "XQueue"
        if new:
            self.say(f"graders: {queue} at {place} is polled from now on")

    def graded(self) -> int:
        """How many submissions they have answered."""
        return sum(bench.graded for bench in self.benches.values())

    def refused(self) -> int:
        """How many results a server has refused."""
        return sum(bench.grader.refused for bench in self.benches.values())

    def close(self) -> None:
        """Send them all home."""
        for actor in self.actors:
            actor.end()
        for actor in self.actors:
            actor.join()


def configured(document: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield server, queue and account of every entry of ``conf.d`` in a document with watcher configurations."""
    for course in document["courses"]:
        config = course["watcher_config"]
        servers = config["xqueue_servers.json"]
        for entry in config["conf.d"].values():
            server = servers[entry["SERVER_REF"]]
            yield server["SERVER"].rstrip("/"), entry["NAME_OVERRIDE"], server["AUTH"][0]


@transaction.atomic
def make_account(name: str) -> None:
    """Make a grader's account in the LMS, in the group that the seam lets in."""
    user, new = get_user_model().objects.get_or_create(username=name)
    if new:
        user.set_password(stage.GRADER[1])
        user.save()
        user.groups.add(Group.objects.get_or_create(name="xqueue")[0])
