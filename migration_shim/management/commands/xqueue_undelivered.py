"""``xqueue_undelivered``: the submissions whose learners wait for a grade that nobody brings."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from ...core.data import Document
from ...core.documents.several import UndeliveredCounts
from ...core.documents.undelivered import UndeliveredDocument
from ...delivery import undelivered
from .. import selection, several
from ..command import ShimCommand, nonempty_text, operator


class Command(ShimCommand):
    """List who is undelivered; with their user ids only for a reason, which is written down."""

    help = (
        "List the submissions of courses whose learners wait for a grade that nobody brings, as the last comparison "
        "found them. With --learners it names the LMS user ids; who has looked, and why, goes into the course's log."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        super().add_arguments(parser)
        selection.add_arguments(parser, everything="every course that the shim has on record")
        parser.add_argument("--learners", action="store_true", help="name the learners' user ids; needs --reason")
        parser.add_argument("--reason", type=nonempty_text, metavar="TEXT", help="why they are looked up, for the log")

    def tolerates_complaints(self, options: dict[str, Any]) -> bool:
        """Return True: the command only reads, and notes a look-up in the log."""
        return True

    def document(self, *, learners: bool, reason: str | None, **options: Any) -> Document:
        """Return the undelivered submissions."""
        if learners and not reason:
            self.usage_error("--learners needs --reason: looking a learner up is written down")
        courses = self.courses(options, begun=True)
        if not courses:
            return several.nobody(options)

        def listing(course: str) -> Document[UndeliveredDocument]:
            return undelivered.listing(course, learners=learners, reason=reason or "", user=operator())

        if selection.is_one(options, courses):
            return listing(courses[0])
        return several.run(
            several.UNDELIVERED_SCHEMA, "undelivered", courses, listing, counts=_counts, following=_following
        )


def _counts(found: list[UndeliveredDocument]) -> UndeliveredCounts:
    waiting = [len(content["rows"]) for content in found]
    return {"submissions": sum(waiting), "courses_affected": sum(map(bool, waiting))}


def _following(found: list[UndeliveredDocument]) -> str:
    """Return the look at the course where most learners wait."""
    most = max(found, key=lambda content: len(content["rows"]), default=None)
    return f"xqueue_status --course {most['course']}" if most and most["rows"] else ""
