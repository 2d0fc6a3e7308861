"""
What libraries make of the extracts (``pairs.EXTRACTS``), which were linked and classed for them.

The libraries (requirements/bench.in) are imported where they are used: one that is not installed is left out.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from benchmarks import names
from benchmarks.legacy_rows import Kind, counts
from benchmarks.pairs import EXTRACTS


def url(scheme: str) -> str:
    """
    The address of the target's database, where the extracts are, for a library. By TCP where the server listens there:
    connectorx knows no socket, and takes the process down instead of saying so.
    """
    from django.db import connection

    parts = urlsplit(os.environ["MIGRATION_SHIM_TARGET_DB"])
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@skip_networking, @@port")
        closed, port = cursor.fetchone()
    if "unix_socket" in parts.query and not closed:
        user = parts.netloc.rpartition("@")[0]
        parts = parts._replace(netloc=f"{user}@127.0.0.1:{port}", query="")
    return parts._replace(scheme=scheme).geturl()


def polars() -> tuple[int, int]:
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
    return both.height, both.filter(differ).height


def _frames() -> list:
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


def pandas() -> tuple[int, int]:
    """Two frames, merged by the key."""
    one, other = _frames()
    both = one.merge(other, on="identity", how="outer", suffixes=("", "_target"))
    differ = (both["state"] != both["state_target"]) | (both["correct"] != both["correct_target"])
    differ |= both["score"] != both["score_target"]
    return len(both), int(differ.sum())


def datacompy() -> tuple[int, int]:
    """The same frames, compared by datacompy."""
    import datacompy as library

    one, other = _frames()
    compare = getattr(library, "PandasCompare", None) or library.Compare
    result = compare(one, other, join_columns="identity")
    rows = len(result.intersect_rows)
    return rows, rows - int(result.count_matching_rows())


def reladiff() -> tuple[int, int]:
    """Checksums of segments inside the server; it is given ready-made columns, and never sees a reply."""
    from reladiff import connect_to_table, diff_tables

    columns = ("state", "correct", "score")
    sides = [connect_to_table(url("mysql"), name, "identity", extra_columns=columns) for name in EXTRACTS]
    differ = {row[0] for _, row in diff_tables(*sides, extra_columns=columns)}
    return 0, len(differ)


def _checked(way: Callable[[], tuple[int, int]]) -> Callable[[argparse.Namespace], dict[str, Any]]:
    """A way with its result looked at: each reads correctness and score, and has to find what differs in them."""

    def run(options: argparse.Namespace) -> dict[str, Any]:
        found = counts(options.rows, options.odd)
        wanted = found[Kind.CORRECTNESS] + found[Kind.SCORE]
        rows, differ = way()
        return {"pairs": rows, "wrong": "" if differ == wanted else f"{differ} differ, not {wanted}"}

    return run


WAYS = {name: _checked(way) for name, way in zip(names.LIBRARIES, (polars, pandas, datacompy, reladiff), strict=True)}
