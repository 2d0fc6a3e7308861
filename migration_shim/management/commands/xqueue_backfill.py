"""``xqueue_backfill``: import legacy rows, or move what is in flight. The plan by default; ``--execute`` writes."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from ...backfill.request import Mode, Request
from ...backfill.start import start
from ...core.data import Document
from .. import selection, several
from ..command import ShimCommand, positive

#: Options of ``--mode shadow`` only.
_SHADOW_ONLY = ("history", "per_problem", "collided", "unsampled", "workers")


class Command(ShimCommand):
    """Import in-flight legacy rows as fenced shadows on the target, or move them between the systems."""

    help = (
        "shadow: import in-flight legacy rows as fenced shadows on the target. handoff: move them to the target for "
        "real. return: move in-flight target rows back to legacy. Prints the plan; --execute writes. A run that was "
        "stopped (SIGINT, SIGTERM, the kill switch, --limit) goes on where it was when it is run again; running a "
        "finished one again does only what is missing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        super().add_arguments(parser)
        parser.add_argument("--mode", choices=[mode.value for mode in Mode], required=True, help="what to do")
        selection.add_arguments(parser, queue=False, everything="all courses and queues")
        parser.add_argument(
            "--queue", action="append", metavar="NAME", help="the rows of a queue, of whatever course; may be repeated"
        )
        parser.add_argument("--history", action="store_true", help="import graded rows as well, to the echo queues")
        parser.add_argument(
            "--per-problem", type=positive, metavar="N", help="with --history: the newest N graded rows a problem (200)"
        )
        parser.add_argument(
            "--collided", action="store_true", help="import rows that XQueue retired for another input or problem, too"
        )
        parser.add_argument("--unsampled", action="store_true", help="import learners that sampling leaves out, too")
        parser.add_argument("--execute", action="store_true", help="write; without it only the plan is printed")
        parser.add_argument(
            "--batch-size", type=positive, metavar="N", help="rows a transaction (default: a tenth of a second's work)"
        )
        parser.add_argument("--limit", type=positive, metavar="N", help="stop after this many rows")
        parser.add_argument("--restart", action="store_true", help="ignore the checkpoint of an interrupted run")
        parser.add_argument(
            "--wait-drain", action="store_true", help="with --mode handoff: go on until legacy holds nothing in flight"
        )
        parser.add_argument("--workers", choices=("celery",), help="let the LMS's Celery workers do the writing")

    def tolerates_complaints(self, options: dict[str, Any]) -> bool:
        """Return whether rows are returned to legacy, which no complaint may hold up."""
        return options["mode"] == Mode.RETURN

    def document(self, **options: Any) -> Document:
        """Return what became of all rows read."""
        if problem := _contradiction(options):
            self.usage_error(problem)
        courses = self._courses(options)
        if courses is not None and not courses:
            return several.nobody(options)
        request = Request(
            mode=Mode(options["mode"]),
            courses=courses,
            queues=frozenset(options["queue"]) if options["queue"] else None,
            history=options["history"],
            collided=options["collided"],
            unsampled=options["unsampled"],
            per_problem=options["per_problem"] or 200,
            execute=options["execute"],
            batch_size=options["batch_size"],
            limit=options["limit"],
            restart=options["restart"],
            wait_drain=options["wait_drain"],
            workers=options["workers"],
        )
        progress = self.progress(request.mode.value)
        return start(request, progress, progress.tell)

    def _courses(self, options: dict[str, Any]) -> frozenset[str] | None:
        """Return the courses whose rows are meant; None for all, of which some queues may be meant."""
        named = [name for name in ("course", "org", "file") if options[name]]
        scopes = bool(options["all"]) + bool(options["queue"]) + bool(named)
        if scopes > 1 or (options["queue"] and options["state"]):
            self.usage_error("--all, --queue and what names courses do not go together")
        if not scopes and not options["state"]:
            self.usage_error("one of --course, --org, --file, --state, --queue and --all is required")
        if (options["all"] or options["queue"]) and not options["state"]:
            return None
        return frozenset(self.courses({**options, "queue": None}))


def _contradiction(options: dict[str, Any]) -> str:
    """Return which options contradict each other, in words; empty if none do."""
    mode = Mode(options["mode"])
    for name in _SHADOW_ONLY:
        if options[name] and mode is not Mode.SHADOW:
            return f"--{name.replace('_', '-')} goes with --mode shadow only"
    if options["wait_drain"] and mode is not Mode.HANDOFF:
        return "--wait-drain goes with --mode handoff only"
    if options["per_problem"] and not options["history"]:
        return "--per-problem goes with --history only"
    if options["limit"] and options["workers"]:
        return "--limit does not go with --workers: nobody counts rows across the workers"
    if options["limit"] and options["wait_drain"]:
        return "--limit does not go with --wait-drain"
    return ""
