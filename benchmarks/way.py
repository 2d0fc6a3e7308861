"""
One way, or one step between two ways, in a process of its own: ``python benchmarks/way.py NAME [options]``.

The databases are those that the environment names, chosen by ``server.py``. The last line says what it took, as JSON.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Run one way and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--odd", type=float, default=1.0, help="percent of each odd kind")
    parser.add_argument("--opened", action="store_true", help="all rows are in flight, superseded ones too")
    parser.add_argument("--api-rows", type=int, default=0)
    parser.add_argument("--files", type=Path, help="folder of the files for LOAD DATA")
    parser.add_argument("--profile", type=Path)
    options = parser.parse_args()
    # The project itself, and not benchmarks/, is what can be imported.
    sys.path[0] = str(ROOT)
    import django

    from benchmarks.runner import NOT_HERE

    django.setup()
    logging.disable(logging.ERROR)
    way = ways()[options.name]
    profile = None
    if options.profile:
        import cProfile

        profile = cProfile.Profile()
        profile.enable()
    try:
        started, cpu = time.perf_counter(), time.process_time()
        found = way(options)
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    except ImportError as error:
        print(error, file=sys.stderr)
        return NOT_HERE
    if profile:
        profile.dump_stats(options.profile)
    repeat = found.get("repeat", 1)
    took = {"seconds": round(seconds / repeat, 3), "client_cpu": round(cpu / repeat, 3), "peak_mb": peak_mb()}
    print(json.dumps(took | found))
    return 0


def ways() -> dict[str, Callable[[argparse.Namespace], dict[str, Any]]]:
    """All that can be run, by name."""
    from benchmarks import import_ways, library_ways, read_ways, reconcile_ways, script_ways, steps

    found: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {}
    for module in (steps, import_ways, reconcile_ways, script_ways, library_ways, read_ways):
        found |= module.WAYS
    return found


def peak_mb() -> float:
    """The most memory this process has had. ``ru_maxrss`` would count what its parent had when it was started."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return round(int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024, 1)


if __name__ == "__main__":
    sys.exit(main())
