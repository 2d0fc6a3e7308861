"""Two MariaDB servers of XQueue's, one of them a replica of the other that can be stopped: for real, not acted."""

import contextlib
import socket as sockets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django.db import connections

from tests import private_mariadb

USER = "shim_replication"
SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The sockets of the primary and of its replica, both with a database ``xqueue``."""

    primary: Path
    replica: Path

    def do(self, socket: Path, *statements: str) -> None:
        """Let root say these on one of the two."""
        with _as_root(socket) as cursor:
            for statement in statements:
                cursor.execute(statement)

    def stop(self) -> None:
        """Let the replica take over nothing more: it lags from now on, and may be written as before."""
        self.do(self.replica, "STOP SLAVE SQL_THREAD")

    def catch_up(self) -> None:
        """Wait until the replica has all that the primary has."""
        with _as_root(self.primary) as cursor:
            cursor.execute("SELECT @@global.gtid_binlog_pos")
            (position,) = cursor.fetchone()
        with _as_root(self.replica) as cursor:
            cursor.execute("SELECT MASTER_GTID_WAIT(%s, %s)", [position, SECONDS])
            assert cursor.fetchone() == (0,)

    @contextlib.contextmanager
    def alias(self, socket: Path, *grants: str) -> Iterator[None]:
        """
        The alias ``xqueue`` at one of the two, under an account with these grants, or as root where there are none.

        ``{table}`` in a grant is XQueue's table, ``{account}`` the account.
        """
        connection, changed = connections["xqueue"], {"NAME": "xqueue"}
        if grants:
            named = {"table": "xqueue.queue_submission", "account": f"'{USER}'@'localhost'"}
            self.do(socket, f"CREATE USER '{USER}'@'localhost' IDENTIFIED BY 'pw'")
            self.do(socket, *(grant.format(**named) for grant in grants))
            changed |= {"USER": USER, "PASSWORD": "pw"}
        before = dict(connection.settings_dict)
        options = {**before["OPTIONS"], "unix_socket": str(socket)}
        connection.close()
        connection.settings_dict.update(changed, OPTIONS=options)
        try:
            yield
        finally:
            connection.close()
            connection.settings_dict.clear()
            connection.settings_dict.update(before)
            if grants:
                self.do(socket, f"DROP USER '{USER}'@'localhost'")


@contextlib.contextmanager
def pair() -> Iterator[Pair]:
    """Start both, with XQueue's table on them as the alias has it."""
    with connections["xqueue"].cursor() as cursor:
        cursor.execute("SHOW CREATE TABLE queue_submission")
        table = cursor.fetchone()[1]
    with sockets.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    writes = ("--log-bin=binlog", "--bind-address=127.0.0.1", f"--port={port}", "--server-id=1")
    reads = ("--skip-networking", "--skip-log-bin", "--server-id=2")
    with private_mariadb.server(*writes) as primary, private_mariadb.server(*reads) as replica:
        both = Pair(primary=primary, replica=replica)
        both.do(
            primary,
            "CREATE USER 'copies'@'127.0.0.1' IDENTIFIED BY 'pw'",
            "GRANT REPLICATION SLAVE ON *.* TO 'copies'@'127.0.0.1'",
            "RESET MASTER",
            "CREATE DATABASE xqueue CHARACTER SET utf8mb4",
            "USE xqueue",
            table,
        )
        both.do(
            replica,
            f"CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={port}, MASTER_USER='copies',"
            " MASTER_PASSWORD='pw', MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=1",
            "START SLAVE",
        )
        both.catch_up()
        yield both


@contextlib.contextmanager
def _as_root(socket: Path):
    import MySQLdb

    deadline = time.monotonic() + SECONDS
    while True:
        try:
            connection = MySQLdb.connect(unix_socket=str(socket), user="root", autocommit=True)
            break
        except MySQLdb.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
    with contextlib.closing(connection), connection.cursor() as cursor:
        yield cursor
