"""Keep the sandbox running until interrupted: the stand-ins, learners, graders, and a dashboard to log in to."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from sandbox.schema import NotASandbox, PrepareFailed, prepare
from sandbox.serve import hour
from sandbox.servers import ServerDidNotStart


class Command(BaseCommand):
    """The first hour."""

    help = (
        "Run the LMS, XQueue, learners and graders on loopback until interrupted, with the dashboard behind TLS. Loads "
        "the captured rows when empty. docs/runbook/first-hour.md has what to do with it."
    )
    requires_system_checks: Any = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Options."""
        parser.add_argument(
            "--pace",
            type=float,
            default=hour.PACE,
            metavar="SECONDS",
            help=f"pause between two submissions of learners (default {hour.PACE:g})",
        )
        parser.add_argument(
            "--free-ports", action="store_true", help="take any free ports, beside another sandbox that runs"
        )

    def handle(self, *, pace: float, free_ports: bool, **options: Any) -> None:
        """Prepare, start, say where everything is, wait."""
        try:
            prepare()
            hour.run(self.say, pace=pace, free_ports=free_ports)
        except (NotASandbox, PrepareFailed, ServerDidNotStart) as error:
            raise CommandError(str(error)) from error

    def say(self, line: str) -> None:
        """Print a line at once."""
        self.stdout.write(line)
        self.stdout.flush()
