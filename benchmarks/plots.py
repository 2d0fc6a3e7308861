"""
Cost against size, a plot each: ``python benchmarks/plots.py RESULT.json... [--into docs/images]``.

Give it the results of runs of several sizes (``bench.py --rows N --only import,reconcile,reads``); of two of one size
the later counts. Both axes are logarithmic: what costs the same for each pair is a level line.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # the project itself is what can be imported

from benchmarks import document, figures, names  # noqa: E402
from benchmarks.document import Document  # noqa: E402
from benchmarks.figures import Row  # noqa: E402

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 960, 380, 70, 400, 40, 45
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#8c564b", "#e377c2", "#17becf", "#bcbd22")
Series = dict[str, list[tuple[float, float]]]


def _cpu_a_pair(row: Row) -> float | None:
    spent = figures.cpu(row)
    return 1e6 * spent / row["pairs"] if spent and row.get("pairs") else None


#: The plots by file name: title, the groups whose rows are in it, and what is drawn of a row.
PLOTS: dict[str, tuple[str, tuple[str, ...], Callable[[Row], float | None]]] = {
    "cost-import.svg": ("Import: µs of CPU a row", ("import",), _cpu_a_pair),
    "cost-reconcile.svg": ("Reconcile: µs of CPU a pair", ("reconcile",), _cpu_a_pair),
    "cost-reads.svg": ("Rows read by one question", ("reads",), lambda row: row.get("rows_read")),
    "cost-memory.svg": (
        "Peak MB of a process",
        ("import", "reconcile"),
        lambda row: row.get("peak_mb") if row["way"] not in names.OTHERS else None,
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the plots that have something to show."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--into", type=Path, default=Path("docs/images"))
    options = parser.parse_args(arguments)
    results = [document.read(path) for path in options.results]
    options.into.mkdir(parents=True, exist_ok=True)
    for name, (title, groups, figure) in PLOTS.items():
        if found := series(results, groups, figure):
            (options.into / name).write_text(drawn(title, found), encoding="utf-8")
            print(options.into / name)
    return 0


def series(results: Iterable[Document], groups: Sequence[str], figure: Callable[[Row], float | None]) -> Series:
    """
    The points of each way that was measured at more than one size, where commits do not wait. What a run has measured
    over a smaller ledger beside its own is left out.
    """
    points: dict[str, dict[float, float]] = {}
    for result in results:
        for row in result["rows"]:
            drawn_here = row["group"] in groups and row["size"] == result["size"] and not row["durable"]
            if drawn_here and figures.is_sound(row) and (value := figure(row)):
                points.setdefault(row["way"], {})[row["size"]] = value
    return {way: sorted(found.items()) for way, found in points.items() if len(found) > 1}


def drawn(title: str, found: Series) -> str:
    """The plot as SVG."""
    xs = [x for points in found.values() for x, _ in points]
    ys = [y for points in found.values() for _, y in points]
    ticks = _ticks(ys)
    x_of, y_of = _scale(xs, LEFT, WIDTH - RIGHT), _scale(ticks, HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif"'
        ' font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="22" font-size="15">{escape(title)}</text>',
    ]
    for value in ticks:
        y = y_of(value)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:,g}</text>')
    parts += [
        f'<text x="{x_of(value):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{value:,.0f}</text>'
        for value in sorted(set(xs))
    ]
    parts.append(f'<text x="{LEFT}" y="{HEIGHT - 8}">rows</text>')
    for number, (way, points) in enumerate(found.items()):
        colour, y = COLOURS[number % len(COLOURS)], TOP + 20 * number
        path = " ".join(f"{x_of(x):.1f},{y_of(value):.1f}" for x, value in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x_of(x):.1f}" cy="{y_of(v):.1f}" r="3" fill="{colour}"/>' for x, v in points]
        parts.append(f'<text x="{WIDTH - RIGHT + 20}" y="{y + 4}" fill="{colour}">{escape(way)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _scale(values: Sequence[float], start: float, end: float) -> Callable[[float], float]:
    low, high = math.log10(min(values)), math.log10(max(values))
    span = (high - low) or 1.0
    return lambda value: start + (end - start) * (math.log10(value) - low) / span


def _ticks(values: Sequence[float]) -> list[float]:
    """1, 2 and 5 times the powers of ten, from the last one below all values to the first one above them."""
    low, high = min(values), max(values)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [factor * 10**power for power in powers for factor in (1, 2, 5)]
    first, last = max(tick for tick in ticks if tick <= low), min(tick for tick in ticks if tick >= high)
    return [tick for tick in ticks if first <= tick <= last]


if __name__ == "__main__":
    sys.exit(main())
