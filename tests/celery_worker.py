"""A Celery worker of the LMS stand-in as a process of its own, on the databases that the environment names."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sandbox.databases import PROJECT_ROOT, SANDBOX_DIR

STOP_SECONDS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A running worker: one process, with threads."""

    process: subprocess.Popen
    log_path: Path


@contextlib.contextmanager
def running_worker(broker_url: str, queue: str, xqueue_url: str, concurrency: int = 2) -> Iterator[Worker]:
    """
    Run a worker for one queue. It is stopped at the end, and killed where it does not stop.

    It may take seconds until it looks into the queue: whoever waits, waits for what it does.
    """
    log_path = SANDBOX_DIR / "log" / f"{queue}.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    env = os.environ | {
        "DJANGO_SETTINGS_MODULE": "sandbox.lms.settings",
        "MIGRATION_SHIM_BROKER_URL": broker_url,
        "MIGRATION_SHIM_XQUEUE_URL": xqueue_url,
    }
    command = [sys.executable, "-m", "celery", "-A", "sandbox.lms", "worker", "--queues", queue]
    command += ["--pool", "threads", "--concurrency", str(concurrency), "--loglevel", "WARNING"]
    command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            command, cwd=PROJECT_ROOT, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        yield Worker(process=process, log_path=log_path)
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
