"""``xqueue_reconcile``: compare the outcomes of both systems."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from ... import reconcile
from ...comparison import linking
from ...core.data import Document, Grading
from ...models import Run
from ...reports import collect, csv_report, files, json_report, since
from ...reports.formats import RENDERERS, renderer_of
from .. import selection, several
from ..command import ShimCommand

#: Of more courses than these the text has a line each, unless it is asked for more.
FEW = 5


def output_path(value: str) -> Path:
    """Parse a path in an existing folder, as an argparse type, so that a long run does not fail at its end."""
    path = Path(value)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {str(path.parent)!r}")
    return path


def run_id(value: str) -> str:
    """Parse a run's id, or ``last``, as an argparse type."""
    if value != since.LAST and not (value.isascii() and value.isdigit() and len(value) < 19):
        raise argparse.ArgumentTypeError(f"{value!r} is neither a run's id nor {since.LAST!r}")
    return value


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
        selection.add_arguments(parser, everything="every course that the shim has on record")
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
            help="write a report: .json, .html, .csv (every divergence), .md or .txt; may be repeated. Others by "
            f"name, as PATH.KIND.csv: KIND is one of {', '.join(csv_report.KINDS)}",
        )
        parser.add_argument(
            "--divergences",
            type=output_path,
            metavar="PATH.jsonl",
            help="write every divergence, one JSON object a line",
        )
        parser.add_argument(
            "--since",
            type=run_id,
            metavar="RUN",
            help="say what has changed since an earlier complete reconcile: its run id (of one course), or last",
        )
        parser.add_argument(
            "--verbose",
            action="store_true",
            help=f"print all there is on each course; of more than {FEW} the text has a line each else",
        )
        parser.add_argument(
            "--include-content",
            action="store_true",
            help="put learners' answers and graders' messages into these files, which only their owner may read then",
        )

    def document(self, **options: Any) -> Document:
        """Return the comparison's document, after the reports asked for are written."""
        courses = self.courses(options, begun=True)
        if not courses and options["state"]:
            return several.nobody(options)
        content = options["include_content"]
        bases = self._bases(courses, options["since"])
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
            if bases:
                changed = [
                    since.changes(base, course)
                    for course in answer.content["courses"]
                    if (base := bases[course["course"]]) is not None
                ]
                answer = Document(content={**answer.content, "since": changed}, exit_code=answer.exit_code)
            if wanted:
                report = collect.gather(answer.content, divergences, include_content=content)
                for path in options["report"]:
                    files.write(path, renderer_of(path)(report), private=content)
                if options["divergences"]:
                    files.write(options["divergences"], json_report.lines(report), private=content)
        if options["format"] == "text" and not options["verbose"] and len(answer.content["courses"]) > FEW:
            return Document(content=answer.content | {"brief": True}, exit_code=answer.exit_code)
        return answer

    def _bases(self, courses: list[str], wanted: str | None) -> dict[str, Run | None]:
        """Return by course the run that ``--since`` names; nothing without it. Asked before this run begins."""
        if wanted is None:
            return {}
        if wanted != since.LAST and len(courses) != 1:
            self.usage_error("--since RUN is a run of one course: name that course alone, or use --since last")
        return {course: since.base_of(course, wanted) for course in courses}
