"""The comparison of a batch of ledger entries: both sides are read, and ``core/compare.py`` judges each pair."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from ..conf import ShimSettings
from ..core.compare import Patience, compare, overtaken
from ..core.data import Authority, Comparison, DivergenceClass, Leg, Move, Origin, Outcome, PairStatus, Remarks, State
from ..core.supersession import STALL
from ..core.wire import parse_header
from ..db import bulk, converted
from ..ledger.copies_queues import CopiesQueues
from ..models import KnownDifference, LedgerEntry
from ..target.outcomes import TargetSide, side
from . import echo, wrong_side
from .candidates import Fingerprints
from .entries import Entry, Found
from .legacy_outcomes import legacy_sides, vanished_side
from .payloads import Payloads
from .results import PairResult, store_results
from .score_styles import ScoreStyles

#: What is read of each attempt at an input.
_OF_ATTEMPT = ("id", "arrived_at", "leased_at", "leases", "superseded_at", "target_leg", "echo")
_ALIVE = (State.QUEUED, State.PULLED, State.STUCK, State.GRADED)
_ELSEWHERE = {DivergenceClass.PAYLOAD: "handed out by edx-submissions' own endpoint, with its reduced payload"}
_LEAK = {DivergenceClass.FENCE_LEAK: "a copy does not carry the whole fence"}
_BOTH = {DivergenceClass.DOUBLE_AUTHORITY: "both systems have it for real"}


@dataclass(slots=True, kw_only=True)
class ComparisonContext:
    """
    What all batches of one run share: ``register`` are the known differences in force for the course.

    ``learners_away`` is whether learners' states could not be read: then no further batch waits to be told so.
    """

    settings: ShimSettings
    styles: ScoreStyles
    register: list[KnownDifference]
    learners_away: bool = False
    copies_queues: CopiesQueues = field(init=False)

    def __post_init__(self) -> None:
        self.copies_queues = CopiesQueues(self.settings)


def echo_entries(entries: list[Entry], settings: ShimSettings) -> int:
    """Feed legacy's replies to ungraded shadows; return how many. Entries must be read again if any were fed."""
    rows = {row_id: (side.outcome.state, side.row) for row_id, side in legacy_sides(entries, settings).items()}
    return echo.feed(entries, rows, settings)


def compare_entries(found: list[Found], moment: datetime, context: ComparisonContext) -> None:
    """
    Compare entries and store the results that changed.

    The number of statements does not depend on the number of entries.

    Args:
        found: the entries, with their target rows.
        moment: when they began to be read.
        context: what the batches of the run share.
    """
    settings = context.settings
    lease_limit = timedelta(seconds=settings.lease_seconds * settings.lease_limit)
    stuck_before = moment - max(lease_limit, timedelta(seconds=settings.grading_deadline_seconds))
    entries = [one.entry for one in found]
    legacy_side = legacy_sides(entries, settings)
    payloads = Payloads(found, settings)
    newer, late, overlapping = _attempts(entries)
    results = []
    for read in found:
        entry, legacy = read.entry, legacy_side.get(read.entry.legacy_id or 0)
        target = None if read.target is None else side(read.target, read.points, read.others, stuck_before)
        one = legacy.outcome if legacy else vanished_side(entry)
        other = _target_outcome(entry, target, newer, late, overlapping)
        result = _result(entry, one, other, moment, context)
        extra = _proofs(entry, one, target, context)
        payload_at = entry.payload_compared_at
        if result.status is not PairStatus.NONE:
            differences, compared = payloads.compare(read, legacy)
            extra = {**differences, **extra}
            payload_at = moment if compared and payload_at is None else payload_at
        if extra:
            result = replace(result, status=PairStatus.DIVERGED, divergences={**result.divergences, **extra})
        seen = Fingerprints(read.seen, legacy.seen if legacy else "", read.target_seen)
        results.append(
            PairResult(entry=entry, result=result, legacy=one, target=other, seen=seen, payload_at=payload_at)
        )
    store_results(results, context.register, moment, timedelta(seconds=settings.late_reply_seconds))


def _result(entry: Entry, legacy: Outcome, target: Outcome, moment: datetime, context: ComparisonContext) -> Comparison:
    stored_after_all = legacy.remarks is not None and legacy.remarks.refused and legacy.state is not State.MISSING
    one_sided = Leg.NONE in (entry.legacy_leg, entry.target_leg) and not stored_after_all
    if one_sided or (entry.history and not entry.echo):
        # There is no second side to compare with: it is not wanted, was refused, or is not echoed yet.
        return Comparison(status=PairStatus.NONE, divergences={})
    settings, queue_name = context.settings, entry.queue_name
    timed = entry.origin == Origin.ROUTER and not entry.echo
    patience = Patience(
        presence=timedelta(seconds=settings.presence_grace_seconds),
        grading=timedelta(seconds=settings.grading_deadline_seconds),
        observed=context.styles.usual_time(queue_name),
        latency=timedelta(seconds=settings.grading_deadline_seconds) if timed else None,
        moved_at=entry.moved_at if entry.move != Move.NONE else None,
    )
    return compare(legacy, target, moment, patience, context.styles.style(queue_name))


def _target_outcome(
    entry: Entry, target: TargetSide | None, newer: set[int], late: set[int], overlapping: set[int]
) -> Outcome:
    own = None if target is None else target.outcome.remarks
    remarks = Remarks(
        newer_attempt=entry.id in newer,
        overtaken=entry.id in late,
        owed=entry.copy_due is not None,
        overlapping=entry.id in overlapping,
        superseded=entry.superseded_at is not None,
        duplicates=own.duplicates if own else 0,
        identity=own.identity if own else "",
    )
    if target is None:
        return Outcome(state=State.MISSING, arrived_at=entry.arrived_at, remarks=remarks)
    arrived_at = target.outcome.arrived_at
    if entry.authority == Authority.LEGACY and entry.copied_at is not None and arrived_at is not None:
        arrived_at = max(arrived_at, entry.copied_at)  # before that no grader could have it
    return replace(target.outcome, arrived_at=arrived_at, remarks=remarks)


def _attempts(entries: Iterable[Entry]) -> tuple[set[int], set[int], set[int]]:
    """
    Return three sets of ids, from all attempts at the inputs of the given entries.

    They are: attempts that have a newer one; attempts that were handed out after a newer one; and attempts within STALL
    of which the learner made another one.
    """
    keys = {entry.input_key for entry in entries if entry.input_key}
    there: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for row in bulk.select(LedgerEntry, ("input_key", *_OF_ATTEMPT), input_key=keys):
        there[row[0]].append(row[1:])
    # Most have one attempt, of which there is nothing to say.
    several = [(key, *row) for key, rows in there.items() if len(rows) > 1 for row in rows]
    attempts: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for attempt in converted.values(LedgerEntry, _OF_ATTEMPT, [(*row, key) for key, *row in several]):
        attempts[attempt[-1]].append(attempt[:-1])
    newer: set[int] = set()
    late: set[int] = set()
    overlapping: set[int] = set()
    for rows in attempts.values():
        rows.sort(key=lambda row: (row[1], row[0]))
        newer.update(pk for pk, *_ in rows[:-1])
        for one, other in pairwise(rows):
            if other[1] - one[1] <= STALL:
                overlapping |= {one[0], other[0]}
        # Echoes come in no order. Of a row that was leased more than once only the last hand-out is known, and a dead
        # grader is no disorder.
        late |= overtaken(
            (pk, arrived, leased if leases == 1 and not echoed else None)
            for pk, arrived, leased, leases, superseded_at, leg, echoed in rows
            if superseded_at is None and leg == Leg.STORED
        )
    return newer, late, overlapping


def _proofs(
    entry: Entry, legacy: Outcome, target: TargetSide | None, context: ComparisonContext
) -> dict[DivergenceClass, str]:
    """Return what must never be: a copy without the whole fence, a row that both systems grade, the wrong endpoint."""
    found: dict[DivergenceClass, str] = {}
    if entry.authority == Authority.LEGACY and target is not None:
        own_queue = context.copies_queues.are_for(entry.queue_name, target.queue_name)
        own_key = not entry.raw_header or target.queue_key != parse_header(entry.raw_header).lms_key
        # A half fence is counted elsewhere, together with leaks that have no ledger entry.
        if not (target.half_fenced or (target.fenced and own_queue and own_key)):
            found |= _LEAK
    # A row on its way back is the target's on record until legacy has it; on the target it is fenced.
    theirs = entry.authority == Authority.TARGET and entry.move != Move.RETURNING
    if entry.double_authority or (theirs and not legacy.copy and legacy.state in _ALIVE):
        found |= _BOTH
    if target is not None and _handed_out_elsewhere(entry, target):
        found |= _ELSEWHERE
    return found | wrong_side.divergence(entry, legacy)


def _handed_out_elsewhere(entry: Entry, target: TargetSide) -> bool:
    """Tell whether a grader got the row from upstream's endpoint: then its key is not the watcher seam's."""
    handed_out = target.outcome.state in (State.PULLED, State.GRADED, State.STUCK)
    return handed_out and bool(target.pullkey) and target.pullkey != entry.lease_key
