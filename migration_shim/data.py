"""Frozen values and enums that cross the boundaries of the app's modules. Standard library only."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime
from typing import Any


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


class Origin(enum.StrEnum):
    """What wrote a ledger entry."""

    ROUTER = "router"
    BACKFILL = "backfill"
    RECONCILE = "reconcile"


class Leg(enum.StrEnum):
    """What became of one side of one submission."""

    NONE = "none"  # not wanted in this phase
    MISSING = "missing"  # wanted; nobody has tried yet, or the try left no trace
    STORED = "stored"
    FAILED = "failed"  # tried; the reason is on the ledger entry


class RowClass(enum.StrEnum):
    """What backfill makes of a legacy row. Every row read gets exactly one."""

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
    FAILED = "failed"
    MISSING = "missing"

    @property
    def is_final(self) -> bool:
        """Whether this side has said its last word."""
        return self not in (State.QUEUED, State.PULLED, State.MISSING)


class DivergenceClass(enum.StrEnum):
    """Typed differences between the two sides of a submission."""

    PRESENCE = "presence"
    STATE = "state"
    PAYLOAD = "payload"
    CORRECTNESS = "correctness"
    SCORE = "score"


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
    """What the gate says."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    STALE = "STALE"


class ReplyKind(enum.StrEnum):
    """What a grader's reply does when CAPA reads it."""

    VALID = "valid"
    INVALID = "invalid"  # wipes the learner's result, whatever its key
    RAISES = "raises"  # CAPA fails on it; the callback answers 500


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


@dataclass(frozen=True, slots=True, kw_only=True)
class LegacyRow:
    """One row of XQueue's ``queue_submission``, all columns as stored. Times are aware, in UTC."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A grader's reply, as CAPA reads it. ``correct`` and ``score`` are None unless it is valid."""

    kind: ReplyKind
    correct: bool | None = None
    score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one side says of one submission."""

    state: State
    #: Whether it is a reverse shadow, by its callback; only legacy's side has them.
    copy: bool = False
    reply: Reply | None = None
    arrived_at: datetime | None = None
    returned_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The result of one pair. ``divergences`` maps a class to a short text without learner content."""

    status: PairStatus
    divergences: dict[DivergenceClass, str]
    known: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A command's answer: plain data, and what the process should exit with."""

    content: dict[str, Any]
    exit_code: ExitCode
