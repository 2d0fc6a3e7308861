"""``xqueue_undelivered``: the submissions whose learners wait for a grade that nobody brings."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from ...core.data import Document
from ...delivery import undelivered
from ..command import Once, ShimCommand, course_id, nonempty_text, operator


class Command(ShimCommand):
    """List who is undelivered; with their user ids only for a reason, which is written down."""

    help = (
        "List the submissions of a course whose learners wait for a grade that nobody brings, as the last comparison "
        "found them. With --learners it names the LMS user ids; who has looked, and why, goes into the course's log."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        super().add_arguments(parser)
        parser.add_argument("--course", type=course_id, action=Once, required=True, metavar="ID", help="the course")
        parser.add_argument("--learners", action="store_true", help="name the learners' user ids; needs --reason")
        parser.add_argument("--reason", type=nonempty_text, metavar="TEXT", help="why they are looked up, for the log")

    def tolerates_complaints(self, options: dict[str, Any]) -> bool:
        """Return True: the command only reads, and notes a look-up in the log."""
        return True

    def document(self, *, course: str, learners: bool, reason: str | None, **options: Any) -> Document:
        """Return the undelivered submissions."""
        if learners and not reason:
            self.usage_error("--learners needs --reason: looking a learner up is written down")
        return undelivered.listing(course, learners=learners, reason=reason or "", user=operator())
