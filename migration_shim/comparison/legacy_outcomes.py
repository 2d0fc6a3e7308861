"""Legacy's side of ledger entries: what its rows say became of each submission, or said before they were removed."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..conf import ShimSettings
from ..core.classification import ParsedRow, is_copy, legacy_state
from ..core.compare import reached_learner, state_of_vanished
from ..core.data import Authority, Leg, LegacyRow, Outcome, Remarks, Reply, ReplyKind, State
from ..core.identity import RETIRED
from ..core.scoring import read_reply
from ..core.supersession import STALL
from ..ledger.entries import REFUSED
from ..legacy import by_callback, files, fingerprints, reading
from .entries import Entry

_RETIRED_WITHOUT_A_WORD = (State.GIVEN_UP, State.COLLIDED, State.HANDED_OFF)


@dataclass(frozen=True, slots=True, kw_only=True)
class LegacySide:
    """One legacy row and the outcome read out of it."""

    row: LegacyRow
    outcome: Outcome
    #: The files' storage keys by original name, for the comparison of files.
    keys: dict[str, str]
    #: The row's digest, computed when it was read.
    seen: str


def legacy_sides(entries: Iterable[Entry], settings: ShimSettings) -> dict[int, LegacySide]:
    """
    Return legacy's side of entries, by legacy id; rows that do not exist are left out. It takes three queries at most.

    No row is ever stuck on legacy: XQueue offers a row again whose grader has died, as often as it takes.
    """
    storage = files.legacy_storage(settings)
    linked = {entry.legacy_id: entry for entry in entries if entry.legacy_id is not None}
    found = fingerprints.with_digests(linked)
    rows = {row_id: row for row_id, (row, _) in found.items()}
    read = {row.id: reading.read(row, storage) for row in rows.values()}
    families = reading.siblings_by_callback(
        [*(parsed for parsed, _ in read.values()), *_beside(rows.values(), storage)]
    )
    sides = {}
    for row in rows.values():
        parsed, keys = read[row.id]
        outcome = _outcome(parsed, reading.siblings_of(parsed, families), linked[row.id])
        if outcome.state in _RETIRED_WITHOUT_A_WORD and not row.num_failures and linked[row.id].superseded_at:
            # Retired for a newer attempt that XQueue never saw, by the router or by a handoff.
            outcome = dataclasses.replace(outcome, state=State.SUPERSEDED)
        sides[row.id] = LegacySide(row=row, outcome=outcome, keys=keys, seen=found[row.id][1])
    return sides


def _beside(page: Iterable[LegacyRow], storage: files.Source) -> Iterator[ParsedRow]:
    """Yield the rows outside of a page that share a callback with one of its rows."""
    for row in by_callback.siblings_outside(page):
        yield reading.read(row, storage)[0]


def _outcome(parsed: ParsedRow, siblings: list[ParsedRow], entry: Entry) -> Outcome:
    state, row, copy = legacy_state(parsed, siblings), parsed.row, is_copy(parsed.row)
    graded = state is State.GRADED
    # A submission that two tabs send at once is stored twice by XQueue; that is no fault.
    again = [
        other
        for other in siblings
        if parsed.digests is not None
        and other.digests == parsed.digests
        and abs(other.row.arrival_time - row.arrival_time) > STALL
    ]
    identity = ""
    if parsed.envelope is not None:
        identity = f"{parsed.envelope.body.anonymous_student_id} {parsed.envelope.callback.item_id}"
    elif copy and not entry.learner.startswith(RETIRED):
        # A sink's callback names neither learner nor problem: take them from the entry.
        identity = f"{entry.learner} {entry.item_id}"
    return Outcome(
        state=state,
        copy=copy,
        reply=read_reply(row.grader_reply) if graded else None,
        arrived_at=row.arrival_time,
        returned_at=row.return_time,
        attempts=row.num_failures,
        reached=None if copy else reached_learner(state, acked=row.lms_ack, returned=row.return_time is not None),
        remarks=Remarks(
            refused=was_refused(entry), duplicates=sum(not other.row.retired for other in again), identity=identity
        ),
    )


def was_refused(entry: Entry) -> bool:
    """
    Tell whether the sender of a submission was told that legacy did not store it.

    If legacy has stored it nevertheless, a backfill or a handoff corrects the leg; the leg's reason stays.
    """
    refused = entry.legacy_leg == Leg.FAILED or entry.legacy_reason == REFUSED
    return entry.authority == Authority.LEGACY and refused


def vanished_side(entry: Entry) -> Outcome:
    """Return legacy's side of an entry whose row does not exist: missing, gone with its last known outcome, or lost."""
    last_read = State(entry.legacy_state) if entry.legacy_state and entry.legacy_id is not None else None
    if last_read is State.GRADED and not entry.seen:
        last_read = None  # a backfill saw that it was graded, but no run has read the grade
    state = state_of_vanished(last_read)
    reply = reply_of_columns(entry.legacy_correct, entry.legacy_score) if last_read is State.GRADED else None
    remarks = Remarks(was=last_read if state is State.GONE else None, refused=was_refused(entry))
    return Outcome(state=state, reply=reply, arrived_at=entry.arrived_at, remarks=remarks)


def columns_of_reply(reply: Reply | None) -> tuple[bool | None, float | None]:
    """
    Return (correct, score) of a reply as the ledger's columns hold them; ``reply_of_columns`` is the inverse.

    An invalid reply has neither. A reply that CAPA fails on has a score and no ``correct``. A score that is no number
    becomes None, because no database holds it.
    """
    if reply is None or reply.kind is ReplyKind.INVALID:
        return None, None
    if reply.kind is ReplyKind.RAISES:
        return None, 0.0
    score = reply.score
    if score is None or math.isnan(score):
        return reply.correct, None
    return reply.correct, min(score, sys.float_info.max)


def reply_of_columns(correct: bool | None, score: float | None) -> Reply:
    """Return the reply that ``columns_of_reply`` has turned into these two values."""
    if correct is None:
        return Reply(kind=ReplyKind.INVALID if score is None else ReplyKind.RAISES)
    if score is None:
        return Reply(kind=ReplyKind.VALID, correct=correct, score=math.nan)
    return Reply(kind=ReplyKind.VALID, correct=correct, score=math.inf if score == sys.float_info.max else score)
