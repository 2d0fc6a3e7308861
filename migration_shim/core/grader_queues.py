"""The queues that graders have to poll in a phase, and on which of the two seams."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .data import Authority, Phase


class Holds(enum.StrEnum):
    """What waits in a queue."""

    REAL = "real"
    SHADOW = "shadow"
    REVERSE = "reverse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """
    One queue that graders have to poll.

    ``seam`` is the system that hands it out: XQueue itself, or the target's watcher seam. ``until_empty`` says that
    nothing new comes in, so that it has to be polled only until what it holds is graded.
    """

    queue: str
    seam: Authority
    holds: Holds
    until_empty: bool


def served(
    phase: Phase, queues: Iterable[str], *, shadow_suffix: str, reverse_suffix: str, left: frozenset[Authority]
) -> Iterator[Served]:
    """
    Yield the queues to be polled for a course in ``phase``.

    Args:
        phase: the phase that the course is in, or is to step to.
        queues: the queues that its learners' submissions go to.
        shadow_suffix: appended to a queue's name for its shadows on the target.
        reverse_suffix: appended for its reverse shadows on legacy.
        left: the systems that hold real submissions in flight, whatever the phase.
    """
    authority = phase.authority
    other = Authority.TARGET if authority is Authority.LEGACY else Authority.LEGACY
    for queue in queues:
        yield Served(queue=queue, seam=authority, holds=Holds.REAL, until_empty=False)
        if phase is Phase.SHADOW:
            name = queue + shadow_suffix
            yield Served(queue=name, seam=Authority.TARGET, holds=Holds.SHADOW, until_empty=False)
        if phase is Phase.LIVE:
            name = queue + reverse_suffix
            yield Served(queue=name, seam=Authority.LEGACY, holds=Holds.REVERSE, until_empty=False)
        if other in left:
            yield Served(queue=queue, seam=other, holds=Holds.REAL, until_empty=True)
