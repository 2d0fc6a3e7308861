"""Which courses a command is about: ``--course`` (repeatable), ``--org`` and ``--file``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from opaque_keys.edx.keys import CourseKey

from ..core.data import ExitCode
from ..ledger import counts
from .command import course_id


def add_arguments(parser: CommandParser) -> None:
    """Add the options that choose courses."""
    parser.add_argument(
        "--course", type=course_id, action="append", metavar="ID", help="a course; may be repeated, the canary first"
    )
    parser.add_argument("--org", metavar="ORG", help="every course of an organisation that the shim knows, by id")
    parser.add_argument(
        "--file", type=Path, metavar="PATH", help="the courses of a file, one id a line; # begins a comment"
    )


def courses(options: dict[str, Any]) -> list[str]:
    """
    Return the courses that the options choose, each once, in the order in which they are named.

    Raises:
        CommandError: they choose none, or a file cannot be read.
    """
    found = list(options["course"] or ())
    if options["org"] is not None:
        found += [known for known in counts.known_courses() if CourseKey.from_string(known).org == options["org"]]
    if options["file"] is not None:
        found += _of_file(options["file"])
    if not found:
        raise CommandError("No course is chosen.", returncode=ExitCode.USAGE)
    return list(dict.fromkeys(found))


def _of_file(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"--file: {file} cannot be read: {error}", returncode=ExitCode.USAGE) from error
    found = []
    for number, line in enumerate(lines, 1):
        name = line.partition("#")[0].strip()
        try:
            found += [course_id(name)] if name else []
        except argparse.ArgumentTypeError as error:
            raise CommandError(f"--file: line {number}: {error}", returncode=ExitCode.USAGE) from error
    return found
