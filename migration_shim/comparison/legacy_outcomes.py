"""Legacy's side of ledger entries: what its rows say became of each submission, or had said before they were gone."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..conf import ShimSettings
from ..core.attempts import STALL
from ..core.classification import ParsedRow, is_copy, legacy_state
from ..core.compare import reached, vanished
from ..core.data import Authority, Leg, LegacyRow, Outcome, Remarks, Reply, ReplyKind, State
from ..core.identity import RETIRED
from ..core.scoring import message_digest, read_reply
from ..ledger.entries import REFUSED
from ..legacy import files, reading
from ..legacy import rows as legacy_rows
from ..models import LedgerEntry

_RETIRED_WITHOUT_A_WORD = (State.GIVEN_UP, State.COLLIDED, State.HANDED_OFF)


@dataclass(frozen=True, slots=True, kw_only=True)
class LegacySide:
    """One legacy row and the outcome read out of it."""

    row: LegacyRow
    outcome: Outcome
    #: The files' storage keys by original name, for whoever has to compare the files.
    keys: dict[str, str]


def legacy_sides(entries: Iterable[LedgerEntry], settings: ShimSettings) -> dict[int, LegacySide]:
    """
    Legacy's side of these entries, by legacy id; what is not there is left out. At most three queries.

    No row is stuck on legacy: XQueue offers one again whose grader has died, as often as it takes.
    """
    storage = files.legacy_storage(settings)
    linked = {entry.legacy_id: entry for entry in entries if entry.legacy_id is not None}
    rows = legacy_rows.by_id(linked)
    read = {row.id: reading.read(row, storage) for row in rows.values()}
    families = reading.families([*(parsed for parsed, _ in read.values()), *_beside(rows.values(), storage)])
    sides = {}
    for row in rows.values():
        parsed, keys = read[row.id]
        outcome = _outcome(parsed, reading.others(parsed, families), linked[row.id])
        if outcome.state in _RETIRED_WITHOUT_A_WORD and not row.num_failures and linked[row.id].superseded_at:
            # Retired for a newer attempt that XQueue never saw, by the router or by a handoff.
            outcome = dataclasses.replace(outcome, state=State.SUPERSEDED)
        sides[row.id] = LegacySide(row=row, outcome=outcome, keys=keys)
    return sides


def _beside(page: Iterable[LegacyRow], storage: files.Source) -> Iterator[ParsedRow]:
    """The rows that share a callback with one of these, and are none of them."""
    for row in legacy_rows.siblings_outside(page):
        yield reading.read(row, storage)[0]


def _outcome(parsed: ParsedRow, siblings: list[ParsedRow], entry: LedgerEntry) -> Outcome:
    state, row, copy = legacy_state(parsed, siblings), parsed.row, is_copy(parsed.row)
    graded = state is State.GRADED
    # The same from two tabs at once is stored twice by XQueue, and is nobody's mistake.
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
        # A sink's callback names neither learner nor problem; what was sent for them is the entry's.
        identity = f"{entry.learner} {entry.item_id}"
    return Outcome(
        state=state,
        copy=copy,
        reply=read_reply(row.grader_reply) if graded else None,
        arrived_at=row.arrival_time,
        pulled_at=row.pull_time,
        returned_at=row.return_time,
        attempts=row.num_failures,
        reached=None if copy else reached(state, acked=row.lms_ack, returned=row.return_time is not None),
        message_digest=message_digest(row.grader_reply) if graded else "",
        remarks=Remarks(
            refused=was_refused(entry), duplicates=sum(not other.row.retired for other in again), identity=identity
        ),
    )


def was_refused(entry: LedgerEntry) -> bool:
    """
    Whether the sender of a submission was told that legacy did not store it.

    Where legacy has stored it for all that, the leg comes to say so, with a backfill or a handoff; its reason stays.
    """
    refused = entry.legacy_leg == Leg.FAILED or entry.legacy_reason == REFUSED
    return entry.authority == Authority.LEGACY and refused


def vanished_side(entry: LedgerEntry) -> Outcome:
    """Legacy's side of an entry whose row is not there: missing, or gone with what it had said, or lost."""
    last_read = State(entry.legacy_state) if entry.legacy_state and entry.legacy_id is not None else None
    if last_read is State.GRADED and not entry.seen:
        last_read = None  # a backfill saw that it was graded; nobody has read how
    state = vanished(last_read)
    reply = reply_of_columns(entry.legacy_correct, entry.legacy_score) if last_read is State.GRADED else None
    remarks = Remarks(was=last_read if state is State.GONE else None, refused=was_refused(entry))
    return Outcome(state=state, reply=reply, arrived_at=entry.arrived_at, remarks=remarks)


def columns_of_reply(reply: Reply | None) -> tuple[bool | None, float | None]:
    """
    ``correct`` and ``score`` of a reply as the ledger keeps them; ``reply_of_columns`` is the way back.

    No database holds what is not a number. An invalid reply has neither; one that CAPA fails on has a score and no
    ``correct``.
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
    """The reply of which ``columns_of_reply`` has made these two."""
    if correct is None:
        return Reply(kind=ReplyKind.INVALID if score is None else ReplyKind.RAISES)
    if score is None:
        return Reply(kind=ReplyKind.VALID, correct=correct, score=math.nan)
    return Reply(kind=ReplyKind.VALID, correct=correct, score=math.inf if score == sys.float_info.max else score)
