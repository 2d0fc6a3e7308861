"""The work of a run on one server, group by group."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks import document, figures, names, runner, server, steps

#: Groups whose ways commit, and rows of them on the server that waits for the disk.
COMMITTING, DURABLE_ROWS = ("submit", "pullers", "import"), 20_000


class Bench:
    """The work on one server. Rows go into the document as they come, and the document to its file."""

    def __init__(self, at: server.Server, options: argparse.Namespace, found: document.Document, path: Path) -> None:
        self.server, self.options, self.found, self.path = at, options, found, path
        self.pairs_of = 0  # rows of which both sides and the ledger stand there now
        self.reconciled = False
        found["servers"]["durable" if at.durable else "fast"] = at.about

    def __enter__(self) -> Bench:
        self.stack = contextlib.ExitStack()
        self.files = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.stack.callback(self.step, steps.DROP)
        self.step(steps.CREATE)
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def run(self) -> None:
        """All groups that are wanted here; one that cannot be set up keeps no other from its turn."""
        for group in self.options.only:
            if self.server.durable and group not in COMMITTING:
                continue
            try:
                getattr(self, f"{group}_")()
            except StepFailed as error:
                name, why = error.args
                self.keep({"group": group, "way": name, "size": self.options.rows, "failed": why})
                self.pairs_of, self.reconciled = 0, False

    # --- one process ---

    def arguments(self, rows: int) -> list[object]:
        """What every way is told."""
        own = self.options
        return ["--rows", rows, "--odd", own.odd, "--api-rows", own.api_rows, "--files", self.files]

    def step(self, name: str, rows: int = 0) -> None:
        """
        Do something between two ways.

        Raises:
            StepFailed: it could not be done.
        """
        say(f"{name}{f' ({rows:,} rows)' if rows else ''}")
        arguments = runner.way(name, *self.arguments(rows))
        result = runner.run(arguments, self.server.environment, self.options.timeout + rows / 100)
        if "failed" in result:
            raise StepFailed(name, result["failed"])

    def way(self, group: str, name: str, rows: int, *more: object) -> None:
        """Measure one way."""
        arguments = runner.way(name, *self.arguments(rows), *more)
        result = runner.measured(self.server, arguments, self.options.timeout + rows / 100)
        repeat = result.pop("repeat", 1)
        for figure in ("server_cpu", "statements", "rows_read"):
            if repeat > 1 and result[figure] is not None:
                result[figure] = round(result[figure] / repeat, 3 if figure == "server_cpu" else None)
        self.keep({"group": group, "way": name, "size": rows, **result})

    def keep(self, row: figures.Row) -> None:
        """Put a row into the document, and the document where it belongs."""
        self.found["rows"].append(row | {"durable": self.server.durable})
        document.write(self.found, self.path)
        say(f"{row['way']}: {row.get('failed') or row.get('wrong') or _short(row)}")

    # --- the groups ---

    def submit_(self) -> None:
        """One submit: a benchmark that is one process by itself, for its samples are taken by turns."""
        found = self._script("submit", "submit.py", "--rounds", self.options.rounds)
        for way, result in found.get("results", {}).items():
            self.keep({"group": "submit", "way": way, "size": 0, **result})

    def pullers_(self) -> None:
        """Graders at one queue, likewise."""
        found = self._script("pullers", "pullers.py", "--rows", self.options.puller_rows)
        rounds: dict[str, list[dict]] = {}
        for result in found.get("results", ()):
            rounds.setdefault(f"{result['endpoint']}, {result['isolation']}", []).append(result)
        for way, results in rounds.items():
            speeds = sorted(result["rows_per_second"] for result in results)
            wrong = ("handed_out_twice", "false_empties", "grades_refused", "errors")
            faults = sum(result[name] for result in results for name in wrong)
            median = speeds[len(speeds) // 2]
            self.keep({"group": "pullers", "way": way, "size": 0, "per_second": median, "faults": faults})

    def _script(self, group: str, name: str, *arguments: object) -> dict[str, Any]:
        """Run a script that leads databases of its own on the same server; its document, or an empty one."""
        say(name)
        path = self.files / f"{group}.json"
        command = [f"benchmarks/{name}", *map(str, arguments), "--json", str(path)]
        result = runner.run(command, self.server.given, self.options.timeout)
        with contextlib.suppress(OSError, ValueError):
            return json.loads(path.read_text(encoding="utf-8"))
        self.keep({"group": group, "way": name, "size": 0, "failed": result.get("failed", "wrote no document")})
        return {}

    def import_(self) -> None:
        """The same rows, written in every way; where each commit waits, fewer of them, and only what is promised."""
        rows = min(self.options.rows, DURABLE_ROWS) if self.server.durable else self.options.rows
        self.pairs_of = 0
        self.step(steps.FILL, rows)
        others = () if self.server.durable else (names.NAIVE, names.EXECUTEMANY)
        for way in (names.PUBLIC_API, *others, names.IMPORT):
            self.step(steps.EMPTY)
            self.way("import", way, rows)
        self.step(steps.DUMP, rows)
        for way in (names.LOAD_TARGET, names.LOAD_DATA):
            self.step(steps.EMPTY)
            self.way("import", way, rows)

    def reconcile_(self) -> None:
        """Floors, the app from a first run on, and libraries."""
        self._compared(self.options.rows, names.COMPARED)
        self.step(steps.CHANGE)
        self.way("reconcile", names.INCREMENTAL, self.options.rows)
        self.step(steps.EXTRACT, self.options.rows)
        for way in names.LIBRARIES:
            self.way("reconcile", way, self.options.rows)

    def reads_(self) -> None:
        """What is asked all day, over a ledger of this size and over a smaller one."""
        asked = self.options.rows
        for rows in sorted({asked, min(asked, document.smaller(asked))}, reverse=True):
            if self.pairs_of != rows or not self.reconciled:
                self._compared(rows, (names.FIRST, names.NOTHING_NEW))
            for way in names.READS:
                self.way("reads", way, rows)

    def memory_(self) -> None:
        """The app at five times the size."""
        self._compared(self.options.rows * 5, names.COMPARED, imported=True)

    def _compared(self, rows: int, ways: Sequence[str], *, imported: bool = False) -> None:
        """Fresh pairs, and these ways over them, a first run among them."""
        self._pairs(rows, imported)
        for way in ways:
            if way == names.SCRIPT:
                self.step(steps.COPY, rows)
            self.way("reconcile", way, rows)
            if way == names.SCRIPT:
                self.step(steps.DROP_COPY)
            if way == names.FIRST:
                self.step(steps.AGE, rows)
        self.reconciled = True

    def _pairs(self, rows: int, imported: bool) -> None:
        """So many pairs; ``imported`` says that the writing of the copies is to be a row too."""
        self.pairs_of, self.reconciled = 0, False
        for name in (steps.FILL, steps.OPEN, steps.EMPTY):
            self.step(name, rows)
        if imported:
            self.way("import", names.IMPORT, rows, "--opened")
        else:
            arguments = runner.way(names.IMPORT, *self.arguments(rows), "--opened")
            result = runner.run(arguments, self.server.environment, self.options.timeout + rows / 100)
            if wrong := result.get("failed") or result.get("wrong"):
                raise StepFailed(names.IMPORT, wrong)
        self.step(steps.GRADE, rows)
        self.pairs_of = rows


class StepFailed(Exception):
    """What stands between two ways could not be done: (its name, why)."""


def _short(row: figures.Row) -> str:
    found = {"s of CPU": figures.cpu(row), "ms": row.get("median_ms"), "rows/s": row.get("per_second")}
    return ", ".join(f"{figures.figure(value)} {name}" for name, value in found.items() if value is not None) or "-"


def say(text: str) -> None:
    """One line of what is going on."""
    print(f"{datetime.now():%H:%M:%S} {text}", file=sys.stderr, flush=True)
