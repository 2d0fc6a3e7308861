"""Actions in processes of their own that begin at the same moment, forked so that each costs next to nothing."""

import json
import os
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from django.db import connection, connections

PATIENCE = 120


def at_once(actions: Sequence[Callable[[], Any]]) -> list[Any]:
    """Do all actions at once; what each returned, or the error's type and text. Needs a transactional test."""
    ready, go = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / str(number) for number in range(len(actions))]
        connections.close_all()  # a connection must not be in two processes
        children = [_fork(action, file, ready, go) for action, file in zip(actions, files, strict=True)]
        for _ in children:
            os.read(ready[0], 1)
        os.write(go[1], b"x" * len(children))
        for number in (*ready, *go):
            os.close(number)
        for child in children:
            wait(child)
        return [json.loads(file.read_text()) if file.exists() else None for file in files]


def _fork(action: Callable[[], Any], file: Path, ready: tuple[int, int], go: tuple[int, int]) -> int:
    child = os.fork()
    if child:
        return child
    try:
        connections["default"].ensure_connection()
        os.write(ready[1], b"x")
        os.read(go[0], 1)
        try:
            answer = action()
        except Exception as error:
            answer = [type(error).__name__, str(error)]
        file.write_text(json.dumps(answer))
        connections.close_all()
    finally:
        os._exit(0)


def killed_at(statement: int, action: Callable[[], Any], *, reads: bool = True) -> bool:
    """
    Do an action in a process that ends for good after so many statements on ``default``; whether it came so far.

    Without ``reads`` only those count that may write or lock.
    """
    connections.close_all()
    child = os.fork()
    if child:
        return wait(child) == 9
    try:
        left = [statement]

        def die(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
            if reads or not sql.startswith("SELECT") or "FOR UPDATE" in sql:
                if not left[0]:
                    os._exit(9)
                left[0] -= 1
            return execute(sql, params, many, context)

        with connection.execute_wrapper(die):
            action()
    except BaseException as error:
        print(type(error).__name__, error, flush=True)
        os._exit(1)
    finally:
        os._exit(0)


def wait(child: int) -> int:
    """Wait for a child and give its exit code; one that hangs is killed, and the test with it."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            assert code in (0, 9), f"a child ended with {code}"
            return code
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise AssertionError(f"a child hung for {PATIENCE} s")
