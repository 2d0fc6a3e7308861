"""
Every benchmark beside its baselines and floors, in one run on MariaDB; how to read it: benchmarks/README.rst.

It uses the servers that MIGRATION_SHIM_TARGET_DB and MIGRATION_SHIM_LEGACY_DB name (in databases of its own, dropped at
the end), else private ones: one whose commits do not wait for the disk, and one whose commits do, for what commits.
A way that fails is a row that says so. What is done is written at once to benchmarks/results/.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # the project itself is what can be imported

from benchmarks import document, figures, legacy_rows, names, server, tables, work  # noqa: E402


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is wanted. Exit code 1: a way has failed, or its result is wrong; a missed goal is no failure."""
    options = parse(arguments)
    for number in (signal.SIGTERM, signal.SIGINT):  # a shell starts background jobs with the second one ignored
        signal.signal(number, server.run_databases.unwind)
    path = options.out or document.new_path()
    found: document.Document = {
        "schema": document.SCHEMA,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": described(),
        "command": " ".join(["benchmarks/bench.py", *(sys.argv[1:] if arguments is None else arguments)]),
        "finished": False,
        "size": options.rows,
        "groups": options.only,
        "machine": server.machine(),
        "servers": {},
        "rows": [],
    }
    given = server.run_databases.given_servers()
    kinds = (False,) if given or not options.durable or not set(options.only) & set(work.COMMITTING) else (False, True)
    try:
        for durable in kinds:
            with server.running(durable) as at, work.Bench(at, options, found, path) as bench:
                bench.run()
    except server.run_databases.NotHere as reason:
        print(f"The benchmarks need MariaDB: {reason}", file=sys.stderr)
        return 1
    found["finished"] = True
    document.write(found, path)
    print(tables.markdown(found), path, sep="\n")
    return int(any(not figures.is_sound(row) and not figures.is_absent(row) for row in found["rows"]))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options, each checked."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--rows", type=_rows, default=200_000, help="legacy rows; whole bursts of 400")
    parser.add_argument("--only", type=_groups, default=names.GROUPS, help=f"of {','.join(names.GROUPS)}")
    parser.add_argument("--odd", type=_odd, default=1.0, help="percent of the rows that each odd kind has; 0 for none")
    parser.add_argument("--rounds", type=int, default=200, help="samples of each kind of submit")
    parser.add_argument("--puller-rows", type=int, default=1000, help="rows that forty graders pull in a round")
    parser.add_argument("--api-rows", type=int, default=2000, help="rows for the public API, which is slow")
    parser.add_argument("--no-durable", dest="durable", action="store_false", help="leave out the commits that wait")
    parser.add_argument("--timeout", type=float, help="seconds for one way (by default as the rows are many)")
    parser.add_argument("--out", type=Path, help="where to write the JSON (by default in benchmarks/results)")
    options = parser.parse_args(arguments)
    options.timeout = options.timeout or 600 + options.rows * 5 / 100
    return options


def _rows(text: str) -> int:
    return legacy_rows.whole(int(text))


def _odd(text: str) -> float:
    try:
        legacy_rows.places(float(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return float(text)


def _groups(text: str) -> tuple[str, ...]:
    wanted = text.split(",")
    if strange := set(wanted) - set(names.GROUPS):
        raise argparse.ArgumentTypeError(f"no group {', '.join(sorted(strange))}; there are {', '.join(names.GROUPS)}")
    return tuple(group for group in names.GROUPS if group in wanted)


def described() -> str:
    """Which version is measured, as Git calls it."""
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(command, cwd=server.ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
