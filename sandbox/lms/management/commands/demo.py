"""Play the main job once, from capture to report, and check every claim in the databases."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from sandbox.databases import SANDBOX_DIR
from sandbox.demo import stage, story
from sandbox.schema import NotASandbox, PrepareFailed, prepare
from sandbox.servers import ServerDidNotStart
from sandbox.waiting import NoProgress


class Command(BaseCommand):
    """The demo; exit code 0 only if every claim held."""

    help = "Play the main job once on the stand-ins and check every claim. Needs empty databases."
    requires_system_checks: Any = []
    what = "the demo"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Options."""
        parser.add_argument(
            "--fresh", action="store_true", help="first remove the SQLite files and media of MIGRATION_SHIM_SANDBOX_DIR"
        )

    def handle(self, *, fresh: bool, **options: Any) -> None:
        """Prepare, play, judge."""
        if fresh:
            stage.empty_sandbox()
        try:
            prepare()
            stage.require_empty()
        except (NotASandbox, PrepareFailed, stage.NotEmpty) as error:
            raise CommandError(str(error)) from error
        told = story.Story(write=self.say)
        try:
            self.play(told)
        except KeyboardInterrupt as error:
            raise CommandError(f"{self.what} was interrupted in step {told.step}", returncode=130) from error
        except Exception as error:
            # Whoever tries the sandbox out can do nothing with our stack; --traceback has it.
            raise CommandError(
                f"{self.what} stopped in step {told.step} ({told.title}): {_words(error)}\n"
                f"The stand-ins' logs are in {SANDBOX_DIR / 'log'}; with --traceback you see where."
            ) from error
        if told.failed:
            raise CommandError(f"{self.what} did not hold what it claims")

    def play(self, told: story.Story) -> None:
        """Play it."""
        story.play(told)

    def say(self, line: str) -> None:
        """Print a line at once: a demo is watched."""
        self.stdout.write(line)
        self.stdout.flush()


def _words(error: Exception) -> str:
    """An error in words: ours say all that there is to say, others do not say what they are."""
    return str(error) if isinstance(error, NoProgress | ServerDidNotStart) else f"{type(error).__name__}: {error}"
