"""
The database server of a run, seen from outside: its addresses, its clock of CPU, and what it has counted.

Nothing here needs Django, so the process that leads a run outlives whatever goes wrong in one that works.
"""

from __future__ import annotations

import contextlib
import os
import platform
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
import run_databases  # noqa: E402

TARGET, LEGACY = run_databases.VARIABLES
#: A private server that waits for the disk at each commit, as a site's does; else it does not (private_mariadb.FAST).
DURABLE = (
    "--innodb-flush-log-at-trx-commit=1",
    "--innodb-flush-method=fsync",
    "--innodb-doublewrite=1",
)
#: Seconds to wait for what the server still does in the background after somebody's writes, and when it is quiet.
SETTLE, QUIET_CPU = 30, 0.05
PACKAGES = (
    *("Django", "mysqlclient", "edx-submissions", "orjson", "msgspec"),
    *("polars", "connectorx", "pandas", "reladiff"),
)


@dataclass(frozen=True, slots=True)
class Counted:
    """What a server has done since its start. ``cpu`` is None where it runs on another machine."""

    cpu: float | None
    statements: int
    rows_read: int


class Server:
    """One server: ``given`` are its addresses by variable, ``environment`` those of the run's own databases."""

    def __init__(self, given: dict[str, str], durable: bool) -> None:
        self.given, self.durable = given, durable
        self.environment = chosen(given)
        self.admin = connect(given[TARGET])
        version_, flush, pool, pid_file = self._ask(
            "SELECT VERSION(), @@innodb_flush_log_at_trx_commit, @@innodb_buffer_pool_size, @@pid_file"
        )
        try:
            self.pid = int(Path(pid_file).read_text())
            self._cpu()
        except (OSError, ValueError):
            self.pid = None
        self.about = f"{version_}, innodb_flush_log_at_trx_commit={flush}, buffer pool {pool // 2**20} MB"

    def _ask(self, statement: str) -> tuple:
        with contextlib.closing(self.admin.cursor()) as cursor:
            cursor.execute(statement)
            return cursor.fetchone()

    def _cpu(self) -> float | None:
        if self.pid is None:
            return None
        stat = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii", errors="replace")
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def counted(self) -> Counted:
        """What it has done so far: all of its sessions, so nobody else may use it meanwhile."""
        with contextlib.closing(self.admin.cursor()) as cursor:
            cursor.execute(
                "SHOW GLOBAL STATUS WHERE Variable_name LIKE 'Handler\\_read%' OR Variable_name = 'Questions'"
            )
            found = {name: int(value) for name, value in cursor.fetchall()}
        statements = found.pop("Questions")
        return Counted(cpu=self._cpu(), statements=statements, rows_read=sum(found.values()))

    def settle(self) -> None:
        """Wait until it does nothing in the background: purging and flushing belong to whoever has caused them."""
        if self.pid is None:
            return
        deadline = time.monotonic() + SETTLE
        while time.monotonic() < deadline:
            before = self._cpu()
            time.sleep(0.5)
            if self._cpu() - before <= QUIET_CPU:
                return


def connect(url: str) -> Any:
    """A connection of its own to the server of an address, to no database."""
    import MySQLdb

    parts = urlsplit(url)
    options: dict[str, Any] = {"user": unquote(parts.username or ""), "passwd": unquote(parts.password or "")}
    if path := parse_qs(parts.query).get("unix_socket"):
        options["unix_socket"] = path[0]
    else:
        options |= {"host": parts.hostname, "port": parts.port or 3306}
    return MySQLdb.connect(**options, autocommit=True)


def chosen(given: dict[str, str]) -> dict[str, str]:
    """The environment of the processes of a run: databases of its own on the server, and a directory."""
    names = (*run_databases.VARIABLES, "MIGRATION_SHIM_SANDBOX_DIR", "MIGRATION_SHIM_TEST_RUN")
    before = dict(os.environ)
    os.environ.pop("MIGRATION_SHIM_TEST_RUN", None)
    os.environ.update(given)
    from tests import databases

    databases.choose()  # importing it has done so already, the first time
    found = {name: os.environ[name] for name in names}
    os.environ.clear()
    os.environ.update(before)
    return found | {"DJANGO_SETTINGS_MODULE": "tests.settings"}


@contextlib.contextmanager
def running(durable: bool) -> Iterator[Server]:
    """
    The server that the environment names, whatever it waits for; else a private one, which listens on loopback too:
    libraries that know no socket want that.

    Raises:
        run_databases.NotHere: there is none.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ("--bind-address=127.0.0.1", f"--port={port}", *(DURABLE if durable else ()))
    with run_databases.mariadb(*options) as given:
        server = Server(given, durable)
        try:
            yield server
        finally:
            server.admin.close()


def machine() -> dict[str, Any]:
    """What the figures depend on beside the database."""
    versions = {"Python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return {
        "cores": os.cpu_count(),
        "processor": processor(),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "load_before": round(os.getloadavg()[0], 2),
        "versions": versions,
    }


def processor() -> str:
    """What the processor calls itself, or its architecture."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()
