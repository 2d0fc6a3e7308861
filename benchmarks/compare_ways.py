"""
The ways of comparing outcomes that ``reconcile.py`` measures, one a process: ``python compare_ways.py WAY``.

The databases are those that the environment names, chosen and filled by reconcile.py. The libraries that the app is
compared with (requirements/bench.in) are imported where they are used: one that is not installed is left out.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

FIRST = "first run: links, compares outcomes and payloads, stores all"
FULL = "full, no result changed"
PAYLOADS = "full with payloads: all compared anew, and stored"
INCREMENTAL = "incremental, 1 % changed"
DRAIN = "drain of legacy, target and ledger"
POLARS = "polars and connectorx"
PANDAS = "pandas"
DATACOMPY = "pandas and datacompy"
RELADIFF = "reladiff"
OURS = (FIRST, FULL, PAYLOADS, INCREMENTAL)
NOT_HERE = 3
EXTRACTS = ("bench_legacy", "bench_target")
#: What the app needs of each row to see whether anything has changed; it has the server pack it, the drain does not.
DRAINED = {
    "xqueue": "SELECT id, retired, lms_ack, num_failures, pull_time, return_time, grader_id, pullkey, grader_reply"
    " FROM queue_submission",
    "default": "SELECT d.submission_id, d.status, status_time, num_failures, pullkey, queue_name, queue_key,"
    " d.points_possible, grader_reply, student_id, item_id, points_earned FROM submissions_externalgraderdetail d"
    " JOIN submissions_submission s ON s.id = d.submission_id"
    " JOIN submissions_studentitem i ON i.id = s.student_item_id"
    " JOIN submissions_score p ON p.submission_id = s.id",
    "ledger": "SELECT id, seen, result, queue_name, legacy_state, settled_at, payload_compared_at, authority, move,"
    " legacy_leg, target_leg, legacy_id, target_submission_id, superseded_at, double_authority, lease_key, leases, echo"
    " FROM migration_shim_ledgerentry",
}


def main() -> int:
    """Run one way and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("way")
    parser.add_argument("--profile", type=Path)
    options = parser.parse_args()
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    import django

    django.setup()
    from benchmarks.import_ways import counted_statements, peak_mb

    ways: dict[str, Callable[[], dict]] = dict.fromkeys(OURS, reconcile) | {
        FULL: lambda: reconcile(full=True),
        DRAIN: drain,
        POLARS: polars,
        PANDAS: pandas,
        DATACOMPY: datacompy,
        RELADIFF: reladiff,
    }
    profile = None
    if options.profile:
        import cProfile

        profile = cProfile.Profile()
        profile.enable()
    try:
        with counted_statements() as statements:
            started, cpu = time.perf_counter(), time.process_time()
            found = ways[options.way]()
            seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    except ImportError as error:
        print(f"{options.way}: {error}", file=sys.stderr)
        return NOT_HERE
    if profile:
        profile.dump_stats(options.profile)
    took = {"seconds": round(seconds, 2), "client_cpu": round(cpu, 2), "peak_mb": peak_mb()}
    print(json.dumps(took | {"statements": statements[0]} | found))
    return 0


def reconcile(full: bool = False) -> dict:
    """The product, as the command runs it over all courses."""
    from migration_shim import api

    document = api.reconcile(api.known_courses(), lambda done, total: None, lambda divergence: None, full=full)
    content = document.content
    return {"rows": content["looked_at"], "differences": content["diverged"], "compared": content["compared"]}


def server(alias: str) -> dict:
    """What MySQLdb needs to reach a database."""
    from django.db import connections

    parameters = connections[alias].get_connection_params()
    parameters.pop("isolation_level", None)
    return parameters


def url(scheme: str) -> str:
    """The address of the target's database, where the extracts are, for a library."""
    parts = urlsplit(os.environ["MIGRATION_SHIM_TARGET_DB"])
    return parts._replace(scheme=scheme).geturl()


def drain() -> dict:
    """The floor: every row of the three tables through a plain cursor, and nothing done with it."""
    import MySQLdb
    from MySQLdb.cursors import SSCursor

    rows = 0
    for name, statement in DRAINED.items():
        connection = MySQLdb.connect(**server("xqueue" if name == "xqueue" else "default"), cursorclass=SSCursor)
        cursor = connection.cursor()
        cursor.execute(statement)
        while page := cursor.fetchmany(2000):
            rows += len(page)
        cursor.close()
        connection.close()
    return {"rows": rows // 3}


def polars() -> dict:
    """Two column frames, joined by the key; the replies are read inside polars."""
    import polars as pl

    reply = pl.Struct({"correct": pl.Boolean, "score": pl.Float64})
    sides = [
        pl.read_database_uri(f"SELECT identity, state, reply FROM {name}", url("mysql"), engine="connectorx")
        .with_columns(pl.col("reply").str.json_decode(reply).alias("read"))
        .drop("reply")
        .unnest("read")
        for name in EXTRACTS
    ]
    both = sides[0].join(sides[1], on="identity", how="full", suffix="_target")
    differ = pl.any_horizontal(
        pl.col(name).ne_missing(pl.col(f"{name}_target")) for name in ("state", "correct", "score")
    )
    return {"rows": both.height, "differences": both.filter(differ).height}


def frames() -> list:
    """The two extracts as pandas has them, their replies read."""
    import pandas as pd
    from sqlalchemy import create_engine

    engine = create_engine(url("mysql+mysqldb"))
    found = []
    for name in EXTRACTS:
        frame = pd.read_sql(f"SELECT identity, state, reply FROM {name}", engine)
        replies = frame.pop("reply").map(json.loads)
        frame["correct"] = replies.map(lambda reply: reply["correct"])
        frame["score"] = replies.map(lambda reply: float(reply["score"]))
        found.append(frame)
    return found


def pandas() -> dict:
    """Two frames, merged by the key."""
    one, other = frames()
    both = one.merge(other, on="identity", how="outer", suffixes=("", "_target"))
    differ = (both["state"] != both["state_target"]) | (both["correct"] != both["correct_target"])
    differ |= both["score"] != both["score_target"]
    return {"rows": len(both), "differences": int(differ.sum())}


def datacompy() -> dict:
    """The same frames, compared by datacompy."""
    import datacompy as library

    one, other = frames()
    compare = getattr(library, "PandasCompare", None) or library.Compare
    result = compare(one, other, join_columns="identity")
    rows = len(result.intersect_rows)
    return {"rows": rows, "differences": rows - int(result.count_matching_rows())}


def reladiff() -> dict:
    """Checksums of segments inside the server; it is given ready-made columns, and never sees a reply."""
    from reladiff import connect_to_table, diff_tables

    columns = ("state", "correct", "score")
    sides = [connect_to_table(url("mysql"), name, "identity", extra_columns=columns) for name in EXTRACTS]
    keys = {row[0] for _, row in diff_tables(*sides, extra_columns=columns)}
    return {"differences": len(keys)}


if __name__ == "__main__":
    sys.exit(main())
