"""``xqueue_preflight``: what would break on the target, before any write."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from ...core.data import Document
from ...preflight import run as preflight_run
from ..command import Once, ShimCommand, course_id


class Command(ShimCommand):
    """Look at all legacy rows of a course and list what the target would do differently."""

    help = (
        "List what the target would do differently for a course. Writes nothing on legacy or on the target, but for "
        "the submissions that --probe sends."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        super().add_arguments(parser)
        parser.add_argument(
            "--course", type=course_id, action=Once, required=True, metavar="ID", help="the course to look at"
        )

        parser.add_argument(
            "--probe",
            action="store_true",
            help="send the newest graded submission of each queue once more, fenced, to the queue of its reverse "
            "shadows, to see whether a grader polls it; run again without it once the graders had time",
        )

    def tolerates_complaints(self, options: dict[str, Any]) -> bool:
        """Return True: the command only reads, and reports the complaints of the checks as blockers."""
        return True

    def document(self, *, course: str, probe: bool, **options: Any) -> Document:
        """Return the findings."""
        return preflight_run.run(course, self.progress("preflight"), probe=probe)
