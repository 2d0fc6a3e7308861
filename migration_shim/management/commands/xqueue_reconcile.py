"""``xqueue_reconcile``: compare the outcomes of both systems."""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from ... import api
from ...data import Document, Grading
from ...reports import text
from ..command import ShimCommand, course_id

_RENDERERS = {".json": lambda content: json.dumps(content, indent=2), ".txt": text.render}


def output_path(value: str) -> Path:
    """An argparse type: a path in a folder that is there; else an hour's run would end in nothing."""
    path = Path(value)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {str(path.parent)!r}")
    return path


def report_path(value: str) -> Path:
    """An argparse type: a path whose ending picks a format that is there."""
    path = output_path(value)
    if path.suffix not in _RENDERERS:
        raise argparse.ArgumentTypeError(f"{value!r} does not end in {' or '.join(_RENDERERS)}")
    return path


class Command(ShimCommand):
    """Compare outcome with outcome, and store the result of every pair."""

    help = (
        "Compare the outcomes of both systems, pair by pair, and store the results for the gate. Every run is a full "
        "one; incremental runs and reports in HTML, CSV and Markdown are not there yet."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Options."""
        super().add_arguments(parser)
        scope = parser.add_mutually_exclusive_group(required=True)
        scope.add_argument("--course", type=course_id, action="append", metavar="ID", help="a course; may be repeated")
        scope.add_argument("--all", action="store_true", help="every course that the shim knows")
        parser.add_argument(
            "--grading",
            type=Grading,
            choices=list(Grading),
            default=Grading.SHADOW,
            help="echo: give ungraded shadows legacy's own replies, imported history included (default shadow)",
        )
        parser.add_argument(
            "--report",
            type=report_path,
            action="append",
            default=[],
            metavar="PATH",
            help="write a report: .json or .txt",
        )
        parser.add_argument(
            "--divergences",
            type=output_path,
            metavar="PATH.jsonl",
            help="write every divergence, one JSON object a line",
        )

    def document(self, **options: Any) -> Document:
        """The comparison."""
        courses = options["course"] or api.known_courses()
        with ExitStack() as stack:
            lines = None
            if options["divergences"] is not None:
                lines = stack.enter_context(options["divergences"].open("w", encoding="utf-8"))

            def keep(divergence: dict[str, Any]) -> None:
                if lines is not None:
                    lines.write(json.dumps(divergence) + "\n")

            answer = api.reconcile(courses, self.progress("reconcile"), keep, grading=options["grading"])
        for path in options["report"]:
            path.write_text(_RENDERERS[path.suffix](answer.content) + "\n", encoding="utf-8")
        return answer
