"""``xqueue_audit``: the log of phase changes, shown and verified."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from ...core.data import Document, ExitCode
from ...ledger import audit
from .. import selection, several
from ..command import ShimCommand


class Command(ShimCommand):
    """Show and verify the log of phase changes."""

    help = (
        "Who moved which course, when, why and on what evidence; and whether the log is whole: its entries are chained "
        "by their digests. Exit code 2 says that an entry was changed, removed, added or moved past the app."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        super().add_arguments(parser)
        selection.add_arguments(parser, everything="every course that the shim has on record, which is the default")
        parser.add_argument(
            "--against",
            type=Path,
            metavar="PATH",
            help="what an earlier xqueue_audit --format json has printed, kept outside of the database: shows also a "
            "log that was made anew as a whole",
        )

    def tolerates_complaints(self, options: dict[str, Any]) -> bool:
        """Return True: the command only reads."""
        return True

    def document(self, *, against: Path | None, **options: Any) -> Document:
        """Return the log."""
        # Courses whose record is gone still have a log: only without any option all of them are looked at.
        some = selection.is_named({**options, "all": False})
        courses = self.courses(options, begun=True) if some else []
        if some and not courses:
            return several.nobody(options)
        if against is None:
            return audit.run(courses)
        try:
            noted = json.loads(against.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CommandError(f"--against: {against} cannot be read: {error}", returncode=ExitCode.USAGE) from error
        return audit.run(courses, noted)
