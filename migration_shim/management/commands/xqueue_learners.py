"""``xqueue_learners``: who the learners behind a report's hashes are, for those who may know."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from ...core.data import Document
from ...reports import learners
from .. import selection
from ..command import Once, ShimCommand, nonempty_text, operator


def learner_hash(value: str) -> str:
    """Parse a learner's hash as reports show it, as an argparse type."""
    if not re.fullmatch(r"[0-9a-f]{12}", value):
        raise argparse.ArgumentTypeError(f"{value!r} is not a hash of a report: 12 digits from 0 to f")
    return value


def private_path(value: str) -> Path:
    """Parse a path for a file of our own, as an argparse type: no terminal, pipe or device, whose reader is unknown."""
    path = Path(value)
    # A link may lead to a terminal: /dev/stdout is one.
    if value == "-" or path.is_symlink() or (path.exists() and not path.is_file()):
        raise argparse.ArgumentTypeError("it names learners, and is written to a file of its own only, never to stdout")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {str(path.parent)!r}")
    return path


class Command(ShimCommand):
    """Name the learner behind a hash, or write all affected learners into a file for support."""

    help = (
        "Say which LMS user a learner's hash in a report stands for, or write the learners with unexplained "
        f"divergences into a file for support. It takes an LMS user with the permission {learners.PERMISSION} and a "
        "reason; who has looked, and why, goes into the course's log before anybody is named. Nothing is compared."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        super().add_arguments(parser)
        parser.add_argument("--course", action=Once, required=True, metavar="ID", help="the course")
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--learner", type=learner_hash, metavar="HASH", help="a learner's hash, as reports show it")
        what.add_argument(
            "--learners",
            type=private_path,
            metavar="FILE",
            help="write a CSV file for support, which only its owner may read: who, which problem, when, what to do",
        )
        parser.add_argument("--user", required=True, metavar="LOGIN", help="the LMS user who looks them up")
        parser.add_argument(
            "--reason", type=nonempty_text, required=True, metavar="TEXT", help="why they are looked up, for the log"
        )

    def tolerates_complaints(self, options: dict[str, Any]) -> bool:
        """Return True: the command only reads, and notes a look-up in the log."""
        return True

    def document(self, *, course: str, learner: str | None, user: str, reason: str, **options: Any) -> Document:
        """Return who it is, or how many learners the file names."""
        course = selection.one(course)
        if learner is not None:
            return learners.resolve(course, learner, login=user, reason=reason, run_by=operator())
        path = options["learners"]
        return learners.write_affected(course, path, login=user, reason=reason, run_by=operator())
