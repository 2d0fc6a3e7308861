"""
The bucket that a ledger entry is counted in: every fact of a small domain that a count needs. Pure.

The facts are those that the entry's last comparison saw. Facts of a large domain (scores, seconds) stand in histograms
(``histograms.py``). A bucket's id is a digest of its facts, so that no id has to be looked up before counting.
"""

from __future__ import annotations

import enum
import functools
import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import NamedTuple, overload

from .data import Authority, DivergenceClass, Leg, PairStatus, ReplyKind, State


class Flag(enum.IntFlag):
    """The facts of an entry that are either true or false."""

    GRADED_PAIR = 1
    ECHO = 2
    HISTORY = 4
    LEASED = 8  # handed out by the watcher seam
    PAYLOAD = 16  # its payload was compared
    NO_COPY = 32  # no copy was wanted, or it was removed
    DIFFERS = 64  # a divergence is on record, signed for or not
    SUPERSEDED = 128
    TIMED = 256  # both systems got it in the same moment, and have graded it
    TWIN = 512
    TWIN_JUDGED = 1024
    TWIN_DIFFERS = 2048
    PURGED = 4096  # its residue was dropped


class Facts(NamedTuple):
    """
    The contents of a bucket. Days are in UTC.

    ``graded_on`` is the day on which the target graded the entry, ``moved_on`` the day of its last move between the
    systems. ``differences`` names the classes of its divergences that are not signed for, in order, each with the
    number of the register's entry that covers it, if any: ``score@12,state``. ``legacy_reply`` and ``target_reply`` say
    what kind of reply a graded side has and whether it is correct: "", "invalid", "raises", "correct" or "wrong".
    ``flags`` are of ``Flag``.
    """

    course_id: str
    queue_name: str
    item_id: str
    arrived_on: date
    moved_on: date | None
    graded_on: date | None
    authority: str
    result: str
    known: str
    differences: str
    legacy_state: str
    target_state: str
    legacy_reply: str
    target_reply: str
    flags: int

    def has(self, flag: Flag) -> bool:
        """Tell whether a flag is set."""
        return bool(self.flags & int(flag))


class Row(NamedTuple):
    """The columns that an entry is counted by, under their names in the table."""

    course_id: str
    queue_name: str
    item_id: str
    arrived_at: datetime
    moved_at: datetime | None
    target_graded_at: datetime | None
    authority: str
    result: str
    known: str
    divergences: str
    legacy_leg: str
    target_leg: str
    legacy_state: str
    legacy_correct: bool | None
    legacy_score: float | None
    legacy_seconds: float | None
    target_state: str
    target_correct: bool | None
    target_score: float | None
    target_seconds: float | None
    points_possible: int
    graded_pair: bool
    echo: bool
    history: bool
    leases: int
    payload_compared_at: datetime | None
    twin_submission_id: int | None
    twin_agrees: bool | None
    superseded_at: datetime | None
    purged_at: datetime | None
    learner_said: str
    learner_correct: bool | None
    learner_score: float | None


def facts_of(row: Row, differences: Mapping[str, int | None] | None = None) -> Facts:
    """
    Return the facts of an entry.

    Args:
        row: its columns.
        differences: the classes of its divergences that are not signed for, each with the number of the register's
            entry that covers it, or None.
    """
    copy = row.target_leg if row.authority == Authority.LEGACY else row.legacy_leg
    told = (
        (row.graded_pair, Flag.GRADED_PAIR),
        (row.echo, Flag.ECHO),
        (row.history, Flag.HISTORY),
        (row.leases, Flag.LEASED),
        (row.payload_compared_at, Flag.PAYLOAD),
        (copy == Leg.NONE, Flag.NO_COPY),
        (row.divergences, Flag.DIFFERS),
        (row.superseded_at, Flag.SUPERSEDED),
        (is_timed(row), Flag.TIMED),
        (row.twin_submission_id, Flag.TWIN),
        (row.twin_agrees is not None, Flag.TWIN_JUDGED),
        (row.twin_agrees is False, Flag.TWIN_DIFFERS),
        (row.purged_at, Flag.PURGED),
    )
    return Facts(
        course_id=row.course_id,
        queue_name=row.queue_name,
        item_id=row.item_id,
        arrived_on=day_of(row.arrived_at),
        moved_on=day_of(row.moved_at),
        graded_on=day_of(row.target_graded_at),
        authority=str(row.authority),
        result=str(row.result),
        known=row.known,
        differences=format_differences(differences or {}),
        legacy_state=str(row.legacy_state),
        target_state=str(row.target_state),
        legacy_reply=reply_word(row.legacy_state, row.legacy_correct, row.legacy_score),
        target_reply=reply_word(row.target_state, row.target_correct, row.target_score),
        flags=sum([int(flag) for holds, flag in told if holds]),
    )


def is_timed(row: Row) -> bool:
    """Tell whether both sides' seconds are known."""
    return row.legacy_seconds is not None and row.target_seconds is not None


def equal_facts(
    course_id: str, queue_name: str, item_id: str, arrived_on: date, graded_on: date, correct: bool, flags: int
) -> Facts:
    """
    Return the facts of a pair that was never moved, that legacy is authoritative for, and that both systems graded
    alike.

    The result equals that of ``facts_of`` and is made far faster; nearly all pairs are of this kind. ``equal_flags``
    and ``histograms.equal_bins`` do the same for their parts.
    """
    sides = State.GRADED.value, State.GRADED.value, *(("correct", "correct") if correct else ("wrong", "wrong"))
    days = arrived_on, None, graded_on
    authority, result = Authority.LEGACY.value, PairStatus.EQUAL.value
    return Facts(course_id, queue_name, item_id, *days, authority, result, "", "", *sides, flags)


def equal_flags(*, echo: object, history: object, leased: object, timed: bool) -> int:
    """Return the flags of a pair of ``equal_facts``."""
    flags = _EQUAL | _TIMED if timed else _EQUAL
    flags = flags | _ECHO if echo else flags
    flags = flags | _HISTORY if history else flags
    return flags | _LEASED if leased else flags


def replaced_facts(course_id: str, queue_name: str, item_id: str, arrived_on: date, flags: int) -> Facts:
    """Return the facts of a pair that a newer attempt superseded on both sides. It has no place in any histogram."""
    sides = State.SUPERSEDED.value, State.SUPERSEDED.value, "", ""
    days = arrived_on, None, None
    authority, result = Authority.LEGACY.value, PairStatus.EQUAL.value
    return Facts(course_id, queue_name, item_id, *days, authority, result, "", "", *sides, flags)


def replaced_flags(*, echo: object, history: object, leased: object) -> int:
    """Return the flags of a pair of ``replaced_facts``."""
    flags = equal_flags(echo=echo, history=history, leased=leased, timed=False)
    return flags & ~Flag.GRADED_PAIR.value | Flag.SUPERSEDED.value


_EQUAL = Flag.GRADED_PAIR.value | Flag.PAYLOAD.value
_TIMED, _ECHO, _HISTORY, _LEASED = (flag.value for flag in (Flag.TIMED, Flag.ECHO, Flag.HISTORY, Flag.LEASED))


def reply_word(state: str, correct: bool | None, score: float | None) -> str:
    """Return the kind of a graded side's reply, and whether it is correct, by what the ledger keeps of it."""
    if state != State.GRADED:
        return ""
    if correct is None:
        return ReplyKind.INVALID.value if score is None else ReplyKind.RAISES.value
    return "correct" if correct else "wrong"


@overload
def day_of(moment: datetime) -> date: ...
@overload
def day_of(moment: None) -> None: ...
@overload
def day_of(moment: datetime | None) -> date | None: ...
def day_of(moment: datetime | None) -> date | None:
    """The day of a moment in UTC; None of none."""
    return None if moment is None else moment.astimezone(UTC).date()


def format_differences(differences: Mapping[str, int | None]) -> str:
    """Return divergences in the form of ``Facts.differences``."""
    return ",".join([f"{klass}@{known}" if known else str(klass) for klass, known in sorted(differences.items())])


@functools.lru_cache(maxsize=4096)
def parse_differences(differences: str) -> dict[DivergenceClass, int | None]:
    """Parse the form of ``format_differences``. The returned dictionary is shared and must not be changed."""
    found: dict[DivergenceClass, int | None] = {}
    for word in filter(None, differences.split(",")):
        klass, _, known = word.partition("@")
        found[DivergenceClass(klass)] = int(known) if known else None
    return found


@functools.lru_cache(maxsize=4096)
def uncovered(differences: str) -> frozenset[DivergenceClass]:
    """Return the classes in ``differences`` that no entry of the register covers."""
    return frozenset(klass for klass, known in parse_differences(differences).items() if known is None)


def bucket_id(facts: Facts) -> int:
    """
    Return a bucket's id: a digest of its facts, as a signed 64-bit number. It is costly enough to be kept by the facts.
    """
    return digest(facts)


def digest(values: Iterable[object]) -> int:
    """Return a digest of some values as a signed 64-bit number."""
    # The lengths keep ("ab", "c") and ("a", "bc") apart, and a text's never begins with what stands for None.
    texts = ["-" if value is None else f"{len(text := str(value))}:{text}" for value in values]
    whole = "".join(texts).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(whole, digest_size=8).digest(), "big", signed=True)
