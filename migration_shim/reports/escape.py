"""Escapes that make hostile text safe to show: what a terminal, browser or spreadsheet would act on becomes visible."""

from __future__ import annotations

import re
from typing import Any

#: Where a spreadsheet may begin to read a cell: at its start, and after a semicolon where that is the delimiter.
_FORMULA = re.compile(r"""(^|;)([\s"'`]*)([=+\-@＝＋－＠])""")  # noqa: RUF001  (the wide forms are formulas too)


def printable(text: str, *, lines: bool = False) -> str:
    """
    Return a text with all that does not print (controls, bidi marks, surrogates, odd blanks) as Python's escapes.

    Args:
        text: any text.
        lines: keep line breaks and tabs, for a text that is shown as a block.
    """
    if text.isprintable():
        return text
    kept = "\n\t" if lines else ""
    return "".join(
        char if char.isprintable() or char in kept else char.encode("unicode_escape").decode() for char in text
    )


def escaped(value: Any) -> Any:
    """Return plain data with every text in it made printable, keys included."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {escaped(key): escaped(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [escaped(item) for item in value]
    return value


def csv_cell(value: Any) -> Any:
    """Return a value for a spreadsheet: a backslash before what would start a formula. Numbers stay numbers."""
    return _FORMULA.sub(r"\1\2\\\3", printable(value)) if isinstance(value, str) else value


def code_span(value: Any) -> str:
    """Return a value as a Markdown code span, safe inside tables too: nothing in it is taken for markup."""
    # A table splits at a pipe even in code, and readers differ on a backslash before an escaped one.
    text = printable(str(value)).replace("\\|", "\\\\x7c").replace("|", "\\|")
    if not text.strip():
        return "–"  # noqa: RUF001
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    padding = " " if len(fence) > 1 else ""
    return f"{fence}{padding}{text}{padding}{fence}"


def columns(counts: dict[str, int]) -> list[str]:
    """Return names and numbers as lines of two columns, for a terminal."""
    width = max((len(name) for name in counts), default=0)
    return [f"  {name:<{width}}  {number:>7}" for name, number in counts.items()]
