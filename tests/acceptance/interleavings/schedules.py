"""
Schedules of two operations, A and B.

A schedule is a list of turns, written as ``A5 B3 A B``: A does five steps and stands still before the sixth, B does
three, then each goes on to its end. ``A5!`` dies after five. A step is what others can notice, or be noticed by: a
statement, a commit, a rollback, a request over HTTP.

All schedules with at most two switches are asked for, because nearly all races need no more: Musuvathi and Qadeer,
"Iterative Context Bounding for Systematic Testing of Multithreaded Programs" (PLDI 2007). A switch takes the turn away
from an operation that could have gone on. A death takes it away, too.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests.acceptance.interleavings.footprints import Meeting

NAMES = "AB"
_TURN = re.compile(r"([AB])(\d*)(!?)")


@dataclass(frozen=True, slots=True)
class Turn:
    """One operation (0 is A, 1 is B) goes on for so many steps, or to its end where ``steps`` is None."""

    player: int
    steps: int | None = None
    dies: bool = False

    def __str__(self) -> str:
        return f"{NAMES[self.player]}{'' if self.steps is None else self.steps}{'!' if self.dies else ''}"


Schedule = tuple[Turn, ...]


def written(schedule: Schedule) -> str:
    """A schedule as text."""
    return " ".join(map(str, schedule))


def parsed(text: str) -> Schedule:
    """
    The schedule of a text.

    Raises:
        ValueError: it is none.
    """
    turns = []
    for word in text.split():
        found = _TURN.fullmatch(word)
        if found is None:
            raise ValueError(f"{word!r} is no turn of a schedule")
        name, steps, dies = found.groups()
        turns.append(Turn(NAMES.index(name), int(steps) if steps else None, bool(dies)))
    return tuple(turns)


def every(steps: tuple[int, int], meeting: Meeting | None = None) -> Iterator[Schedule]:
    """
    All schedules with at most two switches, for operations of so many steps; those with the fewest come first.

    Given what the two touch, of those with two switches (or a switch and a death) that are the same run one is enough.
    """
    for one, other in ((0, 1), (1, 0)):
        yield Turn(one), Turn(other)
    for one, other in ((0, 1), (1, 0)):
        for here in range(1, steps[one]):
            yield Turn(one, here), Turn(other), Turn(one)
            yield Turn(one, here, dies=True), Turn(other)
    for one, other in ((0, 1), (1, 0)):
        for here in range(1, steps[one]):
            for there in range(1, steps[other]):
                if meeting is None or meeting.switch_matters(one, here, there):
                    yield Turn(one, here), Turn(other, there), Turn(one), Turn(other)
                if meeting is None or meeting.death_matters(one, here, there):
                    yield Turn(one, here), Turn(other, there, dies=True), Turn(one)


def some(steps: tuple[int, int], seed: int, number: int) -> list[Schedule]:
    """
    So many of them, the same for the same seed; both orders without a switch are always among them.

    Half of the rest are of the few with one switch or one death: most of what there is to find is found by those.
    """
    found = list(every(steps))
    if len(found) <= number:
        return found
    few = 2 + 2 * (steps[0] - 1 + steps[1] - 1)
    dice = random.Random(f"{seed} {steps}")
    places = dice.sample(range(2, few), min((number - 2) // 2, few - 2))
    places += dice.sample(range(few, len(found)), min(number - 2 - len(places), len(found) - few))
    return [*found[:2], *(found[place] for place in sorted(places))]


def alike(pattern: str, steps: tuple[int, int], stride: int = 1) -> list[Schedule]:
    """All schedules of a pattern such as ``A* B A``: the star stands for 1, 1 + stride, ... as far as A has steps."""
    player = NAMES.index(pattern[pattern.index("*") - 1])
    return [parsed(pattern.replace("*", str(here))) for here in range(1, steps[player], stride)]
