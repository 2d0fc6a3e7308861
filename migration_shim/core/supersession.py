"""
Which attempts of one learner at one input are replaced: what the learner's own state has left behind, and nothing else.

"Everything but the newest" is not it: of two tabs at once the LMS may end with the key of either, and only a grade with
the key that it holds reaches the learner.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from . import json_text

#: How long after its acceptance the LMS may still come to save an attempt's key, or, where nobody can look, how much
#: older than another attempt one must be to be surely replaced by it.
STALL = timedelta(seconds=60)

#: Whatever the caller knows its attempts by.
Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """What a learner's state says of one input: the key whose reply it waits for, None where it waits for none."""

    key: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt(Generic[Name]):
    """
    One accepted attempt. ``number`` is its ledger id where the router gave it that at its acceptance, None where it was
    imported; ``began`` is its arrival; ``alive`` says that it is in flight, and could be retired.
    """

    name: Name
    key: str
    began: datetime
    number: int | None = None
    alive: bool = True


def submission_time(student_info: str) -> str:
    """When the LMS says that an attempt was submitted, as CAPA writes it; empty where the text does not say."""
    try:
        return time_in(json_text.loads(student_info or "{}"))
    except ValueError:  # written before there was a limit of depth
        return ""


def time_in(info: Any) -> str:
    """The same of a ``student_info`` that was parsed."""
    time = info.get("submission_time") if isinstance(info, dict) else None
    return time if isinstance(time, str) else ""


def is_later(one: Attempt[Name], other: Attempt[Name]) -> bool:
    """Whether ``one`` was accepted after ``other``: by the ledger's ids where both have theirs, else by arrival."""
    if one.number is not None and other.number is not None:
        return one.number > other.number
    return one.began > other.began


def superseded(
    attempts: Iterable[Attempt[Name]], state: Queued | None, moment: datetime
) -> tuple[set[Name], datetime | None]:
    """
    Those of the attempts at one input that are replaced, and when to look again (None: waiting changes nothing).

    Never the one whose key the state holds, unless a later attempt has the same key (the LMS makes keys by the second);
    where there is a later one, the LMS may be about to save its key.
    One is replaced once the state holds the key of a later one. Where it holds another key, or none, the LMS may only
    be slow to save: then it is, ``STALL`` after its acceptance. Where the state cannot be read (None), only one
    that began ``STALL`` before a later one.
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
