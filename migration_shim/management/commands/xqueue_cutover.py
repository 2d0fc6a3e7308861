"""``xqueue_cutover``: move a course to another phase. The plan by default; ``--execute`` flips the flags."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from ... import api
from ...data import Document, ExitCode, Phase
from ..command import ShimCommand, course_id, operator, sentence


class Command(ShimCommand):
    """Move a course to another phase."""

    help = (
        "Move a course one phase on or back, or to legacy from anywhere. Prints the plan; --execute flips both flags "
        "and records who, why and on what evidence. --release is not there yet."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Options."""
        super().add_arguments(parser)
        parser.add_argument("--course", type=course_id, required=True, metavar="ID", help="the course")
        parser.add_argument("--to", type=Phase, choices=list(Phase), required=True, help="the phase to step to")
        parser.add_argument("--reason", type=sentence, required=True, metavar="TEXT", help="why, for the record")
        parser.add_argument("--user", metavar="NAME", help="the LMS user to sign the flags with")
        parser.add_argument(
            "--remove-shadows",
            action="store_true",
            help="with --to complete, for a course that is complete: take its shadows off the target, files included",
        )
        parser.add_argument(
            "--override",
            action="store_true",
            help="pass a gate that is not open, signed with --reason; it is printed on every report until it expires",
        )
        parser.add_argument("--execute", action="store_true", help="take the step; without it only the plan is printed")

    def document(self, *, course: str, to: Phase, reason: str, execute: bool, **options: Any) -> Document:
        """The plan, or what was done."""
        if options["remove_shadows"]:
            if to is not Phase.COMPLETE:
                raise CommandError("--remove-shadows goes with --to complete", returncode=ExitCode.USAGE)
            return api.remove_shadows(course, execute=execute, progress=self.progress("removing shadows"))
        login = options["user"]
        return api.cutover(
            course, to, reason=reason, execute=execute, user=operator(), login=login, override=options["override"]
        )
