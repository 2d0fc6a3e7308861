"""Hostile text made safe to look at: what a terminal, a browser or a spreadsheet would act on shows as an escape."""

from __future__ import annotations

import re
from typing import Any

#: Where a spreadsheet may begin to read a cell: at its start, and after a semicolon where that is the delimiter.
_FORMULA = re.compile(r"""(^|;)([\s"'`]*)([=+\-@＝＋－＠])""")  # noqa: RUF001  (the wide forms are formulas too)


def printable(text: str, *, lines: bool = False) -> str:
    """
    ``text`` with everything that does not print (controls, bidi marks, surrogates, odd blanks) as Python's escapes.

    Args:
        text: anything.
        lines: leave line breaks and tabs as they are, for a message that is shown as a block.
    """
    if text.isprintable():
        return text
    kept = "\n\t" if lines else ""
    return "".join(
        char if char.isprintable() or char in kept else char.encode("unicode_escape").decode() for char in text
    )


def escaped(value: Any) -> Any:
    """Plain data with every text in it made visible, keys included."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {escaped(key): escaped(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [escaped(item) for item in value]
    return value


def csv_cell(value: Any) -> Any:
    """A value for a spreadsheet: a backslash stands before what would start a formula. Numbers stay numbers."""
    return _FORMULA.sub(r"\1\2\\\3", printable(value)) if isinstance(value, str) else value


def code_span(value: Any) -> str:
    """A value as a code span of Markdown, in a table or out of it: nothing in a code span is a link or markup."""
    # A table splits at a pipe even in code, and readers differ on a backslash before an escaped one.
    text = printable(str(value)).replace("\\|", "\\\\x7c").replace("|", "\\|")
    if not text.strip():
        return "–"  # noqa: RUF001
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    padding = " " if len(fence) > 1 else ""
    return f"{fence}{padding}{text}{padding}{fence}"


def columns(counts: dict[str, int]) -> list[str]:
    """Names and numbers in two columns, for a terminal."""
    width = max((len(name) for name in counts), default=0)
    return [f"  {name:<{width}}  {number:>7}" for name, number in counts.items()]
