"""
The hash chain of a log: each entry names the digest of the one before it, so that a changed or missing entry shows.

The hash reveals an entry that was edited, removed or moved. The last entries of a log could be cut off without a trace
in what is left; therefore its length and newest digest (the head) are kept elsewhere. Whoever can write to the whole
database can still forge both. A head that was noted down outside helps against that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

#: What the first entry of a chain names as the one before it.
START = "0" * 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """
    One entry as it was read. ``position`` counts from 1; it and the digests are None on an entry older than the chain.

    ``id`` is the order in which entries were written, and how a person finds one.
    """

    id: int
    position: int | None
    previous: str | None
    digest: str | None
    said: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The number of a log's entries, including those older than the chain, and the digest of the newest."""

    length: int
    digest: str


def digest(previous: str, position: int, said: Mapping[str, object]) -> str:
    """Return the digest of an entry: 64 hexadecimal digits over its contents, its position and the digest before it."""
    text = json.dumps([previous, position, said], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def breaks(links: Iterable[Link], head: Head | None) -> Iterator[str]:
    """
    Yield everything that is wrong with a log, as short sentences; nothing where it is whole.

    Args:
        links: all entries of one log, in the order of their ids.
        head: the head that is kept elsewhere; None where there is none, which is right only for a log without a chain.
    """
    older, last, previous = 0, 0, START
    for link in links:
        if link.position is None or link.digest is None or link.previous is None:
            if last:
                yield f"entry {link.id} was written past the chain"
            else:
                older += 1
            continue
        expected = last + 1 if last else older + 1
        if link.position != expected:
            yield f"entry {link.id} stands at place {link.position} where {expected} should stand"
        if link.previous != previous:
            yield f"entry {link.id} does not follow the entry before it: one was removed, added or moved"
        if link.digest != digest(link.previous, link.position, link.said):
            yield f"entry {link.id} is not what was written: its digest does not fit"
        last, previous = link.position, link.digest
    if head is None:
        if last:
            yield "the head of the log is gone"
    elif (head.length, head.digest) != (last, previous):
        yield f"the log ends at place {last} and should end at place {head.length}, or with another entry there"


def holds(links: Iterable[Link], noted: Head) -> bool:
    """Tell whether a log still has the entry that was its newest when ``noted`` was noted down."""
    return any((link.position, link.digest) == (noted.length, noted.digest) for link in links)
