"""What has to be found in the rows that ``legacy_rows.py`` makes: it is known from their kinds."""

from __future__ import annotations

from collections import Counter
from typing import Any

from benchmarks.legacy_rows import RETIRED, Kind, counts

_DIVERGED = {
    Kind.CORRECTNESS: "correctness",
    Kind.SCORE: "score",
    Kind.POINTS: "stored_points",
    Kind.INVALID_REPLY: "correctness",
    Kind.PAYLOAD: "payload",
    Kind.NO_TARGET: "presence",
    Kind.NO_LEGACY: "presence",
    Kind.GIVEN_UP: "state",
    Kind.LEAK: "fence_leak",
}
_KNOWN = {Kind.REPLACED_ON_TARGET: "superseded_on_target_only", Kind.COLLIDED: "collided_on_legacy_only"}
_OPEN = {Kind.WAITING: "waiting", Kind.OVERDUE: "overdue"}
#: Rows that a backfill leaves where they are, and that have no entry then.
LEFT_OUT = {Kind.MALFORMED: "malformed", Kind.OTHER_DISPATCH: "drain"}


def of_pairs(number: int, odd: float) -> dict[str, Any]:
    """What the document of a reconcile has to say of the pairs made of so many rows."""
    classes: Counter[str] = Counter()
    known: Counter[str] = Counter()
    status: Counter[str] = Counter()
    for kind, found in counts(number, odd).items():
        if kind in LEFT_OUT:
            continue
        status["of"] += found
        if kind in _DIVERGED:
            classes[_DIVERGED[kind]] += found
            status["diverged"] += found
        elif kind in _KNOWN:
            known[_KNOWN[kind]] += found
        else:
            status[_OPEN.get(kind, "equal")] += found
    totals = {name: status[name] for name in ("of", "equal", "diverged", "waiting", "overdue")}
    return totals | {"classes": dict(+classes), "known_differences": dict(+known)}


def of_import(number: int, odd: float) -> dict[str, int]:
    """What a backfill of all rows in flight has to say of their classes."""
    found = counts(number, odd)
    classes: Counter[str] = Counter()
    for kind, rows in found.items():
        if kind not in RETIRED:
            classes[LEFT_OUT.get(kind, "imported")] += rows
    return dict(+classes)
