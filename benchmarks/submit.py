"""
What one submit costs the LMS with the shim off and in its phases, all in one run, interleaved.

``python benchmarks/submit.py [--rounds N] [--json PATH]``; how to read the table: benchmarks/README.rst.

It uses the MariaDB servers that MIGRATION_SHIM_TARGET_DB and MIGRATION_SHIM_LEGACY_DB name (in databases of its own,
dropped at the end) or a private one, and the Redis of MIGRATION_SHIM_BROKER_URL or a private one.
"""

import argparse
import contextlib
import json
import logging
import os
import platform
import signal
import socket
import statistics
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import requests

ROOT = Path(__file__).resolve().parent.parent
# The servers come first: the package ``tests`` chooses its databases as soon as it is imported.
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
import run_databases  # noqa: E402

from benchmarks.steps import django_on_databases  # noqa: E402

ANSWER = "def square(x):\n    return x * x  # as learners write it\n" * 24
COURSES = {"shadow": "course-v1:ExU+SHADOW+2026", "live": "course-v1:ExU+LIVE+2026"}
QUEUE = "exu-py1"
TIMEOUT = (3.05, 10)  # seconds; the LMS's own
SLOW_SAMPLES = 15  # of what takes half a second each
PATIENCE = 60  # seconds for a worker

KEPT = "off: straight to XQueue, session kept"
NEW = "off: straight to XQueue, a session and a login each time"
YARDSTICK = "yardstick: one create_external_grader_detail"
DEFERRED = "shadow, deferred"
INLINE = "shadow, inline"
LIVE = "live"
STOPPED = "shadow, deferred, target hanging (its worker stopped)"
BROKER_HANGS = "shadow, deferred, broker hanging, breaker closed"
BREAKER_OPEN = "shadow, deferred, broker hanging, breaker open"
GOAL = "the Python door in shadow deferred adds at most the time of one create_external_grader_detail"


def main() -> int:
    """Run everything, print the table, write the document."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200, help="samples of each kind")
    parser.add_argument("--json", type=Path, default=ROOT / "reports" / "submit-benchmark.json", help="where to write")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        try:
            os.environ.update(stack.enter_context(run_databases.mariadb()))
        except run_databases.NotHere as reason:
            print(f"The benchmark needs MariaDB: {reason}", file=sys.stderr)
            return 1
        django_on_databases(stack)
        logging.disable(logging.ERROR)  # brokers hang and breakers open here on purpose
        bench = Bench(stack)
        samples = bench.run(options.rounds)
    document = summary(samples, bench.about)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(table(document), f"\n{options.json}", sep="\n")
    return 0


class StraightClient:
    """
    XQueue as the LMS's own client speaks to it (CAPA: xqueue_interface.py): a session, a login when asked for one.
    """

    def __init__(self, url: str) -> None:
        self.url, self.session = url, requests.Session()

    def send_to_queue(self, header: str, body: str) -> tuple[int, str]:
        """Submit one attempt."""
        data = {"xqueue_header": header, "xqueue_body": body}
        error, message = self._post("/xqueue/submit/", data)
        if error and message == "login_required":
            self._post("/xqueue/login/", {"username": "lms", "password": "lms-password"})
            error, message = self._post("/xqueue/submit/", data)
        return error, message

    def _post(self, path: str, data: dict[str, str]) -> tuple[int, str]:
        reply = json.loads(self.session.post(self.url + path, data=data, timeout=TIMEOUT).text)
        return reply["return_code"], reply["content"]


class Bench:
    """The servers of the run, and one method for each kind of sample."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        from django.conf import settings
        from django.db import connection

        from migration_shim import breaker, toggles
        from sandbox.lms import celery_app
        from sandbox.servers import running_xqueue
        from tests import private_redis, rows
        from tests.celery_worker import running_worker
        from tests.databases import GIVEN_BROKER

        self.rows, self.breaker, self.toggles, self.celery, self.settings = rows, breaker, toggles, celery_app, settings
        queues = f"{QUEUE},{QUEUE}.reverse"
        self.xqueue = stack.enter_context(running_xqueue({"SANDBOX_XQUEUES": queues})).url
        self.broker = os.environ.get(GIVEN_BROKER) or stack.enter_context(private_redis.running())
        self.silent = stack.enter_context(silence())
        queue = f"migration_shim_bench_{uuid.uuid4().hex}"
        settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"LEGACY_URL": self.xqueue, "CELERY_QUEUE": queue}
        self.use_broker(self.broker)
        for phase, course in COURSES.items():
            rows.in_phase(phase, course)
            toggles.force_flags(course, True, phase == "live")
        self.worker = stack.enter_context(running_worker(self.broker, queue, self.xqueue)).process
        # A stopped process takes no notice of being asked to end.
        stack.callback(self.worker.send_signal, signal.SIGCONT)
        self.straight = StraightClient(self.xqueue)
        self.number = 0
        with connection.cursor() as cursor:
            cursor.execute("SELECT VERSION(), @@innodb_flush_log_at_trx_commit")
            version, flush = cursor.fetchone()
        self.about = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "python": platform.python_version(),
            "database": f"{version}, innodb_flush_log_at_trx_commit={flush}",
            "cores": os.cpu_count(),
            "load_before": os.getloadavg()[0],
            "answer_characters": len(ANSWER),
        }

    def use_broker(self, url: str) -> None:
        """Let this process publish to another broker."""
        self.celery.conf.update(broker_url=url, task_always_eager=False)

    def envelope(self, phase: str) -> tuple[str, str]:
        """Header and body of a submission by a learner who has not submitted before."""
        from sandbox.lms import capa

        self.number += 1
        course, learner, when = COURSES[phase], self.rows.anonymous_id(self.number), "20261122090000"
        answer_id = f"{capa.html_id(self.rows.usage_key('a' * 32, course))}_2_1"
        key = capa.make_key(self.number, when, learner, answer_id)
        return (
            self.rows.header(self.number, "a" * 32, key, course, QUEUE),
            self.rows.body(self.number, ANSWER, when),
        )

    def timed(self, send: Callable[[str, str], tuple], phase: str = "shadow") -> float:
        """Milliseconds of one accepted submission. What a request of the LMS caches is forgotten before it."""
        header, body = self.envelope(phase)
        self.toggles.new_work_cycle()
        started = time.perf_counter()
        error, message = send(header, body)
        took = time.perf_counter() - started
        if error:
            raise RuntimeError(f"a submission was refused: {message}")
        return took * 1000

    def door(self, phase: str = "shadow", copies: str = "deferred") -> float:
        """One submission through the Python door."""
        from migration_shim import api

        self.settings.MIGRATION_SHIM = self.settings.MIGRATION_SHIM | {"COPIES": copies}
        return self.timed(lambda header, body: api.queue_interface().send_to_queue(header, body), phase)

    def detail(self) -> float:
        """One create_external_grader_detail of the same size, as the platform's own send path calls it."""
        from submissions.api import create_external_grader_detail

        def create(header: str, body: str) -> tuple[int, str]:
            item = {"student_id": self.rows.anonymous_id(self.number), "course_id": COURSES["shadow"]}
            item |= {"item_id": "yardstick", "item_type": "problem"}
            create_external_grader_detail(item, ANSWER, queue_name="yardstick", queue_key="k", grader_file_name="g.py")
            return 0, ""

        return self.timed(create)

    def settle(self) -> None:
        """Wait, untimed, until the worker has written every copy, so that it takes no time from the next sample."""
        from migration_shim.models import LedgerEntry

        deadline = time.monotonic() + PATIENCE
        while LedgerEntry.objects.filter(legacy_leg="missing").exists() or self._shadows_missing():
            if time.monotonic() > deadline:
                raise RuntimeError(f"the worker has left copies unwritten for {PATIENCE} s")
            time.sleep(0.01)

    def _shadows_missing(self) -> bool:
        from migration_shim.models import LedgerEntry

        return LedgerEntry.objects.filter(target_leg="missing").exists()

    def with_worker_stopped(self) -> float:
        """The worker is there and does nothing: what publishing does when nobody takes the tasks."""
        self.worker.send_signal(signal.SIGSTOP)
        try:
            return self.door()
        finally:
            self.worker.send_signal(signal.SIGCONT)

    def with_silent_broker(self, breaker_open: bool) -> float:
        """The broker accepts the connection and never answers."""
        self.breaker.reset()
        self.use_broker(self.silent)
        settings = self._settings()
        for _ in range(settings.breaker_failures if breaker_open else 0):
            self.breaker.failed("shadow", settings)
        try:
            return self.door()
        finally:
            self.use_broker(self.broker)
            self.breaker.reset()
            self._forget_unpublished()

    def _settings(self):
        from migration_shim import conf

        return conf.load()

    def _forget_unpublished(self) -> None:
        """Nobody will write these copies, so ``settle`` must not wait for them."""
        from migration_shim.models import LedgerEntry

        LedgerEntry.objects.filter(target_leg="missing").update(target_leg="failed")

    def run(self, rounds: int) -> dict[str, list[float]]:
        """So many rounds of one sample a kind, after a few that do not count."""
        kinds: dict[str, Callable[[], float]] = {
            KEPT: lambda: self.timed(self.straight.send_to_queue),
            NEW: lambda: self.timed(StraightClient(self.xqueue).send_to_queue),
            YARDSTICK: self.detail,
            DEFERRED: self.door,
            INLINE: lambda: self.door(copies="inline"),
            LIVE: lambda: self.door("live"),
            STOPPED: self.with_worker_stopped,
            BREAKER_OPEN: lambda: self.with_silent_broker(True),
            BROKER_HANGS: lambda: self.with_silent_broker(False),
        }
        samples: dict[str, list[float]] = {kind: [] for kind in kinds}
        warm_up = 5
        for index in range(rounds + warm_up):
            for kind, sample in kinds.items():
                if kind == BROKER_HANGS and len(samples[kind]) >= SLOW_SAMPLES:
                    continue
                took = sample()
                self.settle()
                if index >= warm_up:
                    samples[kind].append(took)
            if sys.stderr.isatty():
                print(f"\r{max(index - warm_up + 1, 0)} of {rounds} rounds", end="", file=sys.stderr)
        if sys.stderr.isatty():
            print(file=sys.stderr)
        return samples


@contextlib.contextmanager
def silence() -> Iterator[str]:
    """The address of a broker that accepts every connection and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        callers = []

        def accept() -> None:
            with contextlib.suppress(OSError):  # closed
                while True:
                    callers.append(listener.accept()[0])

        threading.Thread(target=accept, daemon=True).start()
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
        listener.shutdown(socket.SHUT_RDWR)


def summary(samples: dict[str, list[float]], about: dict) -> dict:
    """The document: median and p99 of each kind in milliseconds, and whether the goal was met."""
    results = {
        kind: {
            "samples": len(took),
            "median_ms": round(statistics.median(took), 2),
            "p99_ms": round(statistics.quantiles(took, n=100, method="inclusive")[98], 2),
        }
        for kind, took in samples.items()
    }
    added = results[DEFERRED]["median_ms"] - results[KEPT]["median_ms"]
    allowed = results[YARDSTICK]["median_ms"]
    goal = {"text": GOAL, "added_ms": round(added, 2), "allowed_ms": allowed, "met": added <= allowed}
    return {"schema": "migration_shim.benchmark_submit/1", **about, "results": results, "goal": goal}


def table(document: dict) -> str:
    """The document for people."""
    width = max(len(kind) for kind in document["results"])
    lines = [f"{'one submit':{width}}  {'median ms':>9}  {'p99 ms':>8}  {'n':>5}"]
    for kind, result in document["results"].items():
        lines.append(f"{kind:{width}}  {result['median_ms']:9.2f}  {result['p99_ms']:8.2f}  {result['samples']:5}")
    goal = document["goal"]
    lines += ["", f"{document['database']}; {document['cores']} cores, load {document['load_before']:.1f} at the start"]
    outcome = "met" if goal["met"] else "NOT met"
    lines += [f"Goal {outcome}: {goal['text']}: {goal['added_ms']:.2f} of {goal['allowed_ms']:.2f} ms (medians)."]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
