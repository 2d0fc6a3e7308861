"""Ctrl-C by key, on a terminal: one message, what is kept, how to go on, the exit code; the same command goes on."""

import json
import os
import pty
import re
import subprocess
import sys
import threading

import pytest
from django.core.management import base, load_command_class

from migration_shim.models import LedgerEntry, Run
from sandbox.databases import PROJECT_ROOT
from tests.builders import many_rows as many
from tests.builders import slow_commands as processes
from tests.builders.rows import COURSE, fresh, manage  # noqa: F401

pytestmark = pytest.mark.django_db(databases=["default", "xqueue"], transaction=True)
KEY = b"\x03"
#: The terminal becomes that of the session, so that the key is a signal.
OWN = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
BACKFILL = ("xqueue_backfill", "--mode", "shadow", "--all", "--execute", "--batch-size", "5")


class Terminal:
    """A command on a terminal of its own, slowed down, and somebody at the keyboard."""

    def __init__(self, *words, begun, slow):
        self._hand, terminal = pty.openpty()
        environment = os.environ | {"DJANGO_SETTINGS_MODULE": "sandbox.lms.settings", "COLUMNS": "200"}
        self._child = subprocess.Popen(
            [sys.executable, "-c", OWN + processes.CHILD, "{}", str(slow), *words],
            env=environment | {"PYTHONPATH": str(PROJECT_ROOT), "BEGUN": str(begun)},
            cwd=PROJECT_ROOT,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
        )
        os.close(terminal)
        self._shown = b""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        try:
            while part := os.read(self._hand, 65536):
                self._shown += part
        except OSError:  # the other end is closed
            pass

    def press(self, key=KEY):
        os.write(self._hand, key)

    def end(self):
        """Its exit code, and what it has shown since the key."""
        code = self._child.wait(timeout=processes.PATIENCE)
        self._reader.join()
        os.close(self._hand)
        return code, self._shown.decode().replace("\r\n", "\n").rpartition("^C")[2]


@pytest.fixture
def begun(tmp_path):
    path = tmp_path / "begun"
    path.touch()
    return path


def test_a_command_that_is_broken_off_says_what_is_kept_and_how_to_go_on(begun):
    many.make(20)
    words = ("xqueue_preflight", "--course", COURSE, "--new")
    command = Terminal(*words, begun=begun, slow=2)
    processes.wait_until(lambda: Run.objects.filter(kind="preflight").exists() and begun.stat().st_size > 0)
    command.press()
    code, said = command.end()
    assert (code, said) == (
        130,
        "\nError: Interrupted.\n"
        "  It means: What was committed before is kept; the open batch was rolled back.\n"
        "  To do: Run the same command again to go on.\n"
        "  See: docs/runbook/locks-and-stops.md#a-run-stopped-before-the-end (interrupted)\n",
    )
    again = manage(*words, "--format", "json")
    assert json.loads(again.stdout)["rows"] == 20  # the lock is free


def test_a_run_of_batches_ends_its_batch_and_a_second_key_breaks_it_off(begun):
    many.make(40)
    command = Terminal(*BACKFILL, begun=begun, slow=0.5)
    processes.wait_until(LedgerEntry.objects.exists)
    command.press()
    code, said = command.end()
    written = LedgerEntry.objects.count()
    assert (code, written % 5) == (32, 0)
    assert "Stopped before the end by SIGINT" in said
    assert re.search(r"^Next: xqueue_backfill --mode shadow --all", said, re.MULTILINE)

    begun.write_text("")
    command = Terminal(*BACKFILL, begun=begun, slow=3)
    processes.wait_until(lambda: begun.stat().st_size > 1)
    command.press()
    threading.Event().wait(1.5)
    command.press()
    code, said = command.end()
    assert code == 130
    assert said.startswith("\nError: Interrupted.\n")
    assert LedgerEntry.objects.count() == written
    assert manage(*BACKFILL).returncode == 0
    assert LedgerEntry.objects.count() == 40


def test_a_watch_that_sleeps_says_that_nothing_is_half_done(begun):
    command = Terminal("xqueue_watch", "--every", "600", begun=begun, slow=0)
    processes.wait_until(Run.objects.filter(kind="watch").exclude(finished_at=None).exists)
    threading.Event().wait(1)
    command.press()
    code, said = command.end()
    assert code == 32
    assert said == (
        "\nStopped by SIGINT between two rounds; nothing is half done.\n"
        "Start xqueue_watch again, or no course is watched over.\n"
    )


def test_a_key_on_the_way_out_shows_no_traceback(monkeypatch, capsys):
    """The work is done, and Django closes its connections."""

    def pressed():
        raise KeyboardInterrupt

    monkeypatch.setattr(base.connections, "close_all", pressed)
    with pytest.raises(SystemExit) as ended:
        load_command_class("migration_shim", "xqueue_status").run_from_argv(["manage.py", "xqueue_status"])
    assert ended.value.code == 130
    assert capsys.readouterr().err.startswith("Error: Interrupted.\n")
