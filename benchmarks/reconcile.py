"""
What a reconcile costs: the first run, a full one, an incremental one; the floor, and other ways of comparing.

``python benchmarks/reconcile.py [--rows N] [--memory]``; how to read the table: benchmarks/README.rst. Databases as in
backfill.py. Each way runs in a process of its own.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# The servers come first: the package ``tests`` chooses its databases as soon as it is imported.
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
import run_databases  # noqa: E402

from benchmarks import backfill  # noqa: E402
from benchmarks.backfill import goal, server_cpu  # noqa: E402
from benchmarks.compare_ways import (  # noqa: E402
    DATACOMPY,
    DRAIN,
    EXTRACTS,
    FIRST,
    FULL,
    INCREMENTAL,
    NOT_HERE,
    PANDAS,
    PAYLOADS,
    POLARS,
    RELADIFF,
)
from benchmarks.import_ways import BACKFILL  # noqa: E402

# Four replies in turn; a share of four points, so that nothing is rounded.
_REPLY = (
    "CONCAT('{{\"correct\": ', IF({0} % 4, 'true', 'false'), ', \"score\": ', ELT({0} % 4 + 1, 0, 0.25, 0.5, 1),"
    " ', \"msg\": \"<p>', REPEAT('Your program was run on the test data. ', 4), '</p>\"}}')"
)
_SHARE = "ELT({0} % 4 + 1, 0, 1, 2, 4)"
GRADE_LEGACY = f"""
UPDATE queue_submission SET retired = 1, lms_ack = 1, pull_time = arrival_time + INTERVAL 5 SECOND,
 return_time = arrival_time + INTERVAL 20 SECOND, grader_id = '10.20.4.7', pullkey = MD5(id),
 grader_reply = {_REPLY.format("id")}
"""
GRADE_TARGET = (
    "UPDATE migration_shim_ledgerentry SET origin = 'router', leases = 1, lease_key = MD5(target_submission_id),"
    " leased_at = arrived_at, points_possible = 4, payload_compared_at = NULL",
    f"""
UPDATE submissions_externalgraderdetail d JOIN migration_shim_ledgerentry l ON l.target_submission_id = d.submission_id
 SET d.status = 'retired', d.status_time = d.created_at + INTERVAL 25 SECOND, d.pullkey = l.lease_key,
 d.points_possible = 4, d.grader_reply = {_REPLY.format("l.legacy_id")}
""",
    f"""
INSERT INTO submissions_score (student_item_id, submission_id, points_earned, points_possible, created_at, reset)
SELECT s.student_item_id, s.id, {_SHARE.format("l.legacy_id")}, 4, s.created_at, 0
 FROM migration_shim_ledgerentry l JOIN submissions_submission s ON s.id = l.target_submission_id
""",
    "ANALYZE TABLE submissions_externalgraderdetail, submissions_submission, submissions_score,"
    " migration_shim_ledgerentry",
)
#: One in a hundred gets a new reply on the target, now. It is days old, so its time is not to be held against it.
CHANGE = """
UPDATE submissions_externalgraderdetail d JOIN migration_shim_ledgerentry l ON l.target_submission_id = d.submission_id
 SET l.origin = 'backfill', d.status_time = UTC_TIMESTAMP(6),
 d.grader_reply = REPLACE(d.grader_reply, 'was run', 'ran') WHERE l.id % 100 = 0
"""
#: As if nobody had looked: every payload is compared again, and every result written.
FORGET = "UPDATE migration_shim_ledgerentry SET seen = '', payload_compared_at = NULL, settled_at = NULL"


def main() -> int:
    """Run every way, print the table, write the document."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="pairs")
    parser.add_argument("--memory", action="store_true", help="only the peak memory, at ROWS and at five times as many")
    parser.add_argument("--profile", type=Path, help="write the profile of the full run to this path")
    parser.add_argument(
        "--json", type=Path, default=ROOT / "reports" / "reconcile-benchmark.json", help="where to write"
    )
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        try:
            os.environ.update(stack.enter_context(run_databases.mariadb()))
        except run_databases.NotHere as reason:
            print(f"The benchmark needs MariaDB: {reason}", file=sys.stderr)
            return 1
        backfill.django_on_databases(stack)
        about = backfill.about() | {"schema": "migration_shim.benchmark_reconcile/1"}
        document = about | (memory(options) if options.memory else speed(options))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(table(document), f"\n{options.json}", sep="\n")
    return 0


def speed(options: argparse.Namespace) -> dict:
    """All ways over the same pairs."""
    pairs(options.rows)
    results = {DRAIN: measured(DRAIN), FIRST: measured(FIRST), FULL: measured(FULL, options.profile)}
    execute([CHANGE])
    results[INCREMENTAL] = measured(INCREMENTAL)
    execute([FORGET])
    results[PAYLOADS] = measured(PAYLOADS)
    extracts()
    for way in (POLARS, PANDAS, DATACOMPY, RELADIFF):
        if (result := measured(way)) is not None:
            results[way] = result
    return {"rows": options.rows, "results": results, "goals": goals(results)}


def memory(options: argparse.Namespace) -> dict:
    """The app alone, at two sizes."""
    peaks = {}
    for rows in (options.rows, options.rows * 5):
        pairs(rows)
        for way in (FIRST, FULL):
            peaks[f"{way}: {rows} rows"] = measured(way)
    _, small, _, large = (result["peak_mb"] for result in peaks.values())
    found = [
        goal("peak memory in MB", max(result["peak_mb"] for result in peaks.values()), at_most=120),
        goal("MB more for five times as many pairs", round(large - small, 1), at_most=10),
    ]
    return {"rows": options.rows, "results": peaks, "goals": found}


def pairs(number: int) -> None:
    """So many pairs, graded alike on both sides: the backfill writes the copies, SQL the grades."""
    started = time.perf_counter()
    backfill.empty()
    execute(["TRUNCATE submissions_score"])
    backfill.fill(number)
    here = str(ROOT / "benchmarks" / "import_ways.py")
    subprocess.run([sys.executable, here, BACKFILL, "--rows", str(number)], stdout=subprocess.DEVNULL, check=True)
    execute([GRADE_LEGACY, "ANALYZE TABLE queue_submission"], "xqueue")
    execute(GRADE_TARGET)
    print(f"{number} pairs in {time.perf_counter() - started:.0f} s", file=sys.stderr)


def extracts() -> None:
    """
    The outcomes of both sides as two tables of one schema, linked and classed ready-made for the libraries. No time is
    counted for it. The key is a number, because reladiff takes no text.
    """
    from django.db import connections

    legacy = connections["xqueue"].settings_dict["NAME"]
    columns = "identity BIGINT PRIMARY KEY, state VARCHAR(16), correct TINYINT, score DOUBLE"
    statements = [f"DROP TABLE IF EXISTS {', '.join(EXTRACTS)}"]
    statements += [f"CREATE TABLE {name} ({columns}, reply TEXT)" for name in EXTRACTS]
    values = "JSON_VALUE({0}, '$.correct'), JSON_VALUE({0}, '$.score'), {0}"
    reply = "d.grader_reply"
    statements += [
        f"INSERT INTO {EXTRACTS[0]} SELECT l.id, 'graded', {values.format('q.grader_reply')}"
        f" FROM migration_shim_ledgerentry l JOIN {legacy}.queue_submission q ON q.id = l.legacy_id",
        f"INSERT INTO {EXTRACTS[1]} SELECT l.id, 'graded', {values.format(reply)} FROM"
        " migration_shim_ledgerentry l JOIN submissions_externalgraderdetail d"
        " ON d.submission_id = l.target_submission_id",
        f"ANALYZE TABLE {', '.join(EXTRACTS)}",
    ]
    execute(statements)


def execute(statements: list[str] | tuple[str, ...], alias: str = "default") -> None:
    """Run statements, each by itself."""
    from django.db import connections

    with connections[alias].cursor() as cursor:
        cursor.execute("SET foreign_key_checks = 0")
        for statement in statements:
            cursor.execute(statement)
        cursor.execute("SET foreign_key_checks = 1")


def measured(way: str, profile: Path | None = None) -> dict | None:
    """Run one way in a process of its own; None where its library is not installed."""
    command = [sys.executable, str(ROOT / "benchmarks" / "compare_ways.py"), way]
    before = server_cpu()
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    after = server_cpu()
    if profile:  # another time: a profiler doubles what it measures
        subprocess.run([*command, "--profile", str(profile)], stdout=subprocess.DEVNULL, check=True)
    if done.returncode == NOT_HERE:
        return None
    if done.returncode:
        raise RuntimeError(f"{way} ended with {done.returncode}")
    result = json.loads(done.stdout.splitlines()[-1])
    server = round(after - before, 2) if before is not None and after is not None else None
    print(f"{way}: {result['seconds']} s", file=sys.stderr)
    return result | {"server_cpu": server}


def goals(results: dict[str, dict]) -> list[dict]:
    """The goals of a run over all ways."""
    seconds = {way: result["seconds"] for way, result in results.items()}
    found = [
        goal("full, times the drain", round(seconds[FULL] / seconds[DRAIN], 2), at_most=1.6),
        goal("incremental, times faster than full", round(seconds[FULL] / seconds[INCREMENTAL], 1), at_least=20),
        goal("peak memory in MB", max(results[way]["peak_mb"] for way in (FIRST, FULL, PAYLOADS)), at_most=120),
    ]
    if POLARS in seconds:
        found.append(goal("full, times the time of polars", round(seconds[FULL] / seconds[POLARS], 2), at_most=1))
    if PANDAS in seconds:
        times = round(seconds[PANDAS] / seconds[PAYLOADS], 2)
        found.append(goal("with payloads, times faster than pandas without", times, at_least=2))
    return found


def table(document: dict) -> str:
    """The document for people."""
    width = max(map(len, document["results"]))
    keys = ("seconds", "client_cpu", "server_cpu", "peak_mb", "rows", "differences", "statements")
    lines = [f"{'way':{width}}  " + "  ".join(f"{key.replace('_', ' '):>11}" for key in keys)]
    for way, result in document["results"].items():
        values = (result.get(key) for key in keys)
        lines.append(f"{way:{width}}  " + "  ".join(f"{'-' if value is None else value:>11}" for value in values))
    lines += ["", f"{document['database']}; {document['cores']} cores, load {document['load_before']} at the start"]
    lines += [
        f"Goal {'met' if each['met'] else 'NOT met'}: {each['text']}: {each['value']}" for each in document["goals"]
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
