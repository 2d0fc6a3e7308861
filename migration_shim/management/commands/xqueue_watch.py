"""``xqueue_watch``: reconcile, finish, guard, repair and purge, in rounds."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import connections

from ...core.data import Document, ExitCode
from ...runs.control import Control, Stopped
from ...toggles import kill_switch_ignored
from ...watch import round as watch_round
from .. import selection, several
from ..command import ShimCommand, positive

EVERY = 300


class Command(ShimCommand):
    """Watch over courses."""

    help = (
        "Watch over courses: finish rows that a handoff or a return has left between the systems, reconcile, hold "
        "every course to its bounds, write owed copies, drop what nobody needs any more. Without --once it goes on, "
        "round after round, and prints a document for each, until a signal ends it between two steps."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        super().add_arguments(parser)
        parser.add_argument("--once", action="store_true", help="one round, for cron")
        selection.add_arguments(
            parser,
            everything="every course that the shim has on record (default: those that are not in legacy, or have work "
            "left). What --all, --org, --queue and --state name is looked up anew in each round",
        )
        parser.add_argument(
            "--every", type=positive, default=EVERY, metavar="SECONDS", help=f"the pause between two rounds ({EVERY})"
        )
        parser.add_argument(
            "--purge",
            action="store_true",
            help="drop residue and stored contents that are due; else, unless WATCH_PURGE is on, they are only counted",
        )

    def tolerates_complaints(self, options: dict[str, Any]) -> bool:
        """Return True: the watch must go on, and each round lists the complaints of the checks as a problem."""
        return True

    def document(self, **options: Any) -> Document:
        """Return the document of one round."""
        courses = self.courses(options, begun=True) if selection.is_named(options) else None
        if courses is not None and not courses:
            return several.nobody(options)
        return watch_round.run(courses, purge=options["purge"])

    def handle(self, *args: Any, **options: Any) -> None:
        """Run one round, or round after round until a signal ends it."""
        if options["once"]:
            super().handle(*args, **options)
            return
        with Control(kill_switch_ignored) as control:
            super().handle(*args, **options)
            while not self.exit_code & ExitCode.STOPPED:
                try:
                    self.stdout.flush()
                    self._pause(control, options["every"])
                    super().handle(*args, **options)
                except Stopped as stopped:  # during the pause, which is in no document
                    self.exit_code |= ExitCode.STOPPED
                    new_line = "\n" if self.stderr.isatty() else ""  # the terminal has put ^C on this one
                    said = f"{new_line}Stopped by {stopped} between two rounds; nothing is half done.\n"
                    self.stderr.write(f"{said}Start xqueue_watch again, or no course is watched over.", style_func=str)
                except Exception as error:  # a later round may succeed
                    self.stderr.write(f"No round: {error if isinstance(error, CommandError) else type(error).__name__}")

    def _pause(self, control: Control, seconds: int) -> None:
        """Close all connections, which the server may close in the meantime, and sleep."""
        for connection in connections.all():
            if not connection.in_atomic_block:
                connection.close()
        control.sleep(seconds)
