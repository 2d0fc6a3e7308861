"""A pull grader: speaks the protocol of xqueue-watcher to any number of servers, XQueue or an LMS.

Source: xqueue-watcher, xqueue_watcher/client.py. One difference: a watcher runs a client with a session of its own for
each queue; this one has a session for each server entry. Two entries of one account on an LMS still evict each other.
"""

import argparse
import json
import logging
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

import requests

from sandbox.grader_rules import grade_submission
from sandbox.network import proxied_session
from sandbox.waiting import PATIENCE, Patience

log = logging.getLogger(__name__)

Grade = Callable[[dict[str, Any], dict[str, bytes]], Any]
LOGIN_AGAIN = (301, 302, 401, 403)
RETRY = 0.5  # seconds, after a request that had no answer


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerEntry:
    """One server to poll: base URL without /xqueue, account, and queue names in the order of polling."""

    url: str
    username: str
    password: str
    queues: tuple[str, ...]


class GraderClient:
    """One logged-in connection to one server."""

    def __init__(self, server: ServerEntry, timeout: float) -> None:
        """Open a session; nothing is sent yet."""
        self.server = server
        self.timeout = timeout
        self.session = proxied_session()
        self.logged_in = False

    def login(self) -> bool:
        """Fetch the CSRF cookie as an anonymous client, log in, and keep token and Referer for every later request."""
        url = f"{self.server.url}/xqueue/login/"
        # A stale session cookie would make the GET a refused request.
        self.session.cookies.clear()
        self.session.headers.pop("X-CSRFToken", None)
        self.session.get(url, timeout=self.timeout)
        answer = self.session.post(
            url,
            data={"username": self.server.username, "password": self.server.password},
            headers={"Referer": url} | self._csrf(),
            timeout=self.timeout,
        )
        self.logged_in = answer.status_code == 200 and answer.json()["return_code"] == 0
        if not self.logged_in:
            log.error("login at %s refused with status %s", self.server.url, answer.status_code)
        self.session.headers.update({"Referer": self.server.url} | self._csrf())
        return self.logged_in

    def _csrf(self) -> dict[str, str]:
        token = self.session.cookies.get("csrftoken") or self.session.cookies.get("edx-csrftoken")
        return {"X-CSRFToken": token} if token else {}

    def request(self, method: str, path: str, **kwargs: Any) -> tuple[bool, Any]:
        """
        Return (return_code is 0, content).

        A redirect, 401 or 403 means login once and repeat once; another status than 200 is (False, why).
        """
        if not self.logged_in and not self.login():
            return False, "could not log in"
        answer = self._send(method, path, **kwargs)
        if answer.status_code in LOGIN_AGAIN:
            if not self.login():
                return False, "could not log in"
            answer = self._send(method, path, **kwargs)
        if answer.status_code != 200:
            return False, f"status {answer.status_code}"
        reply = answer.json()
        return reply["return_code"] == 0, reply["content"]

    def _send(self, method: str, path: str, **kwargs: Any) -> requests.Response:
        return self.session.request(
            method, self.server.url + path, timeout=self.timeout, allow_redirects=False, **kwargs
        )

    def pull(self, queue: str) -> dict[str, str] | None:
        """Return the next submission of a queue, its three texts; None when the queue gives none."""
        ok, content = self.request("get", "/xqueue/get_submission/", params={"queue_name": queue})
        if not ok:
            log.debug("%s, queue %s: %s", self.server.url, queue, content)
            return None
        return json.loads(content)

    def fetch_files(self, listing: str) -> dict[str, bytes]:
        """Return the contents of xqueue_files by name; raises requests.HTTPError where one cannot be fetched."""
        files = {}
        for name, url in json.loads(listing or "{}").items():
            answer = self.session.get(urljoin(self.server.url, url), timeout=self.timeout)
            answer.raise_for_status()
            files[name] = answer.content
        return files

    def put(self, header: str, reply: Any) -> bool:
        """Post a result; a text goes as it is. Return whether the server took it: never repeated, as a watcher does."""
        body = reply if isinstance(reply, str) else json.dumps(reply)
        ok, content = self.request("post", "/xqueue/put_result/", data={"xqueue_header": header, "xqueue_body": body})
        if not ok:
            # A result is refused where its learner has submitted again, or its lease is over: that is everyday life.
            level = logging.ERROR if str(content).startswith("status ") else logging.WARNING
            log.log(level, "%s refused a result: %s", self.server.url, content)
        return ok


class PullGrader:
    """Grades whatever the queues of its servers hold."""

    def __init__(self, servers: list[ServerEntry], grade: Grade = grade_submission, timeout: float = 10.0) -> None:
        """Take the servers and a grading function; `timeout` is for one request, in seconds."""
        self.clients = [GraderClient(server, timeout) for server in servers]
        self.grade = grade
        self.refused = 0
        """Results that a server did not take."""
        self.unanswered = 0
        """Submissions whose files could not be fetched: nothing was posted, as when a watcher's handler raises."""

    def run_once(self) -> int:
        """Poll each queue of each server once; return how many submissions were handed out."""
        return sum(self._one(client, queue) for client in self.clients for queue in client.server.queues)

    def drain(self, seconds: float = PATIENCE, say: Callable[[str], None] | None = None) -> int:
        """
        Poll until a whole round hands out nothing; return how many there were.

        However long it takes, as long as results are taken. Raises NoProgress after so many seconds without one.
        """
        queues = ", ".join(queue for client in self.clients for queue in client.server.queues)
        patience = Patience(f"graders of {queues}", seconds, say)
        handled, trouble = 0, ""
        while True:
            try:
                count, trouble = self.run_once(), ""
            except requests.RequestException as error:
                count, trouble = -1, f", the server does not answer ({type(error).__name__})"
                time.sleep(RETRY)
            if count == 0:
                return handled
            handled += max(count, 0)
            taken = handled - self.refused - self.unanswered
            patience.see(f"{taken} results taken" + trouble)

    def _one(self, client: GraderClient, queue: str) -> int:
        submission = client.pull(queue)
        if submission is None:
            return 0
        self.answer(client, submission)
        return 1

    def answer(self, client: GraderClient, submission: dict[str, str]) -> None:
        """Grade what was pulled, and post the result; without its files it is left unanswered."""
        body = _body(submission["xqueue_body"])
        try:
            files = client.fetch_files(submission["xqueue_files"])
        except requests.RequestException as error:
            log.error("a file at %s cannot be fetched: %s", client.server.url, type(error).__name__)
            self.unanswered += 1
            return
        reply = self.grade(body, files)
        if not client.put(submission["xqueue_header"], reply):
            self.refused += 1


def _body(text: str) -> dict[str, Any]:
    """Return the submission's body; a body that is no JSON object is taken for the answer itself."""
    try:
        parsed = json.loads(text)
    except ValueError:
        parsed = text
    return parsed if isinstance(parsed, dict) else {"student_response": parsed}


def main() -> None:
    """Poll until interrupted: python -m sandbox.grader --server URL USER PASSWORD QUEUE[,QUEUE...] [--server ...]."""
    parser = argparse.ArgumentParser(description="Grade the queues of any number of servers until interrupted.")
    parser.add_argument(
        "--server", nargs=4, action="append", required=True, metavar=("URL", "USER", "PASSWORD", "QUEUES")
    )
    parser.add_argument("--interval", type=float, default=1.0, help="seconds to wait after an empty round (default 1)")
    options = parser.parse_args()
    servers = [
        ServerEntry(url=url.rstrip("/"), username=user, password=password, queues=tuple(queues.split(",")))
        for url, user, password, queues in options.server
    ]
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    grader = PullGrader(servers)
    while not stopped.is_set():
        try:
            handled = grader.run_once()
        except requests.RequestException as error:
            log.error("round given up: %s", type(error).__name__)
            handled = 0
        if not handled:
            stopped.wait(options.interval)


if __name__ == "__main__":
    main()
