"""``xqueue_backfill`` in processes of its own, that can be slowed down, stopped and killed."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from sandbox.databases import PROJECT_ROOT

#: argv: settings of the app as JSON, seconds to sleep after each INSERT or page read, then the command's words.
CHILD = """
import json, os, sys, time
import django
django.setup()
from django.conf import settings
from django.core.management import execute_from_command_line
from django.db import connections
settings.MIGRATION_SHIM = settings.MIGRATION_SHIM | json.loads(sys.argv[1])
def slow(execute, sql, params, many, context):
    result = execute(sql, params, many, context)
    if "INSERT" in sql and "ledgerentry" in sql or "queue_submission" in sql and "LIMIT" in sql:
        if os.environ.get("BEGUN"):
            with open(os.environ["BEGUN"], "a") as begun:
                begun.write(".")
        time.sleep(float(sys.argv[2]))
    return result
with connections["default"].execute_wrapper(slow), connections["xqueue"].execute_wrapper(slow):
    execute_from_command_line(["manage.py", *sys.argv[3:]])
"""
PATIENCE = 40


def start(*words: str, slow: float = 0, begun: Path | None = None, **shim: object) -> subprocess.Popen:
    """
    Start a command; ``shim`` are settings of the app. Its stdout and stderr are pipes, as text.

    ``begun`` is a file that grows with each page that the child has read: a plan leaves no trace in the database.
    """
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "sandbox.lms.settings", "PYTHONPATH": str(PROJECT_ROOT)}
    environment["BEGUN"] = str(begun or "")
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, json.dumps(shim), str(slow), *words],
        env=environment,
        cwd=PROJECT_ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(condition: Callable[[], object]) -> None:
    """Wait until something is so, for as long as a busy machine may take."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE} s in vain"
        time.sleep(0.02)
