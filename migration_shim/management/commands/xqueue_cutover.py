"""``xqueue_cutover``: move courses to another phase. The plan by default; ``--execute`` flips the flags."""

from __future__ import annotations

import functools
from typing import Any

from django.core.management.base import CommandError, CommandParser

from ...core.data import Document, ExitCode, Phase
from ...cutover import forget as forgetting
from ...cutover import release, waves
from ...cutover import steps as cutover_steps
from ...ledger import stamp
from .. import passing_a_gate, selection, several
from ..command import ShimCommand, nonempty_text, operator, phase_among, positive


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
        selection.add_arguments(parser)
        parser.add_argument(
            "--adopt",
            metavar="HOST",
            help="no step: say that the ledger, stamped with another LMS's host, is now that of the LMS at HOST, which "
            "must be this one",
        )
        parser.add_argument(
            "--forget",
            action="store_true",
            help="no step: remove the record of one course that never had a submission, a run that has seen one, or a "
            "flag on; a mistyped id, as a rule",
        )
        parser.add_argument(
            "--to",
            type=phase_among(Phase),
            choices=list(Phase),  # never refused here: argparse would show them as Python does
            metavar=f"{{{','.join(Phase)}}}",
            help="the phase to step to; not with --adopt or --forget",
        )
        parser.add_argument("--reason", type=nonempty_text, required=True, metavar="TEXT", help="why, for the record")
        parser.add_argument("--user", metavar="NAME", help="the LMS user to sign the flags and an override with")
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
        passing_a_gate.add_arguments(parser)
        parser.add_argument("--execute", action="store_true", help="take the step; without it only the plan is printed")

    def tolerates_complaints(self, options: dict[str, Any]) -> bool:
        """Return whether the call is a step back to legacy, which no complaint may hold up."""
        return self.is_way_back(options)

    def is_way_back(self, options: dict[str, Any]) -> bool:
        """Return whether the call is a step to legacy; the removal of shadows is not."""
        return options["to"] is Phase.LEGACY and not options["remove_shadows"]

    def document(self, *, to: Phase | None, reason: str, execute: bool, **options: Any) -> Document:
        """Return the plan, or what was done."""
        self._refuse_contradictions(options, to)
        if options["adopt"] is not None:
            return stamp.adopt(options["adopt"], reason=reason, execute=execute, user=operator())
        left_out: list[str] | None = [] if self.is_way_back(options | {"to": to}) else None
        courses = self.courses(options, left_out=left_out)
        if left_out:  # the others go back all the same
            self.stderr.write("\n".join(left_out))
            answer = self._step(courses, to, reason=reason, execute=execute, **options)
            return Document(content=answer.content, exit_code=answer.exit_code | ExitCode.ERROR)
        return self._step(courses, to, reason=reason, execute=execute, **options)

    def _step(self, courses: list[str], to: Phase | None, *, reason: str, execute: bool, **options: Any) -> Document:
        if not courses:
            return several.nobody(options)
        one = selection.is_one(options, courses)
        if said := passing_a_gate.refusal(options, one=one):
            self.usage_error(said)
        if to is None:
            if not one:
                self.usage_error("--forget goes with one --course")
            return forgetting.forget(courses[0], reason=reason, execute=execute, user=operator())
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
            releasing = functools.partial(release.run, courses[0], **who)
            return passing_a_gate.taken(self, releasing, options, execute=execute)
        if one:
            run = functools.partial(cutover_steps.run, courses[0], to, **who)
            return passing_a_gate.taken(self, run, options, execute=execute)
        return waves.run(courses, to, limit=options["wave"], **who)

    def _refuse_contradictions(self, options: dict[str, Any], to: Phase | None) -> None:
        """End with a usage error unless the call is one step, one adoption or one removal of a record."""
        what = [to is not None, options["adopt"] is not None, options["forget"]]
        if sum(what) != 1:
            self.usage_error("--to goes with every step, and not with --adopt or --forget")
        if options["adopt"] is not None and selection.is_named(options):
            self.usage_error("--adopt is about the whole ledger: name no course with it")
        if to is None and (options["release"] or options["remove_shadows"] or options["override"]):
            self.usage_error("--release, --remove-shadows and --override go with --to")
