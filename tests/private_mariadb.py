"""A MariaDB server of the tests' own: started from an installed ``mariadbd``, reached by a socket, gone afterwards."""

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

START_SECONDS = 60
STOP_SECONDS = 30

# The server is thrown away, so a crash may cost its data: no write waits for the disk.
FAST = (
    "--innodb-flush-log-at-trx-commit=2",
    "--innodb-flush-method=nosync",
    "--innodb-doublewrite=0",
    "--innodb-buffer-pool-size=128M",
)


class CannotStart(Exception):
    """No private MariaDB server could be started."""


def program(name: str) -> str:
    """Give the path of a MariaDB program; Debian puts the server where an ordinary user's PATH does not lead."""
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/libexec"]))
    if found is None:
        raise CannotStart(f"{name} is not installed")
    return found


@contextlib.contextmanager
def running(*options: str) -> Iterator[dict[str, str]]:
    """
    Start a server; give the addresses of one database for the target and one for legacy, by variable name.

    It listens on its socket alone, unless ``options`` say otherwise.
    """
    with server(*(options or ("--skip-networking",)), "--skip-log-bin") as socket:
        yield {
            "MIGRATION_SHIM_TARGET_DB": f"mysql://root@localhost/lms?unix_socket={socket}",
            "MIGRATION_SHIM_LEGACY_DB": f"mysql://root@localhost/xqueue?unix_socket={socket}",
        }


@contextlib.contextmanager
def server(*options: str) -> Iterator[Path]:
    """Start a server with these options beside our own; give the path of its socket, where root needs no password."""
    install, mariadbd = program("mariadb-install-db"), program("mariadbd")
    # Always /tmp: the path of a socket has at most 107 characters, and TMPDIR may be long.
    directory = Path(tempfile.mkdtemp(prefix="migration_shim_mariadb_", dir="/tmp"))
    data, socket, log = directory / "data", directory / "socket", directory / "log"
    user = []
    try:
        if os.geteuid() == 0:
            account = _account()
            shutil.chown(directory, account)
            user = [f"--user={account}"]
        with log.open("wb") as output:
            made = subprocess.run(
                [install, "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal", *user],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            if made.returncode:
                raise CannotStart(f"mariadb-install-db failed:\n{_tail(log)}")
            process = subprocess.Popen(
                # Its temporary files too: somebody may tidy up /tmp meanwhile.
                [
                    *(mariadbd, "--no-defaults", f"--datadir={data}", f"--tmpdir={directory}", f"--socket={socket}"),
                    *(*FAST, *options, *user),  # of two that name one thing the later counts
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C in a terminal reaches the whole group: the tests must end before their server does.
                start_new_session=True,
            )
        try:
            _wait(process, socket, log)
            # As on a server that was made fit for use: an anonymous user hides the accounts that a test creates, and
            # everybody has every right in databases whose names begin with "test".
            statement = "DELETE FROM mysql.global_priv WHERE User = ''; DELETE FROM mysql.db; FLUSH PRIVILEGES"
            client = [
                program("mariadb"),
                "--no-defaults",
                f"--socket={socket}",
                "--user=root",
                f"--execute={statement}",
            ]
            if subprocess.run(client, stdin=subprocess.DEVNULL, capture_output=True).returncode:
                raise CannotStart("its users could not be put in order")
            yield socket
        finally:
            _stop(process)
    finally:
        shutil.rmtree(directory)


def _account() -> str:
    """The account for a server started by root: the package's own where there is one, for mariadbd refuses root."""
    try:
        return pwd.getpwnam("mysql").pw_name
    except KeyError:
        return "root"


def _wait(process: subprocess.Popen, socket: Path, log: Path) -> None:
    """Wait until the server answers on its socket."""
    import MySQLdb

    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise CannotStart(f"mariadbd ended with {process.returncode}:\n{_tail(log)}")
        try:
            MySQLdb.connect(unix_socket=str(socket), user="root").close()
        except MySQLdb.OperationalError:
            time.sleep(0.2)
        else:
            return
    raise CannotStart(f"mariadbd did not answer within {START_SECONDS} s:\n{_tail(log)}")


def _stop(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-10:])
