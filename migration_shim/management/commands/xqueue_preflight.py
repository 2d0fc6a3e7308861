"""``xqueue_preflight``: what would break on the target, before any write."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from ... import api
from ...data import Document
from ..command import ShimCommand, course_id


class Command(ShimCommand):
    """Look at all legacy rows of a course and list what the target would do differently."""

    help = "List what the target would do differently for a course. Writes nothing on legacy or on the target."

    def add_arguments(self, parser: CommandParser) -> None:
        """Options."""
        super().add_arguments(parser)
        parser.add_argument("--course", type=course_id, required=True, metavar="ID", help="the course to look at")

    def document(self, *, course: str, **options: Any) -> Document:
        """The findings."""
        return api.preflight(course, self.progress("preflight"))
