"""Which renderer writes which kind of file."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from . import machine, markdown, page, plain, table
from .report import Report

RENDERERS: dict[str, Callable[[Report], Iterator[str]]] = {
    ".json": machine.render,
    ".html": page.render,
    ".csv": table.render,
    ".md": markdown.render,
    ".txt": plain.render,
}
