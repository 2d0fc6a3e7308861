"""The renderers of a report by the ending of the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from . import csv_report, html_report, json_report, markdown_report, text_report
from .report import Report

RENDERERS: dict[str, Callable[[Report], Iterator[str]]] = {
    ".json": json_report.render,
    ".html": html_report.render,
    ".csv": csv_report.render,
    ".md": markdown_report.render,
    ".txt": text_report.render,
}
