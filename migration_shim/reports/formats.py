"""The renderers of a report by the name of the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from . import csv_report, html_report, json_report, markdown_report, text_report
from .report import Report

Renderer = Callable[[Report], Iterator[str]]

RENDERERS: dict[str, Renderer] = {
    ".json": json_report.render,
    ".html": html_report.render,
    ".csv": csv_report.render,
    ".md": markdown_report.render,
    ".txt": text_report.render,
}


def renderer_of(path: Path) -> Renderer:
    """
    Return the renderer of a file by its ending. A CSV's name may end in another table: ``report.problems.csv``.

    Raises:
        KeyError: the ending is no format.
    """
    kind = Path(path.stem).suffix.removeprefix(".") if path.suffix == ".csv" else ""
    return csv_report.renderer_of(kind) or RENDERERS[path.suffix]
