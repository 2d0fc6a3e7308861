"""``xqueue_fail``: fail submissions on the target for which no grader returns a result."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from ...core.data import Document
from ...core.documents.fail import FailDocument
from ...core.documents.several import FailCounts
from ...delivery import ungradable
from .. import selection, several
from ..command import ShimCommand, nonempty_text, operator, positive


class Command(ShimCommand):
    """Fail submissions on the target, and tell their learners."""

    help = (
        "Fail submissions of courses on the target that were handed out again and again without a result, or those "
        "that are named, and tell their learners that they could not be graded. Without --execute it says which."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        super().add_arguments(parser)
        selection.add_arguments(parser, everything="every course that the shim has on record")
        parser.add_argument(
            "--submission",
            type=positive,
            action="append",
            metavar="NUMBER",
            help="a submission's id on the target, as the plan shows it; may be repeated, for one course. "
            "Without it: all that were handed out in vain",
        )
        parser.add_argument("--reason", type=nonempty_text, required=True, metavar="TEXT", help="why, for the record")
        parser.add_argument("--execute", action="store_true", help="do it")

    def document(self, *, submission: list[int] | None, reason: str, execute: bool, **options: Any) -> Document:
        """Return which submissions are to be failed, or were."""
        courses = self.courses(options, begun=True)
        if not courses:
            return several.nobody(options)
        one = selection.is_one(options, courses)
        if submission and not one:
            self.usage_error("--submission goes with one --course")

        def fail(course: str) -> Document[FailDocument]:
            return ungradable.fail(course, submission or [], reason=reason, user=operator(), execute=execute)

        if one:
            return fail(courses[0])
        return several.run(several.FAIL_SCHEMA, "fail", courses, fail, counts=_counts, following=_following)


def _counts(found: list[FailDocument]) -> FailCounts:
    return {
        "to_fail": sum(len(content["rows"]) for content in found),
        "failed": sum(content["failed"] for content in found),
    }


def _following(found: list[FailDocument]) -> str:
    """Return the look at the first course that has such submissions, while it is a plan."""
    planned = next((content for content in found if content["rows"] and not content["executed"]), None)
    return f"xqueue_fail --course {planned['course']} --reason TEXT --execute" if planned else ""
