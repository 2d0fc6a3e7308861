"""
The places of a ledger entry in histograms, for what has too many values for buckets: scores and seconds. Pure.

Bins are bounded, so that a course has a few thousand places however many entries it has. A place's id is a digest of
it, as a bucket's is.
"""

from __future__ import annotations

import enum
import functools
import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from datetime import date
from typing import NamedTuple

from .buckets import Row, day_of, digest, is_timed
from .data import Authority, State
from .delivered import Learner
from .reconcile_document import binned
from .scoring import style_sign


class Kind(enum.StrEnum):
    """The histograms."""

    LEGACY_SECONDS = "legacy_seconds"
    TARGET_SECONDS = "target_seconds"
    CONFUSION = "confusion"
    STYLE = "style"  # what a score of the target tells of its queue
    THIRD_SIDE = "third_side"  # what a learner has beside both grades
    LEARNER = "learner"  # why that cannot be told


class Bin(NamedTuple):
    """A place in a histogram. ``day`` is that of the target's grading, None where no day is asked for."""

    course_id: str
    queue_name: str
    authority: str
    day: date | None
    kind: str
    bin: str


class Learned(NamedTuple):
    """The columns of ``Row`` that decide an entry's place by what its learner has (``learner_bin``)."""

    course_id: str
    legacy_state: str
    legacy_correct: bool | None
    legacy_score: float | None
    target_state: str
    target_correct: bool | None
    target_score: float | None
    purged_at: object
    learner_said: str
    learner_correct: bool | None
    learner_score: float | None


def bins_of(row: Row) -> tuple[Bin, ...]:
    """Return the places of an entry in the histograms."""
    day = day_of(row.target_graded_at)
    one, other = (row.legacy_correct, row.legacy_score), (row.target_correct, row.target_score)
    found: list[Bin] = []
    if is_timed(row):
        side = str(row.authority)
        found += _timed(row.course_id, row.queue_name, side, day, row.legacy_seconds or 0.0, row.target_seconds or 0.0)
    if row.legacy_state == row.target_state == State.GRADED:
        found.append(_confused(row.course_id, *one, *other))
    if row.target_score is not None and (sign := style_sign(row.target_score, row.points_possible)):
        found.append(_styled(row.course_id, row.queue_name, day or day_of(row.arrived_at), sign))
    if (place := learner_bin(row)) is not None:
        found.append(place)
    return tuple(found)


def learner_bin(row: Row | Learned) -> Bin | None:
    """Return the only place of an entry that depends on its learner's state; None while the state was not asked."""
    if row.learner_said == Learner.COMPARABLE:
        return None if row.purged_at is not None else _learner(row.course_id, Kind.THIRD_SIDE, _third_side(row))
    return _learner(row.course_id, Kind.LEARNER, str(row.learner_said)) if row.learner_said else None


@functools.lru_cache(maxsize=4096)
def _learner(course_id: str, kind: Kind, place: str) -> Bin:
    return Bin(course_id, "", "", None, kind.value, place)


def _third_side(row: Row | Learned) -> str:
    """Say what a learner has: what both systems gave, what one of them gave, or neither."""
    has = (row.learner_correct, row.learner_score)
    legacy = row.legacy_state == State.GRADED and _same(has, (row.legacy_correct, row.legacy_score))
    target = row.target_state == State.GRADED and _same(has, (row.target_correct, row.target_score))
    if legacy and target:
        return "as_both"
    return "as_legacy" if legacy else "as_target" if target else "as_neither"


def _same(has: tuple[bool | None, float | None], gave: tuple[bool | None, float | None]) -> bool:
    """Tell whether a learner has what a system gave. A reply that CAPA cannot use leaves nothing on either side."""
    return has == gave and (None not in has or has == (None, None))


def equal_bins(
    course_id: str,
    queue_name: str,
    graded_on: date,
    correct: bool,
    score: float,
    points_possible: int,
    took: float | None,
    target_took: float | None,
) -> list[Bin]:
    """Return the places in the histograms of a pair of ``equal_facts``."""
    found = [_confused(course_id, correct, score, correct, score)]
    if took is not None and target_took is not None:
        found += _timed(course_id, queue_name, Authority.LEGACY.value, graded_on, took, target_took)
    if sign := style_sign(score, points_possible):
        found.append(_styled(course_id, queue_name, graded_on, sign))
    return found


def _timed(
    course_id: str, queue_name: str, authority: str, day: date | None, took: float, target_took: float
) -> Iterator[Bin]:
    for kind, seconds in ((Kind.LEGACY_SECONDS, took), (Kind.TARGET_SECONDS, target_took)):
        yield _lasted(course_id, queue_name, authority, day, kind, seconds_bin(seconds))


# A million pairs share a few thousand places.


@functools.lru_cache(maxsize=4096)
def _lasted(course_id: str, queue_name: str, authority: str, day: date | None, kind: Kind, place: int) -> Bin:
    return Bin(course_id, queue_name, authority, day, kind.value, str(place))


@functools.lru_cache(maxsize=4096)
def _confused(
    course_id: str, correct: bool | None, score: float | None, other_correct: bool | None, other_score: float | None
) -> Bin:
    pair = f"{_word(correct, score)}|{_word(other_correct, other_score)}"
    return Bin(course_id, "", "", None, Kind.CONFUSION.value, pair)


def _word(correct: bool | None, score: float | None) -> str:
    if score is None:
        return binned(correct, None)
    return binned(correct, 11.0 if score > 1 else float(math.floor(score * 10.0)))


@functools.lru_cache(maxsize=4096)
def _styled(course_id: str, queue_name: str, day: date | None, sign: str) -> Bin:
    return Bin(course_id, queue_name, "", day, Kind.STYLE.value, sign)


def bin_id(place: Bin) -> int:
    """Return the id of a place in a histogram: a digest, as a signed 64-bit number."""
    return digest(place)


#: The lower edges of the bins of seconds, 2 % apart, from a millisecond to 31 years. Rounded, so that every machine has
#: the same.
EDGES = (0.0, *(round(0.001 * 1.02**step, 9) for step in range(1396)))


def seconds_bin(seconds: float) -> int:
    """
    Return the bin of a time. A time under a millisecond, or negative because two clocks differ, is in the first bin.
    """
    return max(bisect_right(EDGES, seconds) - 1, 0)


def lower_edge(place: int) -> float:
    """
    Return the shortest time of a bin, in seconds. It is what is quoted of legacy, so that a bin errs against the
    target.
    """
    return EDGES[place]


def upper_edge(place: int) -> float:
    """
    Return the end of a bin, in seconds, which is what is quoted of the target. The last bin's end is its beginning.
    """
    return EDGES[min(place + 1, len(EDGES) - 1)]


def quantile(numbers: Mapping[int, int], share: float) -> int | None:
    """
    Return the bin that holds the value at ``share`` (0 to 1) of the sorted values; None where there are no values.
    """
    total = sum(numbers.values())
    if total <= 0:
        return None
    place, passed = min(int(share * total), total - 1), 0
    for found in sorted(numbers):
        passed += numbers[found]
        if passed > place:
            return found
    return None
