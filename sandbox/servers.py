"""Run the stand-ins as real server processes on loopback."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from sandbox import waiting
from sandbox.databases import PROJECT_ROOT, SANDBOX_DIR
from sandbox.lms import worker
from sandbox.network import free_port, parse_hosts

FILES_HOST = "files.example.edu"
START_PATIENCE = 120  # seconds in which a stand-in that starts neither answers nor writes a word to its log
STOP_TIMEOUT = 10  # seconds
ENDED, ANSWERS = "ended", "answers"


class ServerDidNotStart(RuntimeError):
    """A stand-in ended, or did not answer in time; the message carries the end of its log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running stand-in."""

    name: str
    address: str
    """Host and port, as ``127.0.0.1:8123``."""
    log_path: Path
    pid: int

    @property
    def url(self) -> str:
        """Return the base URL, without a slash at the end."""
        return f"http://{self.address}"


@contextlib.contextmanager
def running_xqueue(
    env: dict[str, str] | None = None, port: int | None = None, workers: int = 1, threads: int = 8
) -> Iterator[Server]:
    """Run the XQueue stand-in; ``env`` goes over this process's environment.

    XQueue fetches its own stored documents by their public URL, so the host of its files leads back to it unless
    ``SANDBOX_HOSTS`` says otherwise.
    """
    port = port or free_port()
    merged = os.environ | (env or {})
    hosts = {FILES_HOST: f"127.0.0.1:{port}"} | parse_hosts(merged.get("SANDBOX_HOSTS", ""))
    merged["SANDBOX_HOSTS"] = ",".join(f"{host}={address}" for host, address in hosts.items())
    with _running("xqueue", "sandbox.xqueue.wsgi", merged, port, workers, threads) as server:
        yield server


@contextlib.contextmanager
def running_lms(
    env: dict[str, str] | None = None, port: int | None = None, workers: int = 1, threads: int = 8
) -> Iterator[Server]:
    """Run the LMS stand-in; ``env`` goes over this process's environment."""
    env = os.environ | {worker.VARIABLE: "1"} | (env or {})
    with _running("lms", "sandbox.lms.wsgi", env, port or free_port(), workers, threads) as server:
        yield server


@contextlib.contextmanager
def _running(
    name: str, application: str, env: dict[str, str], port: int, workers: int, threads: int
) -> Iterator[Server]:
    address = f"127.0.0.1:{port}"
    log_path = SANDBOX_DIR / "log" / f"{name}-{port}.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    # The module is the stand-in's own project: a settings module of the caller must not reach it.
    env = env | {"DJANGO_SETTINGS_MODULE": application.replace(".wsgi", ".settings")}
    command = [sys.executable, "-m", "gunicorn", f"{application}:application", "--bind", address]
    command += ["--worker-class", "gthread", "--workers", str(workers), "--threads", str(threads)]
    # gunicorn's control socket would be one file in the home directory, shared by all servers of the user.
    command += ["--timeout", "90", "--graceful-timeout", "3", "--keep-alive", "5", "--no-control-socket"]
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            command, cwd=PROJECT_ROOT, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        _wait_for_answer(name, port, process, log_path)
        yield Server(name=name, address=address, log_path=log_path, pid=process.pid)
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for_answer(name: str, port: int, process: subprocess.Popen, log_path: Path) -> None:
    def look() -> str:
        if process.poll() is not None:
            return ENDED
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/")
            connection.getresponse()
        except (OSError, HTTPException):
            return f"{log_path.stat().st_size} characters in its log"
        else:
            return ANSWERS  # any answer will do: it is the application that answers
        finally:
            connection.close()

    try:
        waiting.until(f"the {name} stand-in", look, (ENDED, ANSWERS).__contains__, seconds=START_PATIENCE, pause=0.05)
        reason = "ended at once"
    except waiting.NoProgress:
        reason = f"did not answer, and its log has said nothing for {START_PATIENCE} s"
    else:
        if process.poll() is None:
            return
    tail = log_path.read_text(errors="replace")[-2000:]
    raise ServerDidNotStart(f"the {name} stand-in {reason}; its log ({log_path}) ends with:\n{tail}")
