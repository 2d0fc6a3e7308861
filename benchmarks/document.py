"""The results of a run: one JSON document, written as the run goes on, and a Markdown table beside it."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import goals, legacy_rows, names, tables
from benchmarks.figures import Row

SCHEMA = "migration_shim.benchmark/1"
RESULTS = Path(__file__).resolve().parent / "results"
Document = dict[str, Any]


def new_path(folder: Path = RESULTS) -> Path:
    """Where a run of today is written: ``<date>.json``, or ``<date>-<n>.json`` if there is one already."""
    day, number = datetime.now(UTC).date().isoformat(), 1
    while (path := folder / (f"{day}.json" if number == 1 else f"{day}-{number}.json")).exists():
        number += 1
    return path


def write(document: Document, path: Path) -> None:
    """Write document and table, each at once or not at all, with the goals as they stand."""
    document["goals"] = judged(document)
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = {
        path: json.dumps(document, indent=1, ensure_ascii=False) + "\n",
        path.with_suffix(".md"): tables.markdown(document),
    }
    for where, text in texts.items():
        draft = where.with_name(where.name + ".part")
        draft.write_text(text, encoding="utf-8")
        os.replace(draft, where)


def read(path: Path) -> Document:
    """
    The document of a run.

    Raises:
        ValueError: it is none of these.
    """
    document = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise ValueError(f"{path} is no {SCHEMA}")
    return document


def newest(folder: Path = RESULTS) -> Document | None:
    """The newest finished run of all groups, memory apart, of ``goals.WHOLE`` rows or more; None if there is none."""
    found = [read(path) for path in folder.glob("*.json")]
    whole = [run for run in found if run["finished"] and run["size"] >= goals.WHOLE]
    whole = [run for run in whole if set(run["groups"]) >= set(names.GROUPS) - {"memory"}]
    return max(whole, key=lambda run: run["at"], default=None)


def judged(document: Document) -> list[Row]:
    """
    Every goal that can be judged by the rows of a document, once for each size and server; the fast server's first.

    A size below the one asked for is there to be compared with: it has no goals of its own.
    """
    found, asked = [], document["size"]
    for durable in (False, True):
        here = [row for row in document["rows"] if row["durable"] is durable]
        by_size = {size: [row for row in here if row["size"] == size] for size in sorted({row["size"] for row in here})}
        for size, rows in by_size.items():
            if 0 < size < asked and not durable:
                continue
            at_size = goals.Rows(rows, by_size.get(smaller(size), ()))
            results = [goal.judge(at_size) for goal in goals.GOALS]
            if size * 5 in by_size:
                results.append(goals.flat(at_size, goals.Rows(by_size[size * 5])))
            found += [result | {"size": size, "durable": durable} for result in results if result]
    return found


def smaller(size: int) -> int:
    """The size with which one is compared for what must not grow: a tenth, but no less than every course needs."""
    return max(legacy_rows.whole(size // 10), legacy_rows.LEAST)
