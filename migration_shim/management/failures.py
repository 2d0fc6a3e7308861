"""How a command ends that cannot go on: one message on stderr, one document on stdout, and its exit code."""

from __future__ import annotations

import argparse
import json
import os
import select
import shutil
import textwrap
from collections.abc import Sequence
from typing import TextIO

from django.core.management.base import CommandError, SystemCheckError

from ..core import failures
from ..core.data import ExitCode
from ..core.failures import Failure
from ..reports.escape import printable
from ..runs import causes

#: A line of a message on a wide terminal is no longer than this.
WIDTH = 100


class Failed(CommandError):
    """A command that ended with a known failure."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message, returncode=int(failure.exit_code))
        self.failure = failure


def failure_of(error: BaseException) -> Failure:
    """Return the failure that an error is, for a command that ends with it."""
    if isinstance(error, Failed):
        return error.failure
    if isinstance(error, SystemCheckError):
        return failures.refused(str(error), "checks_complain")
    if isinstance(error, CommandError):
        usage = error.returncode == ExitCode.USAGE
        message = str(error).removeprefix("Error: ") if usage else str(error)
        return failures.refused(message, "usage" if usage else "refused", ExitCode(error.returncode))
    return causes.failure_of(error)


def wants_json(argv: Sequence[str]) -> bool:
    """Return whether a command line asks for JSON, be it wrong otherwise."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("--format")
    try:
        return bool(parser.parse_known_args(list(argv))[0].format == "json")
    except argparse.ArgumentError:
        return False


def show(failure: Failure, *, as_json: bool, stdout: TextIO, stderr: TextIO) -> None:
    """Print a failure on stderr, and with ``as_json`` as the only document on stdout too."""
    if as_json:
        try:
            stdout.write(json.dumps(failure.document(), indent=2) + "\n")
            stdout.flush()
        except OSError:  # it may be stdout that has failed
            drop(stdout)
    stderr.write(text(failure, width=_width(stderr)) + "\n")


def text(failure: Failure, *, width: int | None = None) -> str:
    """
    Return a failure as text: the cause first, what it means, what to do, the page with the code.

    A message of the app's own says the second and the third itself.
    """
    parts = [("Error: ", failure.message)]
    if failure.code not in ("refused", "usage"):
        parts += [("  It means: ", failure.means), ("  To do: ", failure.do)]
    parts.append(("  See: ", f"{failure.page} ({failure.code})"))
    return "\n".join(_wrapped(label, said, width) for label, said in parts)


def _wrapped(label: str, said: str, width: int | None) -> str:
    lines = [printable(line) for line in said.splitlines() or [""]]
    if width is None:
        return "\n".join([label + lines[0], *lines[1:]])
    kept = {"width": width, "break_long_words": False, "break_on_hyphens": False}
    first = textwrap.fill(lines[0], initial_indent=label, subsequent_indent="    ", **kept)  # type: ignore[arg-type]
    return "\n".join([first, *lines[1:]])


def _width(stream: TextIO) -> int | None:
    """Return the width to wrap at; None where nobody looks, so that a line can be searched for."""
    return min(shutil.get_terminal_size().columns, WIDTH) if stream.isatty() else None


def is_unread(stream: TextIO) -> bool:
    """Tell whether a stream is a pipe whose reader has gone, as ``head`` does when it has enough."""
    try:
        poll = select.poll()
        poll.register(stream.fileno(), 0)
        return any(events & select.POLLERR for _, events in poll.poll(0))
    except (OSError, ValueError):  # not one of the operating system's
        return False


def drop(stream: TextIO) -> None:
    """Let nothing more be written to a stream that cannot be written to: Python would complain when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
