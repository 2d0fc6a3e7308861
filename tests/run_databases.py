"""
Run the tests once on SQLite and once on MariaDB: ``python tests/run_databases.py [--long] [pytest arguments]``. What a
second database adds nothing to runs in one of the halves only, if both run. They run at once, and some of the second
apart from the rest of it; what the second has to say comes after the first.

The MariaDB half uses the server that MIGRATION_SHIM_TARGET_DB and MIGRATION_SHIM_LEGACY_DB name, else a private one
(see private_mariadb.py). Where there is neither it is left out and a line says why; with ``--require-mariadb``, or
REQUIRE_MARIADB=1 in the environment, that is a failure.

Both halves use the Redis that MIGRATION_SHIM_BROKER_URL names for the Celery tests, else a private one (see
private_redis.py). Where there is neither those tests are skipped; REQUIRE_REDIS=1 makes that a failure.
"""

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import halves
import private_mariadb

ROOT = Path(__file__).resolve().parent.parent
VARIABLES = ("MIGRATION_SHIM_TARGET_DB", "MIGRATION_SHIM_LEGACY_DB")
INTERRUPTED = 130
NOTHING_TO_RUN = 5  # pytest's exit code
TEARDOWN_SECONDS = 20


class NotHere(Exception):
    """The MariaDB half cannot run on this machine; the message says why."""


def main() -> int:
    """Run both halves; give 0 only if each that ran passed and none that is required was left out."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--require-mariadb", action="store_true", default=os.environ.get("REQUIRE_MARIADB") == "1")
    parser.add_argument("--only", choices=["sqlite", "mariadb"], help="leave the other half out")
    parser.add_argument("--long", action="store_true", help="more kills, seeds and rows")
    options, pytest_arguments = parser.parse_known_args()
    if not options.long:
        pytest_arguments = ["-m", "not long", *pytest_arguments]
    # A job that is ended by its CI must still stop the server: let SIGTERM unwind the stack as Ctrl-C does.
    # SIGINT is set too, because a shell starts background jobs with it ignored, and pytest would inherit that.
    signal.signal(signal.SIGTERM, unwind)
    signal.signal(signal.SIGINT, unwind)

    # Side by side, as most of the time is spent waiting; not on a broker that was given, which both would share.
    together = not options.only and not os.environ.get("MIGRATION_SHIM_BROKER_URL")
    lines, failed, codes = [], False, []
    with contextlib.ExitStack() as stack:
        run = []
        for name, databases in (("SQLite", sqlite), ("MariaDB", mariadb)):
            if options.only and options.only != name.lower():
                continue
            try:
                variables = stack.enter_context(databases())
            except NotHere as reason:
                lines.append(f"{name}: not run: {reason}")
                failed = failed or options.require_mariadb
                continue
            output = stack.enter_context(tempfile.TemporaryFile()) if run else None
            run.append(Half(name, variables, pytest_arguments, options.long, output))
        if len(run) == 2:
            run[0].leave_out(halves.MARIADB_ONLY)
            run[1].leave_out(halves.SQLITE_ONLY)
            if together and not _names_tests(pytest_arguments) and not given_servers():
                apart: list[str] = []
                for number, tests in enumerate(halves.APART, 1):
                    output = stack.enter_context(tempfile.TemporaryFile())
                    variables = stack.enter_context(mariadb())
                    run[1].leave_out(tests)
                    run.append(
                        Half(f"MariaDB, apart {number}", variables, [*pytest_arguments, *tests], options.long, output)
                    )
                    run[-1].leave_out([*halves.SQLITE_ONLY, *apart])
                    apart += tests
        try:
            for half in run if together else ():
                half.start()
            for half in run:
                if not together:
                    half.start()
                code = half.finish()
                codes.append(code)
                outcome = {0: "passed", NOTHING_TO_RUN: "nothing to run"}.get(code, f"FAILED ({code})")
                lines.append(f"{half.name}: {outcome} in {half.seconds:.0f} s")
        except KeyboardInterrupt as interrupt:
            for half in run:
                half.stop(interrupt)
            print("interrupted", file=sys.stderr)
            return INTERRUPTED
    print("", *lines, sep="\n", flush=True)
    # Arguments may select what only one of the halves runs. Nothing at all is no success.
    return int(failed or not set(codes) <= {0, NOTHING_TO_RUN} or set(codes) == {NOTHING_TO_RUN})


def _names_tests(arguments: list[str]) -> bool:
    return any((ROOT / argument.partition("::")[0]).exists() for argument in arguments)


def given_servers() -> dict[str, str]:
    return {name: os.environ[name] for name in VARIABLES if os.environ.get(name, "").startswith("mysql:")}


@contextlib.contextmanager
def sqlite() -> Iterator[dict[str, str]]:
    """No address: tests/databases.py then makes SQLite files."""
    yield {}


@contextlib.contextmanager
def mariadb(*options: str) -> Iterator[dict[str, str]]:
    """Addresses on the server that the environment names, else on a private one, which is started with ``options``."""
    given = given_servers()
    if len(given) == 1:
        raise NotHere(f"only {next(iter(given))} is set; both are needed: {' and '.join(VARIABLES)}")
    try:
        import MySQLdb  # noqa: F401
    except ImportError as error:
        raise NotHere(f"no driver ({error}); libmariadb-dev and a C compiler let make build it") from error
    if given:
        yield given
        return
    with contextlib.ExitStack() as stack:
        try:
            variables = stack.enter_context(private_mariadb.running(*options))
        except private_mariadb.CannotStart as error:
            raise NotHere(f"no server given and none could be started: {error}") from error
        yield variables


class Half:
    """The tests on one pair of databases, in a process of their own; ``output`` keeps what it says until its end."""

    def __init__(
        self, name: str, variables: dict[str, str], arguments: list[str], long: bool, output: BinaryIO | None
    ) -> None:
        self.name, self.seconds = name, 0.0
        self.command = [sys.executable, "-m", "pytest", *arguments]
        self.environment = {key: value for key, value in os.environ.items() if key not in VARIABLES} | variables
        # Some hundred processes are started from here. Without this each would compile the app for itself.
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)
        if long:
            self.environment["MIGRATION_SHIM_TEST_LONG"] = "1"
        self.output = output
        self.process: subprocess.Popen[bytes] | None = None

    def leave_out(self, tests: Iterable[str]) -> None:
        """Leave these out, which the other half runs: folders, files or test functions."""
        for test in tests:
            self.command.append(f"--deselect={test}" if "::" in test else f"--ignore={test}")

    def start(self) -> None:
        """Start pytest."""
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            self.command, cwd=ROOT, env=self.environment, stdout=self.output, stderr=self.output
        )

    def finish(self) -> int:
        """Wait for it, show what it has said, and give its exit code."""
        print(f"== {self.name} ==", flush=True)
        code = self.process.wait()
        self.seconds = time.monotonic() - self.began
        if self.output is not None:
            self.output.seek(0)
            shutil.copyfileobj(self.output, sys.stdout.buffer)
            sys.stdout.flush()
        return code

    def stop(self, interrupt: KeyboardInterrupt) -> None:
        """
        End it after an interrupt.

        pytest gets SIGINT and not SIGTERM: then it runs its teardown, which stops the stand-ins and drops databases.
        Ctrl-C has sent it one already (a second would cut the teardown short), so it is given time first.
        """
        if self.process is None or self.process.poll() is not None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(0 if interrupt.args == (signal.SIGTERM,) else TEARDOWN_SECONDS)
        self.process.send_signal(signal.SIGINT)
        self.process.wait()


def unwind(signal_number: int, _frame: object) -> None:
    """A handler of signals that unwinds the stack as Ctrl-C does."""
    raise KeyboardInterrupt(signal_number)


if __name__ == "__main__":
    sys.exit(main())
