"""``xqueue_reconcile``: compare the outcomes of both systems."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from ... import reconcile
from ...comparison import linking
from ...core.data import Document, Grading
from ...ledger import counts
from ...reports import collect, json_report
from ...reports.formats import RENDERERS
from ..command import ShimCommand, course_id


def output_path(value: str) -> Path:
    """Parse a path in an existing folder, as an argparse type, so that a long run does not fail at its end."""
    path = Path(value)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {str(path.parent)!r}")
    return path


def report_path(value: str) -> Path:
    """Parse a path whose ending names a format of reports, as an argparse type."""
    path = output_path(value)
    if path.suffix not in RENDERERS:
        raise argparse.ArgumentTypeError(f"{value!r} does not end in {' or '.join(RENDERERS)}")
    return path


class Command(ShimCommand):
    """Compare outcome with outcome, and store the result of every pair."""

    help = (
        "Compare the outcomes of both systems, pair by pair, and store the results for the gate. The first run of a "
        "course looks at everything, later ones at what is open and what is new."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        super().add_arguments(parser)
        scope = parser.add_mutually_exclusive_group(required=True)
        scope.add_argument("--course", type=course_id, action="append", metavar="ID", help="a course; may be repeated")
        scope.add_argument("--all", action="store_true", help="every course that the shim knows")
        parser.add_argument(
            "--full", action="store_true", help="look at settled submissions too: both sides final for a while"
        )
        parser.add_argument(
            "--grading",
            type=Grading,
            choices=list(Grading),
            default=Grading.SHADOW,
            help="echo: give ungraded shadows legacy's own replies, imported history included (default shadow)",
        )
        parser.add_argument(
            "--relink",
            action="store_true",
            help="link every row of XQueue anew first: its database was made anew or restored, and ids are other rows'",
        )
        parser.add_argument("--workers", choices=("celery",), help="let the LMS's Celery workers do the comparing")
        parser.add_argument(
            "--report",
            type=report_path,
            action="append",
            default=[],
            metavar="PATH",
            help="write a report: .json, .html, .csv, .md or .txt; may be repeated",
        )
        parser.add_argument(
            "--divergences",
            type=output_path,
            metavar="PATH.jsonl",
            help="write every divergence, one JSON object a line",
        )
        parser.add_argument(
            "--include-content",
            action="store_true",
            help="put learners' answers and graders' messages into these files, which only their owner may read then",
        )

    def document(self, **options: Any) -> Document:
        """Return the comparison's document, after the reports asked for are written."""
        courses = options["course"] or counts.known_courses()
        content = options["include_content"]
        if options["relink"]:
            lost = linking.relink()
            self.stderr.write(f"All rows are linked anew; {lost} entries had a row that is not there any more.")
        wanted = bool(options["report"] or options["divergences"])  # else none is read
        # Divergences are kept in a file, not in memory: there may be very many, and every report reads them once.
        with tempfile.TemporaryFile("w+", encoding="utf-8") as kept:

            def keep(divergence: dict[str, Any]) -> None:
                kept.write(json.dumps(divergence) + "\n")

            def divergences() -> Iterator[dict[str, Any]]:
                kept.seek(0)
                yield from map(json.loads, kept)

            progress = self.progress("reconcile")
            answer = reconcile.run(
                courses,
                progress,
                keep if wanted else None,
                grading=options["grading"],
                full=options["full"],
                workers=options["workers"],
                tell=progress.tell,
            )
            if wanted:
                report = collect.gather(answer.content, divergences, include_content=content)
                for path in options["report"]:
                    _write(path, RENDERERS[path.suffix](report), private=content)
                if options["divergences"]:
                    _write(options["divergences"], json_report.lines(report), private=content)
        return answer


def _write(path: Path, chunks: Iterable[str], *, private: bool) -> None:
    """Write a file completely or not at all; an older report is never left half overwritten."""
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags, 0o600 if private else 0o666)

    try:
        with open(part, "w", encoding="utf-8", newline="", opener=opener) as file:
            file.writelines(chunks)
        part.replace(path)
    except OSError as error:
        error.filename = str(path)  # a full disk's error names no file
        raise
