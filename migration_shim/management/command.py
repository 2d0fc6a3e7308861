"""
The base of all commands: the app's own checks, ``--format``, exit codes, and one document alone on stdout.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

from django.core.checks import CRITICAL, WARNING
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError
from tqdm import tqdm

from ..checks import TAG
from ..core.data import Document, ExitCode, Phase
from ..core.failures import INTERRUPTED, Failure, refused, tables_of_another_release
from ..db import schema
from ..reports import terminal
from ..runs import causes, owner
from . import failures, selection
from .failures import Failed


class Once(argparse.Action):
    """An option that names one thing. Given twice it is refused: argparse alone would silently take the last one."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Keep the value, or end with a usage error if another one was given before."""
        before = getattr(namespace, self.dest, None)
        if before is not None and before != values:
            parser.error(f"{option_string} names one here, and was given as {before} and as {values}; run it for each")
        setattr(namespace, self.dest, values)


def positive(value: str) -> int:
    """Parse a whole number above 0, as an argparse type."""
    if not value.isascii() or not value.isdigit() or int(value) < 1:
        raise argparse.ArgumentTypeError(f"{value!r} is not a whole number above 0")
    return int(value)


def nonempty_text(value: str) -> str:
    """Parse a text that is not blank, as an argparse type."""
    if not value.strip():
        raise argparse.ArgumentTypeError("the reason must not be empty")
    return value.strip()


def phase_among(phases: Iterable[Phase]) -> Callable[[str], Phase]:
    """
    Return an argparse type that parses one of some phases.

    ``choices`` would be argparse's way. But its message shows an enumeration's members as code.
    """
    known = {phase.value: phase for phase in phases}

    def phase(value: str) -> Phase:
        if value not in known:
            raise argparse.ArgumentTypeError(f"{value!r} is none of {', '.join(known)}")
        return known[value]

    return phase


def operator() -> str:
    """Return the operating system's name of the user who runs the command, for the record."""
    return owner.system_user() or "unknown"


class ShimCommand(BaseCommand):
    """
    A command that makes one document and prints it.

    A subclass adds its arguments and implements ``document``. The process exits with the document's exit code (see
    ``ExitCode``); after a call from Python (``call_command``) the code is in ``exit_code``.

    If the app's checks complain, the command is refused with their text and exit code 1 before it does anything, unless
    it ``tolerates_complaints``. Checks of other apps are not run.
    """

    requires_system_checks: Any = [TAG]
    exit_code: ExitCode = ExitCode.OK
    _as_json = False
    #: What ``execute`` has found wrong with the tables, for the ``answer`` that follows; None where nobody has asked.
    _tables_said: str | None = None
    _bar: ProgressBar | None = None
    #: The values of ``--format``, each with the function that renders a document.
    formats: Mapping[str, Callable[[Any], str]] = {
        "text": terminal.render,
        "json": functools.partial(json.dumps, indent=2),
    }

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Return Django's parser with our exit code for wrong usage: argparse's 2 means differences here."""
        parser = super().create_parser(prog_name, subcommand, **kwargs)

        def usage_error(message: str) -> NoReturn:
            if not self._called_from_command_line:  # type: ignore[attr-defined]  # Django's own, and not in the stubs
                raise CommandError(f"Error: {message}", returncode=ExitCode.USAGE)
            if self._as_json:
                print(json.dumps(refused(message, "usage", ExitCode.USAGE).document(), indent=2))
            parser.print_usage(sys.stderr)
            parser.exit(ExitCode.USAGE, f"{parser.prog}: error: {message}\n")

        parser.error = usage_error  # type: ignore[method-assign]  # argparse asks for one
        self.usage_error = usage_error  # for what only the options together show
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the option that all commands have."""
        parser.add_argument("--format", choices=tuple(self.formats), default="text", help="what to print on stdout")

    def tolerates_complaints(self, options: dict[str, Any]) -> bool:
        """
        Return whether this call goes on despite complaints of the checks, which are then only printed on stderr.

        So do calls that read, watch or step back to legacy; they check for themselves what they need.
        """
        return False

    def is_way_back(self, options: dict[str, Any]) -> bool:
        """Return whether this call steps a course back to legacy, which is tried even on tables of an older release."""
        return False

    # The stubs have the result for that of another method.
    def get_check_kwargs(self, options: dict[str, Any]) -> dict[str, Any]:  # type: ignore[override]
        """Return the arguments of Django's ``check``: our warnings fail it, unless this call tolerates complaints."""
        level = CRITICAL if self.tolerates_complaints(options) else WARNING
        kwargs: Mapping[Any, Any] = super().get_check_kwargs(options)
        return {**kwargs, "fail_level": level}

    def courses(self, options: dict[str, Any], **how: Any) -> list[str]:
        """
        Return the courses that the options name, or end with a usage error if none of them does.

        ``how`` is as for ``selection.courses``.
        """
        if not selection.is_named(options):
            self.usage_error(selection.UNNAMED)
        return selection.courses(options, **how)

    def document(self, *args: Any, **options: Any) -> Document:
        """Do the command's work and return its document; the options are passed by name."""
        raise NotImplementedError

    def answer(self, options: dict[str, Any]) -> Document:
        """
        Return the document.

        Raises:
            CommandError: the app's own errors, with our exit code.
        """
        said, self._tables_said = self._tables_said, None  # a later answer of ``--watch`` asks again
        if said is None:
            said = self._tables_complaint(options)
        try:
            return self.document(**options)
        except CommandError:
            raise
        except Exception as error:
            failure = causes.known(error)
            if said and isinstance(error, DatabaseError):
                failure = tables_of_another_release(said)
            if failure is None:  # nobody knows what to say about it: run_from_argv will say so
                raise
            raise Failed(failure) from error

    def _tables_complaint(self, options: dict[str, Any]) -> str:
        """
        Return what is wrong with the app's tables where that does not end the command: it is a way back.

        Raises:
            Failed: they are those of another release, or the LMS's database does not answer.
        """
        try:
            said = schema.asked()
        except DatabaseError as error:
            if self.is_way_back(options):
                return ""
            raise Failed(failures.failure_of(error)) from error
        if said and not self.is_way_back(options):
            raise Failed(tables_of_another_release(said))
        return said

    def handle(self, *args: Any, **options: Any) -> None:
        """Make the document, print it, and keep its exit code."""
        answer = self.answer(options)
        self._clear_progress()
        self.exit_code = answer.exit_code
        self.stdout.write(self.formats[options["format"]](answer.content))

    def execute(self, *args: Any, **options: Any) -> Any:
        """
        Run the command. On the command line any error ends it with one message and an exit code of ours.

        With ``--traceback``, and from Python, the error itself is raised.
        """
        if not self._called_from_command_line or options["traceback"]:  # type: ignore[attr-defined]  # Django's own
            return super().execute(*args, **options)
        try:
            # First: of a database that is down, or has other tables, the checks would complain as well.
            self._tables_said = self._tables_complaint(options)
            super().execute(*args, **options)
            self.stdout.flush()
        except (Exception, KeyboardInterrupt) as error:
            if isinstance(error, BrokenPipeError) and failures.is_unread(sys.stdout):
                failures.drop(sys.stdout)  # the reader has seen enough, and the work is done
                return None
            self._end(failures.failure_of(error))
        return None

    def _end(self, failure: Failure) -> NoReturn:
        """Print a failure and exit with its code."""
        self._clear_progress()
        if failure.exit_code == INTERRUPTED and sys.stderr.isatty():
            sys.stderr.write("\n")  # the terminal has put ^C on this line
        failures.show(failure, as_json=self._as_json, stdout=sys.stdout, stderr=sys.stderr)
        sys.exit(int(failure.exit_code))

    def run_from_argv(self, argv: list[str]) -> None:
        """Run the command, then exit with the document's exit code."""
        self._as_json = failures.wants_json(argv)
        try:
            super().run_from_argv(argv)
        except KeyboardInterrupt as interrupt:  # before the work, or on the way out behind it
            self._end(failures.failure_of(interrupt))
        if self.exit_code:
            sys.exit(int(self.exit_code))

    def progress(self, what: str) -> ProgressBar:
        """Return a progress bar on stderr with rate and ETA, shown on a terminal only; an older one goes."""
        self._clear_progress()
        self._bar = ProgressBar(what)
        return self._bar

    def _clear_progress(self) -> None:
        """Take the bar off the terminal, so that nothing is written behind it."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class ProgressBar:
    """A progress bar, called with (done, total); ``tell`` shows why it does not move."""

    def __init__(self, what: str) -> None:
        self._bar = tqdm(desc=what, unit=" rows", file=sys.stderr, disable=None, leave=False)

    def __call__(self, done: int, total: int) -> None:
        """Show how much is done."""
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def tell(self, note: str) -> None:
        """Show a note behind the figures; "" removes it."""
        self._bar.set_postfix_str(note)

    def close(self) -> None:
        """Take the bar off the terminal."""
        self._bar.close()
