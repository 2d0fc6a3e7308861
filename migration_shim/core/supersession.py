"""
Decide which attempts of one learner at one input are superseded: those that the learner's own state has left behind.

Superseding everything but the newest attempt would be wrong. With two tabs open, the LMS may end up with the key of
either attempt, and only a grade with the key that it holds reaches the learner.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from . import json_text

#: How long after accepting an attempt the LMS may still save its key; or, where the state cannot be read, how much
#: older than another attempt one must be to be certainly superseded by it.
STALL = timedelta(seconds=60)

#: What the caller identifies its attempts by.
Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """What a learner's state says of one input: the key whose reply it waits for, or None where it waits for none."""

    key: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt(Generic[Name]):
    """
    One accepted attempt.

    ``number`` is its ledger id if the router wrote the entry when it accepted the attempt, None if it was imported.
    ``began`` is its arrival. ``alive`` says that it is in flight and can still be retired.
    """

    name: Name
    key: str
    began: datetime
    number: int | None = None
    alive: bool = True


def submission_time(student_info: str) -> str:
    """
    Return when the LMS says that an attempt was submitted, as CAPA writes it; empty where ``student_info`` does not
    say.
    """
    try:
        return time_in(json_text.loads(student_info or "{}"))
    except ValueError:  # written before there was a limit of depth
        return ""


def time_in(info: Any) -> str:
    """Return the submission time in a parsed ``student_info``; empty where there is none."""
    time = info.get("submission_time") if isinstance(info, dict) else None
    return time if isinstance(time, str) else ""


def is_later(one: Attempt[Name], other: Attempt[Name]) -> bool:
    """Tell whether ``one`` was accepted after ``other``: by ledger id where both have one, else by arrival."""
    if one.number is not None and other.number is not None:
        return one.number > other.number
    return one.began > other.began


def superseded(
    attempts: Iterable[Attempt[Name]], state: Queued | None, moment: datetime
) -> tuple[set[Name], datetime | None]:
    """
    Return the names of the attempts at one input that are superseded, and when to look again.

    The attempt whose key the state holds is never superseded, unless a later attempt has the same key (the LMS makes
    keys by the second). While there is a later attempt, the LMS may still be about to save that one's key.

    An attempt is superseded once the state holds the key of a later one. Where the state holds another key or none, the
    LMS may only be slow to save, so the attempt is superseded ``STALL`` after its acceptance. Where the state cannot be
    read, an attempt is superseded only if it began more than ``STALL`` before a later one.

    Args:
        attempts: all attempts at the input.
        state: the learner's state of the input; None where it cannot be read.
        moment: now.

    Returns:
        The names, and the moment at which more may be superseded; None where waiting changes nothing.
    """
    known = list(attempts)
    gone: set[Name] = set()
    again: list[datetime] = []
    for one in known:
        if not one.alive:
            continue
        later = [other for other in known if is_later(other, one)]
        if any(other.key == one.key for other in later):
            gone.add(one.name)
        elif state is None:
            if any(other.began - one.began > STALL for other in later):
                gone.add(one.name)
        elif state.key == one.key:
            again += [other.began + STALL for other in later if moment - other.began <= STALL]
        elif any(other.key == state.key for other in later):
            gone.add(one.name)
        elif state.key is not None or later:
            if moment - one.began > STALL:
                gone.add(one.name)
            else:
                again.append(one.began + STALL)
    return gone, min(again, default=None)
