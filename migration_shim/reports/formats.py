"""Which renderer writes which kind of file."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from . import csv_report, json_report, markdown, text_report
from . import html as reports_html
from .report import Report

RENDERERS: dict[str, Callable[[Report], Iterator[str]]] = {
    ".json": json_report.render,
    ".html": reports_html.render,
    ".csv": csv_report.render,
    ".md": markdown.render,
    ".txt": text_report.render,
}
