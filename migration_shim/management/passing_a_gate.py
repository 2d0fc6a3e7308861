"""The options with which a person passes a closed gate, and what is asked of that person on a terminal."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable
from typing import Any

from ..core.data import Document, Phase
from ..cutover import overrides
from ..cutover import steps as cutover_steps
from ..reports import terminal
from .command import ShimCommand


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of an override."""
    parser.add_argument(
        "--override",
        action="store_true",
        help="pass a gate that is not open, for this one step of one course; needs --override-reasons, --user and "
        "the course's id once more. Every report names it from then on. With --release: accept what an operator "
        "may answer for",
    )
    parser.add_argument(
        "--override-reasons",
        type=_codes,
        metavar="CODES",
        help="with --override: the codes of all that is open, separated by commas, as the plan lists them; on a "
        "terminal they are asked for",
    )
    parser.add_argument(
        "--confirm",
        metavar="ID",
        help="with --override, where stdin is no terminal: the course's id once more; on a terminal it is asked for",
    )


def refusal(options: dict[str, Any], *, one: bool) -> str:
    """Return why the options cannot go together, or ""; ``one`` tells whether they name one course."""
    if options["override"] and not one:
        return "--override goes with one course, named by --course: a person signs for one at a time"
    if not options["override"] and (options["override_reasons"] or options["confirm"]):
        return "--override-reasons and --confirm go with --override"
    return ""


def taken(command: ShimCommand, run: Callable[..., Document], options: dict[str, Any], *, execute: bool) -> Document:
    """
    Plan a step, or take it. On a terminal a person who passes a gate sees the plan, and types what is asked.

    Args:
        command: it writes what the person reads on stderr, because the document alone goes to stdout.
        run: plans or takes the step; it accepts ``override`` and ``execute``.
        options: the command's options.
        execute: whether the step is to be taken.
    """
    if not options["override"]:
        return run()
    request = overrides.Request(causes=options["override_reasons"], confirmed=options["confirm"] or "")
    if not execute or options["user"] is None or not sys.stdin.isatty():
        return run(override=request)
    plan = run(execute=False, override=overrides.Request(causes=request.causes)).content
    if plan["schema"] == cutover_steps.SCHEMA:
        # While the person reads and types, a colleague may step the course: then this is another step than was read.
        open_codes, run = plan["causes"], functools.partial(run, expected=Phase(plan["from"]))
    else:
        open_codes = plan["accepted"]
    if not plan["permitted"] or not open_codes:
        return run(override=request)
    _say(command, terminal.render(plan).rpartition("\nNext:")[0] + "\n")
    causes = request.causes
    if causes is None:
        causes = overrides.named(_asked(command, "Codes of all that you pass: "))
        # Before the id is asked for. The step asks once more, under the course's lock.
        overrides.check_codes(plan["course"], causes, open_codes)
    confirmed = _asked(command, "Type the course's id to confirm: ").strip()
    return run(override=overrides.Request(causes=causes, confirmed=confirmed))


def _asked(command: ShimCommand, question: str) -> str:
    """Return the line that a person types as an answer."""
    _say(command, question)
    line = sys.stdin.readline()
    if not line.endswith("\n"):  # Ctrl-D: what comes next would stand behind the question
        _say(command, "\n")
    return line


def _say(command: ShimCommand, text: str) -> None:
    command.stderr.write(text, style_func=str, ending="")
    command.stderr.flush()


def _codes(value: str) -> frozenset[str]:
    """Parse codes that are separated by commas, as an argparse type."""
    if not (codes := overrides.named(value)):
        raise argparse.ArgumentTypeError("names no code")
    return codes
