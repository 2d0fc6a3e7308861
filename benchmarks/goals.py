"""What is wanted of the app, as data in one place: each goal with its text, its bound and how it is worked out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from benchmarks import names

Row = dict[str, Any]
#: The fewest rows that the goals are meant for.
WHOLE = 200_000


class Unknown(Exception):
    """A figure that a goal needs is not there: not run, failed, or wrong. A goal without it is not judged."""


class Rows:
    """The rows of one size on one server, by way; figures of a row that failed or is wrong are unknown."""

    def __init__(self, rows: Iterable[Row], smaller: Iterable[Row] = ()) -> None:
        self.rows = {row["way"]: row for row in rows}
        #: The same of a smaller size, for what must not grow.
        self.smaller = {row["way"]: row for row in smaller}

    def figure(self, way: str, name: str, *, smaller: bool = False) -> float:
        """
        One figure of one way.

        Raises:
            Unknown: it is not there.
        """
        row = (self.smaller if smaller else self.rows).get(way)
        if row is None or row.get("failed") or row.get("wrong") or row.get(name) is None:
            raise Unknown(way)
        return row[name]

    def cpu(self, way: str) -> float:
        """CPU seconds of client and server together."""
        return self.figure(way, "client_cpu") + self.figure(way, "server_cpu")

    def times(self, way: str, floor: str) -> float:
        """How many times the CPU of another way a way takes."""
        return _ratio(self.cpu(way), self.cpu(floor))

    def each(self, way: str, *which: str) -> float:
        """
        Rows that a way reads beyond what it reads over the smaller ledger, for each that is open beyond those there.

        ``which`` names the figures of an incremental run without news that say how many are.
        """
        return _ratio(self._more(way, "rows_read"), sum(self._more(names.NOTHING_NEW, name) for name in which))

    def _more(self, way: str, name: str) -> float:
        return self.figure(way, name) - self.figure(way, name, smaller=True)

    def changed_pair(self) -> float:
        """Milliseconds of CPU that one changed pair adds to an incremental run."""
        more = self.cpu(names.INCREMENTAL) - self.cpu(names.NOTHING_NEW)
        return _ratio(1000 * more, self.figure(names.INCREMENTAL, "changed"))

    def added(self) -> float:
        """The median that a deferred shadow adds to a submit, in medians of one create_external_grader_detail."""
        added = self.figure(names.DEFERRED, "median_ms") - self.figure(names.KEPT, "median_ms")
        return _ratio(added, self.figure(names.YARDSTICK, "median_ms"))

    def live(self) -> float:
        """Milliseconds by which a submit in ``live`` is slower than that call (medians)."""
        return self.figure(names.LIVE, "median_ms") - self.figure(names.YARDSTICK, "median_ms")

    def pullers(self, isolation: str) -> float:
        """Rows a second through the seam, in those through edx-submissions' own endpoint."""
        seam, upstream = (f"{end}, {isolation}" for end in (names.SEAM, names.UPSTREAM))
        return _ratio(self.figure(seam, "per_second"), self.figure(upstream, "per_second"))

    def faults(self) -> float:
        """What went wrong at the seam, at both isolation levels."""
        return sum(self.figure(f"{names.SEAM}, {isolation}", "faults") for isolation in names.ISOLATION)

    def peak(self) -> float:
        """The most memory that any way of the app's own needed, in MB."""
        return max(self.figure(way, "peak_mb") for way in (names.IMPORT, names.FIRST, names.FULL))


def _ratio(one: float, other: float) -> float:
    if not other:
        raise Unknown("nothing to divide by")
    return one / other


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """One goal: ``value`` of the rows must be ``at_most`` or ``at_least`` so much."""

    group: str
    text: str
    value: Callable[[Rows], float]
    at_most: float | None = None
    at_least: float | None = None

    @property
    def bound(self) -> float:
        """The number that is not to be passed."""
        return self.at_most if self.at_most is not None else self.at_least or 0.0

    @property
    def wanted(self) -> str:
        """The bound in words."""
        return f"{'at most' if self.at_most is not None else 'at least'} {self.bound:g}"

    def judge(self, rows: Rows) -> Row | None:
        """The goal with its value, whether it was met, and by how much it was missed; None where it is unknown."""
        try:
            value = self.value(rows)
        except Unknown:
            return None
        met = value <= self.bound if self.at_most is not None else value >= self.bound
        # How many times too much, or too little; a bound of zero has no such measure.
        larger, smaller = (value, self.bound) if self.at_most is not None else (self.bound, value)
        missed_by = None if met or smaller <= 0 else round(larger / smaller, 2)
        return {
            "group": self.group,
            "text": self.text,
            "bound": self.wanted,
            "value": round(value, 3),
            "met": met,
            "missed_by": missed_by,
        }


def _screen(way: str) -> Goal:
    return Goal(
        group="reads",
        text=f"{way}: rows read for each submission more that is open",
        value=lambda rows: rows.each(way, "looked_at"),
        at_most=6,
    )


GOALS = (
    Goal(
        group="submit",
        text="shadow, deferred: added median, in that of one create_external_grader_detail",
        value=Rows.added,
        at_most=0.8,
    ),
    Goal(group="submit", text="live: median, ms above that call's", value=Rows.live, at_most=1),
    *(
        Goal(
            group="pullers",
            text=f"40 graders at the seam, {isolation}: rows a second, in edx-submissions' own",
            value=lambda rows, isolation=isolation: rows.pullers(isolation),
            at_least=1.5,
        )
        for isolation in names.ISOLATION
    ),
    Goal(group="pullers", text="faults at the seam", value=Rows.faults, at_most=0),
    Goal(
        group="import",
        text="import, in the speed of LOAD DATA of the same tables",
        value=lambda rows: rows.times(names.LOAD_DATA, names.IMPORT),
        at_least=0.4,
    ),
    Goal(
        group="reconcile",
        text="first run, in drains",
        value=lambda rows: rows.times(names.FIRST, names.DRAIN),
        at_most=3.5,
    ),
    Goal(
        group="reconcile",
        text="first run, in plain reads of what it needs",
        value=lambda rows: rows.times(names.FIRST, names.PLAIN_READ),
        at_most=1.75,
    ),
    Goal(
        group="reconcile",
        text="first run, in runs of a script that does the ordinary work only",
        value=lambda rows: rows.times(names.FIRST, names.SCRIPT),
        at_most=2.0,
    ),
    Goal(
        group="reconcile",
        text="full, nothing changed, in drains",
        value=lambda rows: rows.times(names.FULL, names.DRAIN),
        at_most=1.0,
    ),
    Goal(group="reconcile", text="incremental: ms of CPU a changed pair", value=Rows.changed_pair, at_most=0.5),
    Goal(
        group="reads",
        text=f"{names.GATE}: rows read for each counter of the course",
        value=lambda rows: _ratio(*(rows.figure(names.GATE, name) for name in ("rows_read", "counters"))),
        at_most=2,
    ),
    *(_screen(way) for way in (names.STATUS, names.DASHBOARD)),
    # What differs is on record, and each run tells of all of it.
    Goal(
        group="reads",
        text=f"{names.NOTHING_NEW}: rows read for each submission more that is open or differs",
        value=lambda rows: rows.each(names.NOTHING_NEW, "looked_at", "diverged"),
        at_most=30,
    ),
    Goal(group="memory", text="peak MB of import, first run and full run", value=Rows.peak, at_most=100),
)


FLAT = "MB more at five times as many pairs"


def flat(rows: Rows, larger: Rows) -> Row | None:
    """Whether memory stays as it is at five times the size."""
    return Goal(group="memory", text=FLAT, value=lambda rows: larger.peak() - rows.peak(), at_most=10).judge(rows)


def table() -> str:
    """All goals for people, as Markdown."""
    lines = ["| group | goal | bound |", "|---|---|---|"]
    lines += [f"| {goal.group} | {goal.text} | {goal.wanted} |" for goal in GOALS]
    return "\n".join([*lines, f"| memory | {FLAT} | at most 10 |"])
