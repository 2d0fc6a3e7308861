"""Which operations meet, and how often each pair is played in which form."""

from __future__ import annotations

import itertools

from tests.acceptance.interleavings.explorer import Pair
from tests.acceptance.interleavings.operations import EVERY, LEGACY, LIVE, OPERATIONS, SHADOW

#: Operations that decide who grades what: of their pairs the long form plays every schedule.
CORE = (
    *("submit", "supersession", "worker", "put_result", "hand-out", "step forward", "step back"),
    *("handoff, hold", "handoff, settle", "handoff, last look", "return"),
)
#: Schedules of any other pair in the long form.
SEEDED = 50
SEED = 1

#: What the ordinary form plays: a pair, and how many of its schedules.
ORDINARY = (
    (Pair("submit", "submit", LIVE), 10),
    (Pair("submit", "submit", SHADOW), 8),
    (Pair("submit", "handoff, settle", LIVE), 8),
    (Pair("submit", "return", LEGACY), 8),
    (Pair("submit", "step back", LIVE), 8),
    (Pair("worker", "worker", LIVE), 8),
    (Pair("submit", "worker", LIVE), 8),
    (Pair("submit", "put_result", LIVE), 8),
    (Pair("handoff, hold", "XQueue's pull", LIVE), 8),
    (Pair("submit", "reconcile", SHADOW), 8),
    (Pair("gate", "reconcile", SHADOW), 8),
    (Pair("echo", "copy", SHADOW), 8),
)


def all_pairs() -> list[Pair]:
    """Every pair of operations that can meet in a phase, the core's first."""
    found = []
    for phase in EVERY:
        here = [operation for operation in OPERATIONS.values() if phase in operation.phases]
        for one, other in itertools.combinations_with_replacement(here, 2):
            if not ((one.echo and other.polls) or (one.polls and other.echo)):
                found.append(Pair(one.name, other.name, phase))
    return sorted(found, key=lambda pair: not is_core(pair))


def is_core(pair: Pair) -> bool:
    """Whether every schedule of a pair is to be played."""
    return pair.one in CORE and pair.other in CORE
