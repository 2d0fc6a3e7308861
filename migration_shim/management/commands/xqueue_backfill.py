"""``xqueue_backfill``: import legacy rows. The plan by default; ``--execute`` writes."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from ... import api
from ...data import Document
from ..command import ShimCommand, course_id, positive


class Command(ShimCommand):
    """Import in-flight legacy rows as fenced shadows on the target."""

    help = (
        "Import in-flight legacy rows as fenced shadows on the target. Prints the plan; --execute writes. Running it "
        "again writes only what is missing. The modes handoff and return are not there yet."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Options."""
        super().add_arguments(parser)
        parser.add_argument("--mode", choices=("shadow",), required=True, help="what to make of the rows")
        scope = parser.add_mutually_exclusive_group(required=True)
        scope.add_argument("--course", type=course_id, action="append", metavar="ID", help="a course; may be repeated")
        scope.add_argument("--queue", action="append", metavar="NAME", help="a queue; may be repeated")
        scope.add_argument("--all", action="store_true", help="all courses and queues")
        parser.add_argument("--history", action="store_true", help="import graded rows as well, to the echo queues")
        parser.add_argument(
            "--per-problem", type=positive, default=200, metavar="N", help="with --history: graded rows a problem (200)"
        )
        parser.add_argument("--unsampled", action="store_true", help="import learners that sampling leaves out, too")
        parser.add_argument("--execute", action="store_true", help="write; without it only the plan is printed")
        parser.add_argument("--batch-size", type=positive, default=200, metavar="N", help="rows a transaction (200)")
        parser.add_argument("--limit", type=positive, metavar="N", help="stop after this many rows")
        parser.add_argument("--restart", action="store_true", help="ignore the checkpoint of an interrupted run")

    def document(self, **options: Any) -> Document:
        """The classes of all rows read."""
        request = api.BackfillRequest(
            courses=frozenset(options["course"]) if options["course"] else None,
            queues=frozenset(options["queue"]) if options["queue"] else None,
            history=options["history"],
            unsampled=options["unsampled"],
            per_problem=options["per_problem"],
            execute=options["execute"],
            batch_size=options["batch_size"],
            limit=options["limit"],
            restart=options["restart"],
        )
        return api.backfill(request, self.progress("backfill"))
