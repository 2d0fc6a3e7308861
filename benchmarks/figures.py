"""One row of a result: what it took, whether it counts, its multiple, and its figures as people read them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benchmarks import names

#: What a row is known by, from one run to another.
KEY = ("group", "way", "size", "durable")
Row = dict[str, Any]


def cpu(row: Row) -> float | None:
    """CPU seconds of client and server together, where both are known."""
    if row.get("client_cpu") is None or row.get("server_cpu") is None:
        return None
    return row["client_cpu"] + row["server_cpu"]


def is_sound(row: Row) -> bool:
    """Whether the way came to its end with the right result."""
    return not row.get("failed") and not row.get("wrong")


def is_absent(row: Row) -> bool:
    """Whether a way could not be run here for want of its library, which is no failure."""
    return row.get("failed", "").startswith(names.ABSENT)


def multiple(row: Row, rows: Iterable[Row]) -> float | None:
    """What a row takes, in what the unit of its group takes at the same size on the same server."""
    found = {other["way"]: other for other in rows if all(other[name] == row[name] for name in KEY if name != "way")}
    name = names.UNIT.get(row["group"], "")
    if row["group"] == "pullers":
        name = f"{names.UPSTREAM}, {row['way'].partition(', ')[2]}"
    unit = found.get(name)
    if unit is None or not (is_sound(unit) and is_sound(row)):
        return None
    mine, its = _taken(row), _taken(unit)
    return round(mine / its, 3) if mine is not None and its else None


def _taken(row: Row) -> float | None:
    """What is compared in a group: a median, a speed, or the CPU of a pair, where it is known how many pairs."""
    if row["group"] in ("submit", "pullers"):
        return row.get("median_ms") if row["group"] == "submit" else row.get("per_second")
    spent = cpu(row)
    return spent / (row.get("pairs") or row["size"] or 1) if spent is not None else None


def figure(value: float | None) -> str:
    """A number for a cell."""
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3g}" if value < 100 else f"{value:,.0f}"


def cell(text: str) -> str:
    """A text for a cell."""
    return text.replace("|", "\\|").replace("\n", " ")
