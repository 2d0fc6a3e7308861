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

from benchmarks.names import DEFERRED, KEPT, LIVE, YARDSTICK  # noqa: E402
from benchmarks.steps import django_on_databases  # noqa: E402

ANSWER = "def square(x):\n    return x * x  # as learners write it\n" * 24
COURSES = {"shadow": "course-v1:ExU+SHADOW+2026", "live": "course-v1:ExU+LIVE+2026"}
QUEUE = "exu-py1"
TIMEOUT = (3.05, 10)  # seconds; the LMS's own
SLOW_SAMPLES = 15  # of what takes half a second each
WARM_UP = 5  # rounds that do not count

NEW = "off: straight to XQueue, a session and a login each time"
BURST = "shadow, deferred, another one in the same second"
INLINE = "shadow, inline"
BROKER_HANGS = "shadow, deferred, broker hanging, breaker closed"
BREAKER_OPEN = "shadow, deferred, broker hanging, breaker open"
NUDGE = "the nudge by itself, after the answer"
SHARE = 0.8
LIVE_MS = 1.0
GOALS = {
    DEFERRED: f"shadow, deferred, adds at most {SHARE} of one create_external_grader_detail",
    LIVE: f"live takes at most {LIVE_MS:g} ms longer than one create_external_grader_detail",
}

#: Milliseconds by the clock, and of CPU.
Sample = tuple[float, float]


def main() -> int:
    """Run everything, print the table, write the document."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200, help="samples of each kind")
    parser.add_argument(
        "--durable", action="store_true", help="a private server that waits for the disk at each commit"
    )
    parser.add_argument("--json", type=Path, default=ROOT / "reports" / "submit-benchmark.json", help="where to write")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        try:
            if options.durable and any(name in os.environ for name in run_databases.VARIABLES):
                raise run_databases.NotHere("--durable would change the settings of the server that was given.")
            os.environ.update(stack.enter_context(run_databases.mariadb()))
        except run_databases.NotHere as reason:
            print(f"The benchmark needs MariaDB: {reason}", file=sys.stderr)
            return 1
        django_on_databases(stack)
        logging.disable(logging.ERROR)  # brokers hang and breakers open here on purpose
        if options.durable:
            wait_for_the_disk()
        bench = Bench(stack)
        samples = bench.run(options.rounds)
    document = summary(samples, bench.about)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(table(document), f"\n{options.json}", sep="\n")
    return 0


def wait_for_the_disk() -> None:
    """Durable commits, as a server has them by default; a server that was given is left as it is set."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SET GLOBAL innodb_flush_log_at_trx_commit = 1")


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

        from migration_shim import toggles
        from migration_shim.copies import after_request, breaker, publish
        from sandbox.lms import celery_app
        from sandbox.servers import running_xqueue
        from tests import private_redis
        from tests.builders import rows
        from tests.databases import GIVEN_BROKER

        self.rows, self.breaker, self.toggles, self.publish = rows, breaker, toggles, publish
        self.answered = after_request
        self.celery, self.settings = celery_app, settings
        queues = f"{QUEUE},{QUEUE}.reverse"
        self.xqueue = stack.enter_context(running_xqueue({"SANDBOX_XQUEUES": queues})).url
        self.broker = os.environ.get(GIVEN_BROKER) or stack.enter_context(private_redis.running())
        self.silent = stack.enter_context(silence())
        # Nobody takes what is sent to it: what a worker does belongs to no submit, and would take time from the next.
        queue = f"migration_shim_bench_{uuid.uuid4().hex}"
        settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | {"LEGACY_URL": self.xqueue, "CELERY_QUEUE": queue}
        self.use_broker(self.broker)
        stack.callback(self.remove, queue)
        for phase, course in COURSES.items():
            rows.in_phase(phase, course)
            toggles.force_flags(course, True, phase == "live")
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

    def remove(self, queue: str) -> None:
        """Take the run's queue off the broker."""
        with self.celery.connection_for_write() as connection:
            connection.default_channel.queue_delete(queue)

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

    def timed(self, send: Callable[[str, str], tuple], phase: str = "shadow") -> Sample:
        """
        Milliseconds of one accepted submission, by the clock and of this process's CPU.

        It is sent within a request, as in an LMS: what a request caches is forgotten before it, and what is left for
        the time after its answer comes when the clock has stopped.
        """
        header, body = self.envelope(phase)
        self.toggles.new_work_cycle()
        self.answered.on_request_started()
        started, cpu = time.perf_counter(), time.thread_time()
        error, message = send(header, body)
        took, cpu = time.perf_counter() - started, time.thread_time() - cpu
        self.answered.on_request_finished()
        if error:
            raise RuntimeError(f"a submission was refused: {message}")
        return took * 1000, cpu * 1000

    def door(self, phase: str = "shadow", copies: str = "deferred", *, nudged: bool = False) -> Sample:
        """One submission through the Python door; ``nudged``: this process has told a worker within the last second."""
        from migration_shim import api

        self.publish._last = time.monotonic() if nudged else -self.publish.EVERY
        self.settings.MIGRATION_SHIM = self.settings.MIGRATION_SHIM | {"COPIES": copies}
        return self.timed(lambda header, body: api.queue_interface().send_to_queue(header, body), phase)

    def detail(self) -> Sample:
        """One create_external_grader_detail of the same size, as the platform's own send path calls it."""
        from submissions.api import create_external_grader_detail

        def create(header: str, body: str) -> tuple[int, str]:
            item = {"student_id": self.rows.anonymous_id(self.number), "course_id": COURSES["shadow"]}
            item |= {"item_id": "yardstick", "item_type": "problem"}
            create_external_grader_detail(item, ANSWER, queue_name="yardstick", queue_key="k", grader_file_name="g.py")
            return 0, ""

        return self.timed(create)

    def nudge(self) -> Sample:
        """What a process does after an answer, once a second at most."""
        self.publish._last = -self.publish.EVERY
        settings = self._settings()
        started, cpu = time.perf_counter(), time.thread_time()
        self.publish.nudge(settings)
        return (time.perf_counter() - started) * 1000, (time.thread_time() - cpu) * 1000

    def with_silent_broker(self, breaker_open: bool) -> Sample:
        """The broker accepts the connection and never answers."""
        self.breaker.reset()
        self.use_broker(self.silent)
        settings = self._settings()
        for _ in range(settings.breaker_failures if breaker_open else 0):
            self.breaker.failed(self.breaker.OUTBOX, settings)
        try:
            return self.door()
        finally:
            self.use_broker(self.broker)
            self.breaker.reset()

    def _settings(self):
        from migration_shim import conf

        return conf.load()

    def run(self, rounds: int) -> dict[str, list[Sample]]:
        """So many rounds of one sample a kind, after a few that do not count."""
        kinds: dict[str, Callable[[], Sample]] = {
            KEPT: lambda: self.timed(self.straight.send_to_queue),
            NEW: lambda: self.timed(StraightClient(self.xqueue).send_to_queue),
            YARDSTICK: self.detail,
            DEFERRED: self.door,
            BURST: lambda: self.door(nudged=True),
            INLINE: lambda: self.door(copies="inline"),
            LIVE: lambda: self.door("live"),
            NUDGE: self.nudge,
            BREAKER_OPEN: lambda: self.with_silent_broker(True),
            BROKER_HANGS: lambda: self.with_silent_broker(False),
        }
        samples: dict[str, list[Sample]] = {kind: [] for kind in kinds}
        for index in range(-WARM_UP, rounds):
            for kind, sample in kinds.items():
                if kind == BROKER_HANGS and len(samples[kind]) >= SLOW_SAMPLES:
                    continue
                took = sample()
                if index >= 0:
                    samples[kind].append(took)
            if sys.stderr.isatty():
                print(f"\r{max(index + 1, 0)} of {rounds} rounds", end="", file=sys.stderr)
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


def summary(samples: dict[str, list[Sample]], about: dict) -> dict:
    """The document: median and p99 of each kind in milliseconds, and whether the goals were met."""
    results = {
        kind: {
            "samples": len(found),
            "median_ms": round(statistics.median(took for took, _ in found), 2),
            "p99_ms": round(statistics.quantiles((took for took, _ in found), n=100, method="inclusive")[98], 2),
            "cpu_ms": round(statistics.median(cpu for _, cpu in found), 2),
        }
        for kind, found in samples.items()
    }
    median = {kind: result["median_ms"] for kind, result in results.items()}
    yardstick = median[YARDSTICK]
    found = {
        DEFERRED: (median[DEFERRED] - median[KEPT], SHARE * yardstick),
        LIVE: (median[LIVE], yardstick + LIVE_MS),
    }
    goals = [
        {"text": text, "ms": round(found[kind][0], 2), "allowed_ms": round(found[kind][1], 2)}
        | {"of_yardstick": round(found[kind][0] / yardstick, 2), "met": found[kind][0] <= found[kind][1]}
        for kind, text in GOALS.items()
    ]
    return {"schema": "migration_shim.benchmark_submit/2", **about, "results": results, "goals": goals}


def table(document: dict) -> str:
    """The document for people."""
    width = max(len(kind) for kind in document["results"])
    lines = [f"{'one submit':{width}}  {'median ms':>9}  {'p99 ms':>8}  {'CPU ms':>7}  {'n':>5}"]
    for kind, result in document["results"].items():
        figures = f"{result['median_ms']:9.2f}  {result['p99_ms']:8.2f}  {result['cpu_ms']:7.2f}  {result['samples']:5}"
        lines.append(f"{kind:{width}}  {figures}")
    lines += ["", f"{document['database']}; {document['cores']} cores, load {document['load_before']:.1f} at the start"]
    for goal in document["goals"]:
        outcome = "met" if goal["met"] else "NOT met"
        measured = f"{goal['ms']:.2f} of {goal['allowed_ms']:.2f} ms, {goal['of_yardstick']:.2f} of the yardstick"
        lines.append(f"Goal {outcome}: {goal['text']}: {measured} (medians).")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
