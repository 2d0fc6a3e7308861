"""
Which switches make a difference: partial-order reduction over the tables that two operations touch.

A step that touches nothing of the other operation's can be done a moment earlier or later without anybody noticing, so
a switch right before it is the same run as a switch right after it, and one of the two is enough (Godefroid,
"Partial-Order Methods for the Verification of Concurrent Systems", 1996, chapter 3). Two steps depend on each other
where one of them writes or locks in a table that the other touches. A commit or a rollback counts as a write of all
that its transaction has written or locked, for it shows or frees that. A request over HTTP depends on everything. A
death makes a difference only where something lasts that was done since the last place at which it was tried.

What an operation touches is taken from two runs, in which one or the other goes first. In a schedule it may take other
ways than in both; the schedules with one switch are therefore all played, whatever they touch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

ENDS = ("COMMIT", "ROLLBACK")
ANYTHING = "*"
_WRITES = re.compile(
    r"(INSERT|UPDATE|DELETE|REPLACE)\b|.*\b(FOR UPDATE|LOCK IN SHARE MODE|LOCK TABLES|GET_LOCK)\b", re.S
)
_NAMES = re.compile(r"\w+")
_COLUMN = re.compile(r"(`\w+`)\.`\w+`")


@dataclass(frozen=True, slots=True)
class Footprint:
    """Tables that steps read, and those that they write, lock, show or free; whether what they do outlives a death."""

    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    lasts: bool = False

    def __or__(self, other: Footprint) -> Footprint:
        return Footprint(self.reads | other.reads, self.writes | other.writes, self.lasts or other.lasts)

    def depends_on(self, other: Footprint) -> bool:
        """Whether it matters which of the two comes first."""
        return _meet(self.writes, other.reads | other.writes) or _meet(other.writes, self.reads | self.writes)


def _meet(ones: frozenset[str], others: frozenset[str]) -> bool:
    return bool(ones & others or (ANYTHING in ones and others) or (ANYTHING in others and ones))


def footprints(steps: Iterable[str], tables: frozenset[str]) -> list[Footprint]:
    """What each step of a run touches, of these tables."""
    found, since = [], {"default": frozenset[str](), "xqueue": frozenset[str]()}
    for step in steps:
        where, _, sql = step.partition(": ")
        alias, alone = where.removesuffix(" alone"), where.endswith(" alone")
        if where in ENDS:  # of either connection: which one is not told
            found.append(Footprint(writes=since["default"] | since["xqueue"], lasts=True))
            since = dict.fromkeys(since, frozenset())
        elif alias not in since:
            found.append(Footprint(writes=frozenset([ANYTHING]), lasts=True))
        else:
            touched = tables.intersection(_NAMES.findall(_COLUMN.sub(r"\1", sql)))
            if _WRITES.match(sql):
                found.append(Footprint(writes=touched, lasts=alone))
                since[alias] |= touched
            else:
                found.append(Footprint(reads=touched))
    return found


class Meeting:
    """Two operations, by the runs that were seen of each."""

    def __init__(self, runs: tuple[Sequence[Sequence[str]], Sequence[Sequence[str]]], tables: frozenset[str]) -> None:
        self._runs = tuple([footprints(run, tables) for run in one] for one in runs)
        self.steps = tuple(max(map(len, one)) for one in self._runs)
        #: Of each operation: what it has touched before a place, and what it touches from there on.
        self._before = tuple([self._of(one, 0, place) for place in range(self.steps[one] + 1)] for one in (0, 1))
        self._after = tuple([self._of(one, place, None) for place in range(self.steps[one] + 1)] for one in (0, 1))

    def _of(self, one: int, start: int, end: int | None) -> Footprint:
        found = Footprint()
        for run in self._runs[one]:
            for footprint in run[start:end]:
                found |= footprint
        return found

    def switch_matters(self, one: int, here: int, there: int) -> bool:
        """Whether ``A<here> B<there> A B`` differs from both ``A<here + 1> ...`` and ``... B<there + 1> ...``."""
        other = 1 - one
        next_here, next_there = self._of(one, here, here + 1), self._of(other, there, there + 1)
        return next_here.depends_on(self._before[other][there]) and next_there.depends_on(self._after[one][here])

    def death_matters(self, one: int, here: int, there: int) -> bool:
        """Whether ``A<here> B<there>! A`` differs from both ``A<here - 1> ...`` and ``... B<there - 1>! A``."""
        other = 1 - one
        last_here, last_there = self._of(one, here - 1, here), self._of(other, there - 1, there)
        return last_there.lasts and last_here.depends_on(self._before[other][there])
