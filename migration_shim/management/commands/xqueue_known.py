"""``xqueue_known``: the register of known differences."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from ...core.data import GRAVE, DivergenceClass, Document, ExitCode
from ...cutover import cures
from ...ledger import known_differences
from .. import selection
from ..command import Once, ShimCommand, nonempty_text, operator, positive


class Command(ShimCommand):
    """List the known differences, register one, withdraw one, or sign a cure."""

    help = (
        "The register of known differences: counted in every report, never hidden, and biting again once expired. "
        "Without --add, --withdraw or --cure it lists them."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        super().add_arguments(parser)
        what = parser.add_mutually_exclusive_group()
        what.add_argument(
            "--add",
            type=DivergenceClass,
            choices=list(DivergenceClass),
            metavar="CLASS",
            help="register a class of divergence: " + ", ".join(DivergenceClass),
        )
        what.add_argument("--withdraw", type=positive, metavar="ID", help="take an entry out of force")
        what.add_argument(
            "--cure",
            type=DivergenceClass,
            choices=sorted(GRAVE),
            metavar="CLASS",
            help="sign that what is on record of a class that cannot be registered is mended, or answered for, in "
            "--course: " + ", ".join(sorted(GRAVE)),
        )
        parser.add_argument(
            "--course",
            type=selection.text,
            action=Once,
            metavar="ID",
            help="with --add: only this course, by its id or parts of it that no other course has. One at a time: each "
            "difference is signed for the course that it was looked into for",
        )
        selection.add_new(parser)
        parser.add_argument("--queue", default="", metavar="NAME", help="with --add: only this queue")
        parser.add_argument("--problem", default="", metavar="KEY", help="with --add: only this problem (usage key)")
        parser.add_argument(
            "--reason",
            type=nonempty_text,
            metavar="TEXT",
            help="why it is harmless, or what was done about it (required)",
        )
        parser.add_argument(
            "--days", type=positive, default=30, metavar="N", help="with --add: it bites again after N days (30)"
        )
        parser.add_argument("--user", metavar="NAME", help="who answers for it (default: who runs this)")

    def document(self, **options: Any) -> Document:
        """Return the register as it is afterwards."""
        if options["withdraw"] is not None:
            return known_differences.withdraw(options["withdraw"])
        if options["cure"] is not None:
            return self._cure(options)
        if options["add"] is None:
            return known_differences.listing()
        if not options["reason"]:
            raise CommandError("--add needs --reason", returncode=ExitCode.USAGE)
        return known_differences.add(
            options["add"],
            reason=options["reason"],
            owner=options["user"] or operator(),
            days=options["days"],
            course_id=selection.one(options["course"], new=options["new"]) if options["course"] else "",
            queue_name=options["queue"],
            item_id=options["problem"],
        )

    def _cure(self, options: dict[str, Any]) -> Document:
        if not (options["course"] and options["reason"]):
            raise CommandError("--cure needs --course and --reason", returncode=ExitCode.USAGE)
        who = options["user"] or operator()
        course = selection.one(options["course"], new=options["new"])
        return cures.cure(options["cure"], course_id=course, reason=options["reason"], by=who)
