"""``xqueue_status``: where every course stands."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from ... import api
from ...data import Document
from ..command import ShimCommand, course_id


class Command(ShimCommand):
    """Print phase, drift, copies, last runs and verdict of courses, and the state of the site."""

    help = (
        "Where every course stands: phase, drift, permit, in-flight rows, copies, last runs, verdict; and breakers. "
        "--watch is not there yet."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Options."""
        super().add_arguments(parser)
        parser.add_argument("--course", type=course_id, action="append", metavar="ID", help="a course; may be repeated")
        parser.add_argument(
            "--watcher-config",
            action="store_true",
            help="print the entries of conf.d and xqueue_servers.json that serve all queues of the courses, and the "
            "XQUEUES lines",
        )

    def document(self, *, course: list[str] | None, watcher_config: bool, **options: Any) -> Document:
        """The status."""
        return api.status(course or api.known_courses(), watcher_config=watcher_config)
