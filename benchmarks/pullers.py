"""
Forty graders at one queue: the watcher seam against edx-submissions' own endpoint, in one run, by turns.

``python benchmarks/pullers.py [--rows N] [--pullers N] [--rounds N] [--history N] [--json PATH]``

Each grader pulls a row over HTTP, returns a grade at once, and pulls again, until every row was handed out. The LMS
stand-in serves both endpoints, on the MariaDB server that MIGRATION_SHIM_TARGET_DB and MIGRATION_SHIM_LEGACY_DB name
(in databases of the run's own, dropped at the end) or on a private one. Graders and server share the machine, so rows a
second say which of the two is faster here, not what a server can do.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import logging
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import submit  # the directory of a script comes first on its path

ROOT = submit.ROOT
LMS = "https://courses.example.edu"
ENDPOINTS = {"watcher seam": f"{LMS}/migration_shim", "edx-submissions": LMS}
ISOLATION = ("read committed", "repeatable read")
WORKERS, THREADS = 4, 10
CHUNK = 2000  # rows written at once
LOGIN_SECONDS = 120  # forty at once, each with a password hash that is slow on purpose
PAUSE = 0.01  # seconds after "empty"; a watcher waits a second
FIGURES = ("rows_per_second", "cpu_ms_a_row", "handed_out_twice", "false_empties", "grades_refused", "errors")
#: Read before the tests' package removes it: what an XQueue is asked, and with which account.
XQUEUE = tuple(os.environ.get(f"MIGRATION_SHIM_XQUEUE_{name}", "") for name in ("URL", "USER", "PASSWORD"))
SINGLE = 200  # rows that one grader pulls by itself, at each place


def main() -> int:
    """Run everything, print the table, write the document."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--rows", type=int, default=1000, help="rows of one round")
    parser.add_argument("--pullers", type=int, default=40, help="graders at once")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each endpoint at each isolation level")
    parser.add_argument("--history", type=int, default=20_000, help="graded rows that are there already")
    parser.add_argument("--json", type=Path, default=ROOT / "reports" / "pullers-benchmark.json", help="where to write")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        try:
            os.environ.update(stack.enter_context(submit.run_databases.mariadb()))
        except submit.run_databases.NotHere as reason:
            print(f"The benchmark needs MariaDB: {reason}", file=sys.stderr)
            return 1
        submit.django_on_databases(stack)
        logging.disable(logging.ERROR)  # upstream's endpoint refuses grades under contention; they are counted
        given = {name: getattr(options, name) for name in ("rows", "pullers", "history")}
        document = about() | given | {"results": run(options), "single": alone()}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(table(document), f"\n{options.json}", sep="\n")
    return 0


def about() -> dict:
    """Where and when."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT VERSION(), @@innodb_flush_log_at_trx_commit")
        version, flush = cursor.fetchone()
    return {
        "schema": "migration_shim.benchmark_pullers/1",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "database": f"{version}, innodb_flush_log_at_trx_commit={flush}",
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
    }


def run(options: argparse.Namespace) -> list[dict]:
    """Every round: both endpoints by turns, at both isolation levels."""
    from sandbox.servers import running_lms
    from tests.builders import pulling
    from tests.builders.watchers import account

    names = [f"grader{number}" for number in range(options.pullers)]
    for name in names:
        account(name)
    # edx-submissions never removes a row: an LMS has all that it ever graded in the table that is polled.
    for start in range(0, options.history, CHUNK):
        pulling.fill(min(CHUNK, options.history - start), start=10_000_000 + start, queue="graded", status="retired")
    results, number = [], 0
    for isolation in ISOLATION:
        url = os.environ["MIGRATION_SHIM_TARGET_DB"]
        url += ("&" if "?" in url else "?") + "isolation_level=" + isolation.replace(" ", "%20")
        with running_lms({"MIGRATION_SHIM_TARGET_DB": url}, workers=WORKERS, threads=THREADS) as server:
            os.environ["SANDBOX_HOSTS"] = f"courses.example.edu={server.address}"
            for round_number in range(options.rounds):
                # By turns, so that neither always comes after the other.
                for endpoint in sorted(ENDPOINTS, reverse=bool(round_number % 2)):
                    queue = f"queue-{number}"
                    pulling.fill(options.rows, start=number * options.rows, queue=queue)
                    number += 1
                    before = cpu_seconds(server.pid)
                    found = one_round(ENDPOINTS[endpoint], queue, names, options.rows)
                    spent = cpu_seconds(server.pid) - before
                    found["cpu_ms_a_row"] = round(spent * 1000 / found["handed_out"], 2)
                    results.append({"endpoint": endpoint, "isolation": isolation, **found})
                    print(f"{isolation}, {endpoint}: {found['rows_per_second']} rows/s", file=sys.stderr)
    return results


def cpu_seconds(pid: int) -> float:
    """CPU seconds of the LMS's processes and of the database, where that runs here: what graders take is left out."""
    from django.db import connection

    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@pid_file")
        pid_file = Path(cursor.fetchone()[0])
    if pid_file.exists():
        children.append(pid_file.read_text(encoding="ascii").strip())
    ticks = 0
    for process in (str(pid), *children):
        stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
        ticks += sum(map(int, stat.rpartition(")")[2].split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def alone() -> dict[str, dict[str, float]]:
    """
    Milliseconds of one poll by one grader, a hand-out and an empty one: at each endpoint, and at an XQueue if one is
    named. By turns, and no result is returned in between: the seam then takes note that its grader asks again.
    """
    from sandbox.network import parse_hosts
    from sandbox.servers import running_lms
    from tests.builders import pulling

    with running_lms({}, workers=1, threads=2) as server:
        os.environ["SANDBOX_HOSTS"] = f"courses.example.edu={server.address}"
        hosts = parse_hosts(os.environ["SANDBOX_HOSTS"])
        pulls = {}
        for number, (endpoint, url) in enumerate(ENDPOINTS.items()):
            queue = f"single-{number}"
            pulling.fill(SINGLE, start=5_000_000 + number * SINGLE, queue=queue)
            pulls[endpoint] = one_poll(Connection(url, f"grader{number}", hosts["courses.example.edu"]), queue)
        if XQUEUE[0]:
            pulls["XQueue"] = one_poll(filled_xqueue(), submit.QUEUE)
        took: dict[str, dict[str, list[float]]] = {name: {"hand_out": [], "empty": []} for name in pulls}
        for kind in ("hand_out", "empty"):
            for _ in range(SINGLE):
                for name, pull in pulls.items():
                    code, seconds = pull()
                    if bool(code) == (kind == "empty"):  # in XQueue's queue may be others' rows, too
                        took[name][kind].append(seconds * 1000)
    return {
        name: {kind: round(statistics.median(found), 2) for kind, found in kinds.items() if found}
        for name, kinds in took.items()
    }


def one_poll(connection: Any, queue: str) -> Callable[[], tuple[int, float]]:
    """return_code and seconds of a poll."""
    path = f"get_submission/?{urlencode({'queue_name': queue})}"

    def pull() -> tuple[int, float]:
        began = time.perf_counter()
        code, _ = connection.request("GET", path)
        return code, time.perf_counter() - began

    return pull


def filled_xqueue() -> XQueue:
    """A session at the XQueue that was named, whose queue has as many rows as the others'."""
    from tests.builders import rows

    xqueue = XQueue()
    for number in range(SINGLE):
        key = f"{number:032x}"
        header, body = (
            rows.header(number, "a" * 32, key, rows.COURSE, submit.QUEUE),
            rows.body(number, "x = 1\n", "2026"),
        )
        code, content = xqueue.request("POST", "submit/", {"xqueue_header": header, "xqueue_body": body})
        if code:
            raise RuntimeError(f"the XQueue takes no submission: {content}")
    return xqueue


class XQueue:
    """A logged-in session with an XQueue, as a grader has it."""

    def __init__(self) -> None:
        import requests

        self.session = requests.Session()
        code, content = self.request("POST", "login/", {"username": XQUEUE[1], "password": XQUEUE[2]})
        if code:
            raise RuntimeError(f"the XQueue lets nobody in: {content}")

    def request(self, method: str, path: str, form: dict[str, str] | None = None) -> tuple[int, str]:
        """return_code and content."""
        response = self.session.request(method, f"{XQUEUE[0]}/xqueue/{path}", data=form, timeout=30)
        document = response.json()
        return document["return_code"], document["content"]


def one_round(url: str, queue: str, names: list[str], rows: int) -> dict:
    """All graders at one queue until every row was handed out."""
    from tests.builders import pulling

    seen: set[int] = set()
    makers = [functools.partial(puller, url, queue, name, seen) for name in names]
    crowd = pulling.crowd(makers, done=lambda: len(seen) >= rows)
    if not seen:
        raise RuntimeError(f"nothing was handed out: {crowd.errors[0]!r}")
    return {
        "rows_per_second": round(len(seen) / crowd.seconds, 1),
        "handed_out": len(seen),
        "handed_out_twice": crowd.twice,
        "false_empties": crowd.false_empties,
        "grades_refused": crowd.refused,
        "errors": len(crowd.errors),
    }


def puller(url: str, queue: str, name: str, seen: set[int]) -> Callable:
    """One grader, logged in."""
    from sandbox.network import parse_hosts
    from tests.builders import rows
    from tests.builders.pulling import Poll

    client = Connection(url, name, parse_hosts(os.environ["SANDBOX_HOSTS"])["courses.example.edu"])
    query, reply = urlencode({"queue_name": queue}), rows.RIGHT

    def pull() -> Poll:
        began = time.monotonic()
        code, content = client.request("GET", f"get_submission/?{query}")
        ended = time.monotonic()
        if code:
            time.sleep(PAUSE)
            return Poll(began=began, ended=ended, submission_id=None)
        header = json.loads(content)["xqueue_header"]
        form = urlencode({"xqueue_header": header, "xqueue_body": reply})
        code, _ = client.request("POST", "put_result/", form)
        submission_id = json.loads(header)["submission_id"]
        seen.add(submission_id)
        return Poll(began=began, ended=ended, submission_id=submission_id, taken=code == 0)

    return pull


class Connection:
    """A logged-in connection that costs little: what is measured is the server, and it has the same two cores."""

    def __init__(self, url: str, name: str, address: str) -> None:
        from sandbox.grader import GraderClient, ServerEntry

        client = GraderClient(ServerEntry(url=url, username=name, password="pw", queues=()), timeout=LOGIN_SECONDS)
        if not client.login():
            raise RuntimeError("a grader could not log in")
        self.path = urlsplit(url).path + "/xqueue/"
        self.headers = {name: client.session.headers[name] for name in ("X-CSRFToken", "Referer")} | {
            "Host": "courses.example.edu",
            "X-Forwarded-Proto": "https",
            "Cookie": "; ".join(f"{cookie.name}={cookie.value}" for cookie in client.session.cookies),
        }
        self.connection = HTTPConnection(address, timeout=30)

    def request(self, method: str, path: str, form: str | None = None) -> tuple[int, str]:
        """return_code and content; an answer without them is a refusal."""
        headers = self.headers | ({"Content-Type": "application/x-www-form-urlencoded"} if form else {})
        self.connection.request(method, self.path + path, form, headers)
        response = self.connection.getresponse()
        answer = response.read()
        document = json.loads(answer) if response.status == 200 else {}
        return document.get("return_code", 1), document.get("content", "")


def table(document: dict) -> str:
    """The document for people: medians of rows a second, sums of what went wrong."""
    groups: dict[tuple[str, str], list[dict]] = {}
    for result in document["results"]:
        groups.setdefault((result["isolation"], result["endpoint"]), []).append(result)
    head = ("rows/s", "CPU ms a row", "twice", 'false "empty"', "refused", "errors")
    lines = [f"{document['pullers']} graders, {document['rows']} rows a round, {document['history']} graded before", ""]
    lines.append(f"{'':34}" + "".join(f"{name:>15}" for name in head))
    speeds, cpu = {}, {}
    for key, found in groups.items():
        speeds[key] = statistics.median(result["rows_per_second"] for result in found)
        cpu[key] = statistics.median(result["cpu_ms_a_row"] for result in found)
        sums = [sum(result[name] for result in found) for name in FIGURES[2:]]
        name = f"{key[0]}, {key[1]}"
        lines.append(f"{name:34}{speeds[key]:15.1f}{cpu[key]:15.2f}" + "".join(f"{number:>15}" for number in sums))
    lines += ["", f"{document['database']}; {document['cores']} cores, load {document['load_before']:.1f} at the start"]
    for isolation in ISOLATION:
        ratio = speeds[isolation, "watcher seam"] / speeds[isolation, "edx-submissions"]
        less = cpu[isolation, "edx-submissions"] / cpu[isolation, "watcher seam"]
        lines.append(
            f"{isolation}: the seam hands out and takes back {ratio:.2f} times the rows a second, "
            f"{less:.2f} times the rows a second of CPU (medians)."
        )
    for name, found in document["single"].items():
        lines.append(f"One grader, {name}: " + ", ".join(f"{kind} {took:.2f} ms" for kind, took in found.items()))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
