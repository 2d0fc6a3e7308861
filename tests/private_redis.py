"""A Redis for the Celery tests: the one that the run was given, or one started from an installed ``redis-server``."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from sandbox.network import free_port
from tests.databases import GIVEN_BROKER

START_SECONDS = 20
STOP_SECONDS = 10


class CannotStart(Exception):
    """No private Redis could be started."""


@contextlib.contextmanager
def running() -> Iterator[str]:
    """Start a server on a free loopback port that keeps nothing on disk; give its address."""
    server = shutil.which("redis-server")
    if server is None:
        raise CannotStart("redis-server is not installed")
    directory = Path(tempfile.mkdtemp(prefix="migration_shim_redis_"))
    log = directory / "log"
    port = str(free_port())
    url = f"redis://127.0.0.1:{port}/0"
    command = [server, "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no"]
    command += ["--dir", str(directory), "--daemonize", "no"]
    try:
        with log.open("wb") as output:
            # Ctrl-C in a terminal reaches the whole group: the tests must end before their server does.
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        try:
            _wait(process, url, log)
            yield url
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    finally:
        shutil.rmtree(directory)


def _wait(process: subprocess.Popen, url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            redis.Redis.from_url(url).ping()
        except redis.ConnectionError:
            time.sleep(0.05)
        else:
            return
    raise CannotStart(f"redis-server did not answer; its log ends with:\n{log.read_text(errors='replace')[-1000:]}")


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """
    The address of a Redis broker: import this fixture into the test module that needs it.

    Where none can be had the test is skipped; with REQUIRE_REDIS=1 in the environment that is a failure.
    """
    given = os.environ.get(GIVEN_BROKER, "")
    with contextlib.ExitStack() as stack:
        if given.startswith("redis"):
            yield given
            return
        try:
            url = stack.enter_context(running())
        except CannotStart as error:
            reason = f"no Redis given and none could be started: {error}"
            if os.environ.get("REQUIRE_REDIS") == "1":
                pytest.fail(reason)
            pytest.skip(reason)
        yield url


@pytest.fixture
def broker(redis_url: str) -> Iterator[tuple[str, str, redis.Redis]]:
    """A Redis: its address, a queue there that no other worker listens to, and a client; with ``redis_url``."""
    queue = f"migration_shim_test_{uuid.uuid4().hex}"
    client = redis.Redis.from_url(redis_url)
    yield redis_url, queue, client
    client.delete(queue, *client.scan_iter(f"*{queue}"))
    client.close()
