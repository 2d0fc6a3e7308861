"""
Install one file of requirements: a line when it begins and when it is done, and on a terminal what pip is at.

Run by the Makefile with the environment's own Python, before anything is installed: standard library only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections import deque

TAIL = 40  # lines of pip's that are shown when it fails
PAUSE = 0.2  # seconds between two looks of the spinner


def main(arguments: list[str]) -> int:
    """``set_up.py WHAT PIP-ARGUMENTS...``: run ``pip install`` with these; pip's exit code."""
    what, *rest = arguments
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--progress-bar", "off", *rest]
    return run(what, command, terminal=sys.stderr.isatty() and not os.environ.get("CI"))


def run(what: str, command: list[str], *, terminal: bool) -> int:
    """Run the command, show on a terminal what it is at, and its last words where it fails; its exit code."""
    began = time.monotonic()
    _say(f"set-up: {what} …")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    said: deque[str] = deque(maxlen=TAIL)
    reader = threading.Thread(target=lambda: said.extend(process.stdout), daemon=True)  # type: ignore[arg-type]
    reader.start()
    try:
        while reader.is_alive():
            if terminal:
                _show(f"  {time.monotonic() - began:3.0f} s  {said[-1].strip() if said else ''}")
            reader.join(PAUSE)
    except KeyboardInterrupt:
        process.terminate()
    code = process.wait()
    if terminal:
        _show("")
    seconds = f"{time.monotonic() - began:.0f} s"
    if code:
        sys.stderr.writelines(said)
        _say(f"set-up: {what} failed after {seconds}; pip's last words are above")
    else:
        _say(f"set-up: {what}, done in {seconds}")
    return code


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _show(line: str) -> None:
    """Put a line in place of the last one, without going on to the next."""
    width = shutil.get_terminal_size().columns - 1
    print(f"\r{line[:width]:<{width}}\r", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
