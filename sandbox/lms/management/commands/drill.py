"""Play five incidents on the stand-ins, and resolve each with the runbook's own commands."""

from sandbox.demo.story import Story
from sandbox.drill import play
from sandbox.lms.management.commands.demo import Command as Demo


class Command(Demo):
    """The drill; exit code 0 only if every claim held."""

    help = "Play five incidents and resolve each with the runbook's commands. Needs empty databases."
    what = "the drill"

    def play(self, told: Story) -> None:
        """Play it."""
        play.play(told)
