"""Many courses as a table for a terminal: worst first, a row each and at most one line behind it."""

from __future__ import annotations

import re
import shutil
import textwrap
import unicodedata
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..core.attention import age
from ..core.documents.cutover import Side
from ..core.documents.status import StatusDocument
from ..core.documents.status_judgement import CourseStatus
from ..core.evidence import Cause
from .course_words import ago, in_force, missing, reason_of, shortened, word_of
from .escape import printable

#: Columns where there is no terminal to ask, as in a pipe.
WIDTH = 80
#: The column of reasons is not made narrower for more columns.
_REASON = 48
_INDENT = "    "
_MORE = "…"
#: A line that is a command with options, alone or behind a label such as ``Next:`` and ``way back:``.
_COMMAND = re.compile(r"(?:[^:]*: +|[ >]*)xqueue_[a-z]+(?: [^ -]\S*){0,2} --")


class _Column(NamedTuple):
    """A column of the table: its head, its cells, and how wide it may be."""

    head: str
    cells: list[str]
    most: int

    @property
    def width(self) -> int:
        return min(max(map(_width, (self.head, *self.cells))), self.most)


def terminal_width() -> int | None:
    """Return how many columns the terminal has, or what COLUMNS says; None where there is none, as in a pipe."""
    columns = shutil.get_terminal_size(fallback=(0, 0)).columns
    return max(columns, 40) if columns else None


def fitted(lines: Iterable[str]) -> list[str]:
    """Return lines broken between words to fit the terminal, commands too; as they are where there is none."""
    width = terminal_width()
    if width is None:
        return list(lines)
    return [part for line in lines for part in _broken(printable(line), width)]


def one_line(line: str) -> str:
    """Return a text cut to one line of the terminal; whole where there is none."""
    width, line = terminal_width(), printable(line)
    return line if width is None else _cut(line, width)


def _broken(line: str, width: int) -> list[str]:
    indent = line[: len(line) - len(line.lstrip())]
    if _width(line) <= width:
        return [line]
    # A command is copied, so it is broken as a shell reads it. No word is broken: a terminal does where it must.
    more = " \\" if _COMMAND.match(line) else ""
    *parts, last = textwrap.wrap(
        line,
        width - len(more),
        subsequent_indent=indent + "  ",
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    )
    return [*(part + more for part in parts), last]


def table(content: StatusDocument) -> list[str]:
    """
    Return the table: course, phase, cause and the first reason, and more columns where the terminal has room.

    The line behind a row has what is missing, the permit or override in force, and the next command. No line is wider
    than the terminal.
    """
    width, at = terminal_width() or WIDTH, content["at"]
    courses = sorted(content["courses"], key=lambda course: course["rank"])
    columns = _columns(courses, at, readable=content["legacy_readable"], width=width)
    rows = []
    for place, course in enumerate([None, *courses]):
        cells = [column.head if course is None else column.cells[place - 1] for column in columns]
        line = "  ".join(_cell(cell, column.width) for cell, column in zip(cells, columns, strict=True))
        first, *rest = _wrapped("why" if course is None else _why(course, at), width - _width(line) - 2)
        rows.append(_cut(f"{line}  {first}", width))
        rows += [_cut(" " * (_width(line) + 2) + part, width) for part in rest]
        if course is not None:
            rows += _behind(course, at, width)
    legend = "> begins the next command. xqueue_status --course NAME shows all there is on one course."
    return [*rows, "", *textwrap.wrap(legend, width)]


def _columns(courses: list[CourseStatus], at: str, *, readable: bool, width: int) -> list[_Column]:
    """Return the columns before the reasons: the first three, and as many more as there is room for."""
    columns = [
        _Column(
            "course", [printable(course["short"].removeprefix("course-v1:")) for course in courses], max(width // 4, 12)
        ),
        _Column("phase", [course["phase"] for course in courses], 8),
        _Column("cause", [word_of(course["word"]) for course in courses], 16),
    ]
    more = [
        _Column("since", [ago(course["since"], at) if course["since"] else "" for course in courses], 12),
        _Column("judged", [ago(course["judged_at"], at) for course in courses], 12),
        _Column("on legacy", [_held(course, "legacy") if readable else "?" for course in courses], 14),
        _Column("on target", [_held(course, "target") for course in courses], 14),
    ]
    for column in more:
        if sum(taken.width + 2 for taken in (*columns, column)) + _REASON > width:
            break
        columns.append(column)
    return columns


def _held(course: CourseStatus, side: Side) -> str:
    """Return how many rows one side holds, and the age of the oldest."""
    rows = sum((course["in_flight"][side] or {}).values())
    oldest = (course["in_flight_oldest_seconds"][side] or {}).values()
    return f"{rows} ({age(max(oldest))})" if rows else "0"


def _wrapped(reason: str, room: int) -> list[str]:
    """Return a reason in its column, in two lines at most; the course's own screen has what is cut off."""
    parts = textwrap.wrap(printable(reason), max(room, 10)) or [""]
    return parts if len(parts) <= 2 else [parts[0], _cut(" ".join(parts[1:]), max(room, 10))]


def _why(course: CourseStatus, at: str) -> str:
    """Return the first reason. Of a course that only lacks pairs that is how many, and when they will be there."""
    wanted = missing(course, at) if course["word"] == Cause.NEEDS_PAIRS else ""
    return f"needs {wanted}" if wanted else reason_of(course)


def _behind(course: CourseStatus, at: str, width: int) -> Iterator[str]:
    """Yield the line behind a course's row, or two where the command has no room left on the first; none if empty."""
    wanted = missing(course, at) if course["word"] != Cause.NEEDS_PAIRS else ""
    said = "; ".join([*([f"needs {wanted}"] if wanted else []), *in_force(course)])
    command = printable(shortened(course["next"], course))
    if command and _width(_INDENT + "> " + command) > width:
        command = ""  # half a command is worse than none; the course's own screen has it
    together = "  ".join(part for part in (printable(said), f"> {command}" if command else "") if part)
    if together and _width(_INDENT + together) <= width:
        yield _INDENT + together
        return
    if said:
        yield _cut(_INDENT + printable(said), width)
    if command:
        yield f"{_INDENT}> {command}"


def _cell(text: str, width: int) -> str:
    cut = _cut(text, width)
    return cut + " " * (width - _width(cut))


def _cut(text: str, width: int) -> str:
    """Return a text that is no wider than ``width`` on a terminal, without blanks at its end where it is cut."""
    if _width(text) <= width:
        return text.rstrip() if text.endswith(" ") else text
    kept, room = "", width - 1
    for char in text:
        room -= _width(char)
        if room < 0:
            break
        kept += char
    return kept.rstrip() + _MORE


def _width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )
