"""``xqueue_cutover``: move courses to another phase. The plan by default; ``--execute`` flips the flags."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from opaque_keys.edx.keys import CourseKey

from ...core.data import Document, ExitCode, Phase
from ...cutover import release, waves
from ...cutover import steps as cutover_steps
from ...ledger import counts, stamp
from ..command import ShimCommand, course_id, nonempty_text, operator, positive


class Command(ShimCommand):
    """Move a course to another phase, or many courses in waves."""

    help = (
        "Move a course one phase on or back, or to legacy from anywhere. Prints the plan; --execute flips both flags "
        "and records who, why and on what evidence. Several courses are a wave: the first is the canary, and the same "
        "command run again goes on where the wave stands."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        super().add_arguments(parser)
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument(
            "--course",
            type=course_id,
            action="append",
            metavar="ID",
            help="a course; may be repeated, the canary first",
        )
        which.add_argument("--org", metavar="ORG", help="every course of an organisation that the shim knows, by id")
        which.add_argument(
            "--file", type=Path, metavar="PATH", help="the courses of a file, one id a line; # begins a comment"
        )
        which.add_argument(
            "--adopt",
            metavar="HOST",
            help="no step: say that the ledger, stamped with another LMS's host, is now that of the LMS at HOST, which "
            "must be this one",
        )
        parser.add_argument("--to", type=Phase, choices=list(Phase), help="the phase to step to; not with --adopt")
        parser.add_argument("--reason", type=nonempty_text, required=True, metavar="TEXT", help="why, for the record")
        parser.add_argument("--user", metavar="NAME", help="the LMS user to sign the flags with")
        parser.add_argument(
            "--wave",
            type=positive,
            default=1,
            metavar="N",
            help="how many courses may be in flight: moved, and not shown healthy by a reconcile since (1)",
        )
        parser.add_argument(
            "--remove-shadows",
            action="store_true",
            help="with --to complete or --to legacy, for a course that is there: take its shadows off the target, "
            "files included, also those of an earlier installation",
        )
        parser.add_argument(
            "--release",
            action="store_true",
            help="with --to complete, for a course that is complete: turn on the platform's own flag "
            "send_to_submission_course.enable, past the shim; only in an LMS, and only if nothing of the course needs "
            "the watcher seam",
        )
        parser.add_argument(
            "--override",
            action="store_true",
            help="pass a gate that is not open, signed with --reason; it is printed on every report until it expires. "
            "With --release: accept what an operator may answer for",
        )
        parser.add_argument("--execute", action="store_true", help="take the step; without it only the plan is printed")

    def tolerates_complaints(self, options: dict[str, Any]) -> bool:
        """Return whether the call is a step back to legacy, which no complaint may hold up."""
        return self.is_way_back(options)

    def is_way_back(self, options: dict[str, Any]) -> bool:
        """Return whether the call is a step to legacy; the removal of shadows is not."""
        return options["to"] is Phase.LEGACY and not options["remove_shadows"]

    def document(self, *, to: Phase | None, reason: str, execute: bool, **options: Any) -> Document:
        """Return the plan, or what was done."""
        if (options["adopt"] is None) is (to is None):
            self.usage_error("--to goes with every step, and not with --adopt")
        if to is None:
            return stamp.adopt(options["adopt"], reason=reason, execute=execute, user=operator())
        courses = options["course"] or _courses_of(options["org"], options["file"])
        who = {"reason": reason, "execute": execute, "user": operator(), "login": options["user"]}
        last = options["release"] or options["remove_shadows"]
        ends = (Phase.COMPLETE,) if options["release"] else (Phase.COMPLETE, Phase.LEGACY)
        if last and (to not in ends or len(courses) > 1 or options["release"] == options["remove_shadows"]):
            raise CommandError(
                "--release and --remove-shadows go with --to complete (removal also with --to legacy), one of them and "
                "one course at a time",
                returncode=ExitCode.USAGE,
            )
        if options["remove_shadows"]:
            progress = self.progress("removing shadows")
            return cutover_steps.remove_shadows(courses[0], execute=execute, progress=progress)
        if options["release"]:
            return release.run(courses[0], override=options["override"], **who)
        if options["course"] and len(courses) == 1:
            return cutover_steps.run(courses[0], to, override=options["override"], **who)
        if options["override"]:
            self.usage_error(
                "--override is for one course, named with --course: it is signed for what holds that one up"
            )
        return waves.run(courses, to, limit=options["wave"], **who)


def _courses_of(org: str | None, file: Path | None) -> list[str]:
    """Return the courses of an organisation or of a file; raise ``CommandError`` if there are none."""
    if file is None:
        courses = [known for known in counts.known_courses() if CourseKey.from_string(known).org == org]
        if not courses:
            raise CommandError(f"The shim knows no course of {org!r}.", returncode=ExitCode.USAGE)
        return courses
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"--file: {file} cannot be read: {error}", returncode=ExitCode.USAGE) from error
    courses = []
    for number, line in enumerate(lines, 1):
        name = line.partition("#")[0].strip()
        try:
            courses += [course_id(name)] if name else []
        except argparse.ArgumentTypeError as error:
            raise CommandError(f"--file: line {number}: {error}", returncode=ExitCode.USAGE) from error
    if not courses:
        raise CommandError(f"--file: {file} names no course.", returncode=ExitCode.USAGE)
    return courses
