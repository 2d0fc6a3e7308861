"""
Compare the results of two runs: ``python benchmarks/compare.py OLD.json NEW.json``. Markdown on stdout.

Multiples are what can be compared: each is of its own run's unit. Rows read, statements and peak memory are told as
they are; seconds are not, for no two runs have the same machine to themselves.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # the project itself is what can be imported

from benchmarks import document, figures  # noqa: E402
from benchmarks.document import Document  # noqa: E402
from benchmarks.figures import Row, figure  # noqa: E402

_FIGURES = (("statements", "statements"), ("rows read", "rows_read"), ("peak MB", "peak_mb"), ("faults", "faults"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the comparison. Exit code 1: one of the files is no result of a run."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    options = parser.parse_args(arguments)
    try:
        old, new = (document.read(path) for path in (options.old, options.new))
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(compared(old, new))
    return 0


def compared(old: Document, new: Document) -> str:
    """Both runs way by way, and goal by goal."""
    lines = [f"{one['at'][:10]}, version {one['version']}, {one['machine']['processor']}" for one in (old, new)]
    lines = [f"Old: {lines[0]}. New: {lines[1]}.", ""]
    titles = ("times", *(title for title, _ in _FIGURES))
    lines += [f"| way | rows | durable | {' | '.join(titles)} |", "|---|---:|---|" + "---:|" * len(titles)]
    before, after = _by_key(old), _by_key(new)
    for key in dict.fromkeys((*before, *after)):
        lines.append(_line(before.get(key), after.get(key), old, new))
    lines += ["", "| goal | rows | durable | old | new |", "|---|---:|---|---|---|"]
    then, now = _goals(old), _goals(new)
    for key in dict.fromkeys((*then, *now)):
        text, size, durable = key
        lines.append(f"| {text} | {size or '-'} | {_yes(durable)} | {_met(then.get(key))} | {_met(now.get(key))} |")
    return "\n".join(lines)


def _by_key(found: Document) -> dict[tuple, Row]:
    return {tuple(row[name] for name in figures.KEY): row for row in found["rows"]}


def _line(old: Row | None, new: Row | None, before: Document, after: Document) -> str:
    here = new or old
    name = f"| {here['group']}: {here['way']} | {here['size'] or '-'} | {_yes(here['durable'])} |"
    for row, which in ((old, "old"), (new, "new")):
        if row is None or not figures.is_sound(row):
            why = "not run" if row is None else row.get("failed") or f"wrong: {row['wrong']}"
            return f"{name} {which}: {figures.cell(why)} |" + " |" * len(_FIGURES)
    cells = [_change(figures.multiple(old, before["rows"]), figures.multiple(new, after["rows"]))]
    cells += [_change(old.get(key), new.get(key)) for _, key in _FIGURES]
    return f"{name} {' | '.join(cells)} |"


def _change(old: float | None, new: float | None) -> str:
    """Both values, and by how many percent the second differs."""
    if old is None and new is None:
        return "-"
    text = figure(old) if old == new else f"{figure(old)} → {figure(new)}"
    return f"{text} ({100 * (new - old) / old:+.0f} %)" if old and new is not None and old != new else text


def _goals(found: Document) -> dict[tuple, Row]:
    return {(goal["text"], goal["size"], goal["durable"]): goal for goal in found["goals"]}


def _met(goal: Row | None) -> str:
    if goal is None:
        return "not judged"
    return f"{figure(goal['value'])}, {'met' if goal['met'] else '**missed**'}"


def _yes(durable: bool) -> str:
    return "yes" if durable else "no"


if __name__ == "__main__":
    sys.exit(main())
