"""Walk the runbook's first course on a running ``serve``, reading only the page and the screen."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from sandbox import walk
from sandbox.serve.hour import ENVIRONMENT_FILE
from sandbox.waiting import NoProgress


class Command(BaseCommand):
    """The walk; exit code 0 only if the page's last command has ended well."""

    help = (
        "Type the commands of docs/runbook/first-hour.md into a shell, one after the other, on a sandbox that `serve` "
        "runs; decide by exit codes what to do next."
    )
    requires_system_checks: Any = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Options."""
        parser.add_argument(
            "--environment", type=Path, default=ENVIRONMENT_FILE, help="the file that serve tells a shell to read"
        )

    def handle(self, *, environment: Path, **options: Any) -> None:
        """Walk, and say how long it took."""
        if not environment.is_file():
            raise CommandError(f"there is no {environment}: run serve in another terminal first (make serve)")
        walking = walk.Walk(environment.resolve(), self.say)
        try:
            seconds = walking.go()
        except (walk.Stuck, NoProgress) as error:
            raise CommandError(str(error)) from error
        self.say(f"Walked in {seconds / 60:.1f} minutes, with {len(walking.screens)} commands.")

    def say(self, line: str) -> None:
        """Print a line at once."""
        self.stdout.write(line)
        self.stdout.flush()
