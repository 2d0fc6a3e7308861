"""``xqueue_fail``: fail submissions on the target for which no grader returns a result."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from ...core.data import Document
from ...delivery import ungradable
from ..command import Once, ShimCommand, course_id, nonempty_text, operator, positive


class Command(ShimCommand):
    """Fail submissions on the target, and tell their learners."""

    help = (
        "Fail submissions of a course on the target that were handed out again and again without a result, or those "
        "that are named, and tell their learners that they could not be graded. Without --execute it says which."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        super().add_arguments(parser)
        parser.add_argument("--course", type=course_id, action=Once, required=True, metavar="ID", help="the course")
        parser.add_argument(
            "--submission",
            type=positive,
            action="append",
            metavar="NUMBER",
            help="a submission's id on the target, as the plan shows it; may be repeated. Without it: all that were "
            "handed out in vain",
        )
        parser.add_argument("--reason", type=nonempty_text, required=True, metavar="TEXT", help="why, for the record")
        parser.add_argument("--execute", action="store_true", help="do it")

    def document(
        self, *, course: str, submission: list[int] | None, reason: str, execute: bool, **options: Any
    ) -> Document:
        """Return which submissions are to be failed, or were."""
        return ungradable.fail(course, submission or [], reason=reason, user=operator(), execute=execute)
