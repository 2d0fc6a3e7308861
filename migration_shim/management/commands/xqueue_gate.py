"""``xqueue_gate``: may this course move on?"""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from ...core.data import Document
from ...cutover import gate
from ..command import Once, ShimCommand, course_id


class Command(ShimCommand):
    """Print the verdict of a course from stored evidence, and put it on record."""

    help = "The verdict of a course, from stored evidence: PASS, FAIL, INCONCLUSIVE or STALE, with every reason."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        super().add_arguments(parser)
        parser.add_argument("--course", type=course_id, action=Once, required=True, metavar="ID", help="the course")
        parser.add_argument("--explain", action="store_true", help="show the counts and the arithmetic in the text")

    def document(self, *, course: str, explain: bool, **options: Any) -> Document:
        """Return the verdict."""
        answer = gate.run_gate(course)
        if not explain and options["format"] == "text":
            content = {key: value for key, value in answer.content.items() if key != "evidence"}
            return Document(content=content, exit_code=answer.exit_code)
        return answer
