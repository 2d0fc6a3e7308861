"""One way of doing something, in a process of its own: what it took, or why it failed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import names
from benchmarks.server import ROOT, Server

#: The exit code of a way whose library is not installed.
NOT_HERE = 3
TEARDOWN_SECONDS = 20
Result = dict[str, Any]


def run(arguments: Sequence[str], environment: dict[str, str], seconds: float) -> Result:
    """
    Run ``python ARGUMENTS`` and read the JSON object in its last line.

    Whatever it does, this comes back: ``failed`` says why there is no result, and nothing of its group of processes is
    left running.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            # Else each would compile the app for itself, and be charged with it.
            env={name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | environment,
            stdout=out,
            stderr=errors,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            _interrupt(process)
            return {"failed": f"stopped after {seconds:.0f} s"}
        finally:
            _end(process)
        if code == 0 and (result := _last_line(out)) is not None:
            return result
        reason = {0: "gave no result", NOT_HERE: names.ABSENT}.get(code) or _ended(code)
        return {"failed": ": ".join(filter(None, (reason, _words(errors))))}


def measured(server: Server, arguments: Sequence[str], seconds: float) -> Result:
    """
    ``run`` on the databases of a server, with what the server spent on it: CPU seconds, statements, rows read.

    The server's figures are of all its sessions, the set-up of the process included, and of what it does afterwards in
    the background because of it.
    """
    server.settle()
    before = server.counted()
    result = run(arguments, server.environment, seconds)
    server.settle()
    after = server.counted()
    result["statements"] = after.statements - before.statements - 1  # the question itself
    result["rows_read"] = after.rows_read - before.rows_read
    result["server_cpu"] = None if before.cpu is None or after.cpu is None else round(after.cpu - before.cpu, 2)
    return result


def _interrupt(process: subprocess.Popen) -> None:
    """Let it stop the servers that it has started, which lead groups of their own."""
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(TEARDOWN_SECONDS)


def _end(process: subprocess.Popen) -> None:
    """End what is left of its group: it leads one, with all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _ended(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"


def _last_line(file: Any) -> Result | None:
    with contextlib.suppress(IndexError, ValueError):
        result = json.loads(_read(file).splitlines()[-1])
        return result if isinstance(result, dict) else None
    return None


def _words(file: Any) -> str:
    """The last line of what it said, which of a traceback is the exception."""
    return next((line.strip()[:200] for line in reversed(_read(file).splitlines()) if line.strip()), "")


def _read(file: Any) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace")


def way(name: str, *arguments: object) -> list[str]:
    """The arguments that run a way of ``way.py``."""
    return [str(Path("benchmarks") / "way.py"), name, *map(str, arguments)]
