"""Frozen values and enums that cross the boundaries of the app's modules. Standard library only."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeVar


class Phase(enum.StrEnum):
    """Where a course stands. See docs/reference/phases.rst."""

    LEGACY = "legacy"
    SHADOW = "shadow"
    LIVE = "live"
    COMPLETE = "complete"

    @property
    def authority(self) -> Authority:
        """The system whose grade reaches the learner in this phase."""
        return Authority.TARGET if self in (Phase.LIVE, Phase.COMPLETE) else Authority.LEGACY


class Authority(enum.StrEnum):
    """A system."""

    LEGACY = "legacy"
    TARGET = "target"


class Whose(enum.StrEnum):
    """Which LMS sent a legacy row, by the host of its callback."""

    OURS = "ours"
    FOREIGN = "foreign"  # another LMS's: a setting says so
    UNKNOWN = "unknown"  # no setting says whose; treated as another LMS's until one does


class Origin(enum.StrEnum):
    """What wrote a ledger entry."""

    ROUTER = "router"
    BACKFILL = "backfill"
    HANDOFF = "handoff"
    RECONCILE = "reconcile"


class Leg(enum.StrEnum):
    """What became of one side of one submission."""

    NONE = "none"  # not wanted in this phase
    MISSING = "missing"  # wanted, but not tried yet, or the try left no trace
    STORED = "stored"
    FAILED = "failed"  # tried; the reason is on the ledger entry


class Move(enum.StrEnum):
    """How far an in-flight submission has come on its way between the two systems."""

    NONE = "none"
    HELD = "held"  # its real target row stands on a queue that no grader polls; legacy may still have it
    FENCED = "fenced"  # held, and legacy's row is retired with our mark; the settle time runs
    RELEASED = "released"  # the target's graders have it; legacy's row has to be checked once more
    WATCHED = "watched"  # checked once more: the handoff is over
    RETURNING = "returning"  # its target row is fenced; legacy has no row for it yet
    RETURNED = "returned"  # legacy's graders have it again


#: Moves in which a handoff holds a row, and those in which a row stands between the two systems.
HELD = (Move.HELD, Move.FENCED)
BETWEEN = (*HELD, Move.RETURNING)


class RowClass(enum.StrEnum):
    """What backfill makes of a legacy row. Every row that is read gets exactly one class."""

    IMPORTED = "imported"
    PRESENT = "present"
    FINAL = "final"
    GIVEN_UP = "given_up"
    DRAIN = "drain"
    SUPERSEDED = "superseded"
    COLLIDED = "collided"
    DUPLICATE = "duplicate"
    COPY = "copy"
    MALFORMED = "malformed"
    OUT_OF_SCOPE = "out_of_scope"


class State(enum.StrEnum):
    """The state of one submission on one side."""

    QUEUED = "queued"
    PULLED = "pulled"
    GRADED = "graded"
    SUPERSEDED = "superseded"
    COLLIDED = "collided"
    GIVEN_UP = "given_up"
    HANDED_OFF = "handed_off"  # retired by our own handoff; its outcome is the target's to give
    FAILED = "failed"
    STUCK = "stuck"  # only an operator can still move it
    GONE = "gone"  # removed by legacy's retention after it was read; what it said then is on the ledger entry
    LOST = "lost"  # vanished before it had an outcome: an alarm
    MISSING = "missing"

    @property
    def is_final(self) -> bool:
        """Whether this side's outcome can no longer change. A stuck row's still can: an operator may set it free."""
        return self not in (State.QUEUED, State.PULLED, State.STUCK, State.MISSING)


class DivergenceClass(enum.StrEnum):
    """Typed differences between the two sides of a submission."""

    PRESENCE = "presence"
    STORED_AFTER_REFUSAL = "stored_after_refusal"
    STATE = "state"
    CORRECTNESS = "correctness"
    SCORE = "score"
    SCALE = "scale"
    OUT_OF_RANGE = "out_of_range"
    STORED_POINTS = "stored_points"
    PAYLOAD = "payload"
    FILES = "files"
    IDENTITY = "identity"
    ORDER = "order"
    DUPLICATE = "duplicate"
    STUCK = "stuck"
    LATENCY = "latency"
    LOST = "lost"
    UNDELIVERED = "undelivered"
    WRONG_SIDE = "wrong_side"
    DOUBLE_AUTHORITY = "double_authority"
    FENCE_LEAK = "fence_leak"


#: Each says that the shim itself has broken its promise: no register excuses it, and only a signed cure ends it.
GRAVE = frozenset(
    {
        DivergenceClass.FENCE_LEAK,
        DivergenceClass.DOUBLE_AUTHORITY,
        DivergenceClass.UNDELIVERED,
        DivergenceClass.WRONG_SIDE,
        DivergenceClass.LOST,
    }
)
#: Classes that no random grader explains. One of them fails its problem, and withdraws a permit once it is stored.
DETERMINISTIC = GRAVE | {
    DivergenceClass.PRESENCE,
    DivergenceClass.STATE,
    DivergenceClass.SCALE,
    DivergenceClass.PAYLOAD,
    DivergenceClass.FILES,
    DivergenceClass.IDENTITY,
    DivergenceClass.ORDER,
    DivergenceClass.DUPLICATE,
}


class Grading(enum.StrEnum):
    """How copies get their grades: from graders that poll the shadow queues, or by echo of legacy's replies."""

    SHADOW = "shadow"
    ECHO = "echo"


class PairStatus(enum.StrEnum):
    """The result of comparing the two sides of one submission."""

    NONE = "none"  # not compared: one side is not wanted, or nothing has been looked at yet
    EQUAL = "equal"
    KNOWN = "known"  # differs in a way that is understood, counted and harmless
    DIVERGED = "diverged"
    WAITING = "waiting"
    OVERDUE = "overdue"


class Verdict(enum.StrEnum):
    """The verdict of the gate."""

    PASS = "PASS"  # noqa: S105  (no password)
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    STALE = "STALE"


class ReplyKind(enum.StrEnum):
    """What a grader's reply does when CAPA reads it."""

    VALID = "valid"
    INVALID = "invalid"  # wipes the learner's result, whatever its key
    RAISES = "raises"  # CAPA fails on it; the callback answers 500


class ScoreStyle(enum.StrEnum):
    """What the graders of a queue call a score: a share of 1, or points out of the problem's maximum."""

    RATIO = "ratio"
    ABSOLUTE = "absolute"
    UNKNOWN = "unknown"  # the scores so far do not tell


class ExitCode(enum.IntFlag):
    """Exit codes of the commands, as bit flags."""

    OK = 0
    ERROR = 1
    DIFFERENCES = 2
    LEFT_BEHIND = 4
    STALE = 8
    LOCKED = 16
    STOPPED = 32
    USAGE = 64


@dataclass(frozen=True, slots=True)  # by position: millions are made, and names would take longer than the fields
class LegacyRow:
    """
    One row of XQueue's ``queue_submission``, all columns as stored. Times are aware, in UTC.

    ``whose`` is no column. ``legacy/rows.py`` sets it by the callback's host when it reads the row.
    """

    id: int
    requester_id: str
    lms_callback_url: str
    queue_name: str
    xqueue_header: str
    xqueue_body: str
    s3_keys: str
    s3_urls: str
    arrival_time: datetime
    pull_time: datetime | None
    push_time: datetime | None
    return_time: datetime | None
    grader_id: str
    pullkey: str
    grader_reply: str
    num_failures: int
    lms_ack: bool
    retired: bool
    whose: Whose = Whose.OURS


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A grader's reply, as CAPA reads it. ``correct`` and ``score`` are None unless it is valid."""

    kind: ReplyKind
    correct: bool | None = None
    score: float | None = None
    #: The score as the grader sent it, which is what edx-submissions scales: below 0 too, and true apart from 1.
    sent: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """
    What edx-submissions holds as the score of one graded submission.

    ``stored`` is None where there is no Score; ``predicted`` is what the installed edx-submissions makes of the reply,
    None where it would store nothing (``target/prediction.py``).
    """

    stored: int | None
    possible: int
    predicted: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Remarks:
    """What is unusual about one side of a submission. Most sides have no remarks."""

    #: A row that is gone: its state when it was last read.
    was: State | None = None
    #: Whether a newer attempt of the same learner and input is on record, which is what supersedes one.
    newer_attempt: bool = False
    #: Whether the sender was told that it is not stored: a refusal or a timeout.
    refused: bool = False
    #: Further rows of the same identity on this side that nothing has superseded: each may be graded.
    duplicates: int = 0
    #: Whether a later attempt of the same learner and input was handed out before it (``core/compare.overtaken``).
    overtaken: bool = False
    #: Whether its own copy still waits in the outbox for a worker to write it.
    owed: bool = False
    #: Whether the learner has made another attempt at the input within the same minute (two tabs at once): which of
    #: them is retired, and which comes first, may differ between the systems.
    overlapping: bool = False
    #: Whether it is on record as superseded.
    superseded: bool = False
    #: A text that is equal on both sides if learner, course and problem are. Empty where it was not read.
    identity: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one side says of one submission."""

    state: State
    #: Whether it is a reverse shadow, by its callback; only legacy's side has them.
    copy: bool = False
    reply: Reply | None = None
    arrived_at: datetime | None = None
    returned_at: datetime | None = None
    #: How often graders have tried, as far as this side keeps count.
    attempts: int = 0
    #: Whether the reply reached the learner, None where this side cannot tell (a shadow's never does).
    reached: bool | None = None
    #: The target's stored score; None where it was not read.
    points: Points | None = None
    remarks: Remarks | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """
    The result of one pair. ``divergences`` maps a class to a short text without learner content.

    ``known`` names a known difference; an equal pair may have one too (its stored points were rounded).
    """

    status: PairStatus
    divergences: Mapping[DivergenceClass, str]
    known: str = ""


#: The type of a document's content, one of ``core/documents``.
Content = TypeVar("Content")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document(Generic[Content]):
    """The result of a command: plain data, and the exit code of the process."""

    content: Content
    exit_code: ExitCode
