"""``sandbox/manage.py`` on a terminal of its own, of a given width, with a person who reads and types."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from types import TracebackType
from typing import IO

from sandbox.databases import PROJECT_ROOT
from tests.commands import MANAGE

PATIENCE = 60
#: To open a terminal in a session without one makes it the session's own: so Ctrl-C reaches the command.
_OWN = "import os, sys; os.close(os.open(os.ttyname(0), os.O_RDWR)); os.execv(sys.argv[1], sys.argv[1:])"


class Terminal:
    """One command at a terminal; ``text`` is all that was to be seen on it so far."""

    def __init__(self, *words: str, columns: int = 80, stdout: IO[str] | None = None) -> None:
        self.text, self._answered_upto = "", 0
        self._master, end = pty.openpty()
        fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        # A width in the environment would be believed before the terminal.
        environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", _OWN, sys.executable, MANAGE, *words],
            stdin=end,
            stdout=stdout or end,
            stderr=end,
            cwd=PROJECT_ROOT,
            env=environment | {"TERM": "xterm"},
            start_new_session=True,
        )
        os.close(end)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)

    def reads(self, words: str) -> None:
        """Wait until these words have come since the last answer."""
        deadline = time.monotonic() + PATIENCE
        while words not in self.text[self._answered_upto :]:
            assert self._more(deadline), f"it ended before it said {words!r}:\n{self.text}"

    def types(self, keys: str) -> None:
        """Press these keys."""
        self._answered_upto = len(self.text)
        os.write(self._master, keys.encode())

    def ends(self) -> int:
        """Wait for the end of the command; its exit code."""
        deadline = time.monotonic() + PATIENCE
        while self._more(deadline):
            pass
        return self.process.wait(PATIENCE)

    def lines(self) -> list[str]:
        """What is to be seen, line by line."""
        return self.text.replace("\r\n", "\n").split("\n")

    def _more(self, deadline: float) -> bool:
        """Read what has come; whether anything can come after it."""
        ready, _, _ = select.select([self._master], [], [], max(deadline - time.monotonic(), 0))
        assert ready, f"nothing came for {PATIENCE} s after:\n{self.text}"
        try:
            found = os.read(self._master, 65536)
        except OSError:  # Linux says so when the last one has closed the other end
            return False
        self.text += found.decode()
        return bool(found)
