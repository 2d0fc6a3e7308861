"""
How fast legacy rows get to the target: this backfill, what else one might write, and the floor, all in one run.

``python benchmarks/backfill.py [--rows N] [--memory]``; how to read the table: benchmarks/README.rst.

It uses the MariaDB servers that MIGRATION_SHIM_TARGET_DB and MIGRATION_SHIM_LEGACY_DB name (in databases of its own,
dropped at the end) or a private one. Each way runs in a process of its own, on emptied tables.
"""

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# The servers come first: the package ``tests`` chooses its databases as soon as it is imported.
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
import run_databases  # noqa: E402

from benchmarks.import_ways import (  # noqa: E402
    BACKFILL,
    EXECUTEMANY,
    LEDGER,
    LOAD_DATA,
    LOAD_TARGET,
    NAIVE,
    OURS,
    PUBLIC_API,
    TARGET,
)


def main() -> int:
    """Run every way, print the table, write the document."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000, help="legacy rows")
    parser.add_argument("--api-rows", type=int, default=2_000, help="rows of them for the public API, which is slow")
    parser.add_argument("--memory", action="store_true", help="only the peak memory, at ROWS and at five times as many")
    parser.add_argument(
        "--json", type=Path, default=ROOT / "reports" / "backfill-benchmark.json", help="where to write"
    )
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        try:
            os.environ.update(stack.enter_context(run_databases.mariadb()))
        except run_databases.NotHere as reason:
            print(f"The benchmark needs MariaDB: {reason}", file=sys.stderr)
            return 1
        django_on_databases(stack)
        options.files = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        document = about() | (memory(options) if options.memory else speed(options))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(table(document), f"\n{options.json}", sep="\n")
    return 0


def django_on_databases(stack: contextlib.ExitStack) -> None:
    """Django with the settings of the tests, on databases of this run with the schema of both systems."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    import django

    django.setup()
    from sandbox import schema
    from tests import databases

    databases.create()
    stack.callback(databases.drop)
    schema.prepare()


def about() -> dict:
    """What the figures depend on."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT VERSION(), @@innodb_flush_log_at_trx_commit, @@innodb_buffer_pool_size")
        version, flush, pool = cursor.fetchone()
    return {
        "schema": "migration_shim.benchmark_backfill/1",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "database": f"{version}, innodb_flush_log_at_trx_commit={flush}, buffer pool {pool // 2**20} MB",
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
    }


# The parent's side: one process a way


def speed(options: argparse.Namespace) -> dict:
    """All ways over the same legacy rows."""
    fill(options.rows)
    results = {}
    for way in (PUBLIC_API, NAIVE, EXECUTEMANY, BACKFILL):
        empty()
        results[way] = measured(way, options)
    if local_infile():
        dump(options.files)
        for way in (LOAD_TARGET, LOAD_DATA):
            empty()
            results[way] = measured(way, options)
    return {"rows": options.rows, "results": results, "goals": speed_goals(results)}


def memory(options: argparse.Namespace) -> dict:
    """This backfill alone, at two sizes."""
    peaks = {}
    for rows in (options.rows, options.rows * 5):
        fill(rows)
        empty()
        peaks[f"{BACKFILL}: {rows} rows"] = measured(BACKFILL, argparse.Namespace(**vars(options) | {"rows": rows}))
    small, large = (result["peak_mb"] for result in peaks.values())
    goals = [
        goal("peak memory in MB", small, at_most=100),
        goal("MB more for five times as many rows", round(large - small, 1), at_most=10),
    ]
    return {"rows": options.rows, "results": peaks, "goals": goals}


def measured(way: str, options: argparse.Namespace) -> dict:
    """Run one way in a process of its own; what it says of itself, and what the server spent on it."""
    command = [sys.executable, str(ROOT / "benchmarks" / "import_ways.py"), way, "--files", str(options.files)]
    command += ["--rows", str(options.rows), "--api-rows", str(options.api_rows)]
    before = server_cpu()
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    after = server_cpu()
    result = json.loads(done.stdout)
    server = round(after - before, 2) if before is not None and after is not None else None
    print(f"{way}: {result['rows_per_second']} rows/s", file=sys.stderr)
    return result | {"server_cpu": server}


def server_cpu() -> float | None:
    """CPU seconds of the database server since its start, where it runs on this machine."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT @@pid_file")
        pid_file = Path(cursor.fetchone()[0])
    try:
        stat = Path(f"/proc/{int(pid_file.read_text())}/stat").read_text(encoding="ascii", errors="replace")
    except (OSError, ValueError):
        return None
    user, system = stat.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def fill(number: int) -> None:
    """So many legacy rows, and no others."""
    from django.db import connections

    from benchmarks import legacy_rows

    with connections["xqueue"].cursor() as cursor:
        cursor.execute("TRUNCATE queue_submission")
        legacy_rows.load(number)
        cursor.execute("ANALYZE TABLE queue_submission")


def empty() -> None:
    """Nothing on the target and in the ledger."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SET foreign_key_checks = 0")
        for name in OURS:
            cursor.execute(f"TRUNCATE {name}")
        cursor.execute("SET foreign_key_checks = 1")


def dump(directory: Path) -> None:
    """What the backfill has written, as files for LOAD DATA."""
    from django.db import connection

    escape = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"})
    for name in (*TARGET, *LEDGER):
        with (directory / name).open("w", encoding="utf-8") as file, connection.cursor() as cursor:
            last = 0
            while True:
                cursor.execute(f"SELECT * FROM {name} WHERE id > %s ORDER BY id LIMIT 5000", [last])
                rows = cursor.fetchall()
                if not rows:
                    break
                last = rows[-1][0]
                for row in rows:
                    texts = ("\\N" if value is None else str(value).translate(escape) for value in row)
                    file.write("\t".join(texts) + "\n")


def local_infile() -> bool:
    """Whether the server takes files from its clients."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT @@local_infile")
        return bool(cursor.fetchone()[0])


# What came out


def goal(text: str, value: float, *, at_least: float | None = None, at_most: float | None = None) -> dict:
    """One goal and whether it was met."""
    met = (at_least is None or value >= at_least) and (at_most is None or value <= at_most)
    bound = f"at least {at_least:g}" if at_least is not None else f"at most {at_most:g}"
    return {"text": f"{text}: {bound}", "value": value, "met": met}


def speed_goals(results: dict[str, dict]) -> list[dict]:
    """The goals of a run over all ways."""
    rates = {way: result["rows_per_second"] for way, result in results.items()}
    mine = rates[BACKFILL]
    goals = [
        goal("times the public API", round(mine / rates[PUBLIC_API], 1), at_least=45),
        goal("times naive bulk_create, which writes no ledger", round(mine / rates[NAIVE], 2), at_least=2.5),
        goal("peak memory in MB", results[BACKFILL]["peak_mb"], at_most=100),
    ]
    floor, spent = cpu(results.get(LOAD_DATA)), cpu(results[BACKFILL])
    if floor and spent:
        goals.append(goal("of LOAD DATA of the same tables, by CPU", round(floor / spent, 2), at_least=0.4))
    return goals


def cpu(result: dict | None) -> float | None:
    """CPU seconds of client and server; None where the server's are not known."""
    if result is None or result["server_cpu"] is None:
        return None
    return result["client_cpu"] + result["server_cpu"]


def table(document: dict) -> str:
    """The document for people."""
    width = max(map(len, document["results"]))
    columns = ("rows/s", "stmts/row", "client s", "server s", "peak MB", "rows")
    lines = [f"{'way':{width}}  " + "  ".join(f"{column:>9}" for column in columns)]
    keys = ("rows_per_second", "statements_a_row", "client_cpu", "server_cpu", "peak_mb", "rows")
    for way, result in document["results"].items():
        values = (result[key] for key in keys)
        lines.append(f"{way:{width}}  " + "  ".join(f"{'-' if value is None else value:>9}" for value in values))
    lines += ["", f"{document['database']}; {document['cores']} cores, load {document['load_before']} at the start"]
    lines += [
        f"Goal {'met' if each['met'] else 'NOT met'}: {each['text']}: {each['value']}" for each in document["goals"]
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
