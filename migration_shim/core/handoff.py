"""Classify a legacy row for a handoff: a pure function of the row, the ledger's facts, the phase and a clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from . import json_text
from .classification import Decision, ParsedRow, Policy, classify
from .data import Authority, LegacyRow, Move, Phase, RowClass
from .wire import Body

_ON_ITS_WAY = {Move.HELD: "held", Move.FENCED: "held", Move.RETURNING: "returning"}


@dataclass(frozen=True, slots=True, kw_only=True)
class HandoffPolicy:
    """What one handoff wants."""

    rows: Policy
    push_queues: frozenset[str]
    processing_delay: timedelta
    #: Whether graders pull at edx-submissions' own endpoint, which hands out a reduced payload.
    reduced_payloads: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerFacts:
    """
    What the ledger says of a row. ``replaced``: the target has a newer attempt by the same learner at the same input.
    """

    phase: Phase
    authority: Authority = Authority.LEGACY
    move: Move = Move.NONE
    replaced: bool = False


def under_live_pull(row: LegacyRow, clock: datetime, delay: timedelta) -> bool:
    """Tell whether a grader may be working on an unretired row: legacy would not hand it out again yet."""
    return not row.retired and row.pull_time is not None and row.pull_time > clock - delay


def classify_for_handoff(
    parsed: ParsedRow, siblings: list[ParsedRow], policy: HandoffPolicy, standing: LedgerFacts, clock: datetime
) -> Decision:
    """
    Return the one class of a row. Only an IMPORTED row may be moved now.

    Args:
        parsed: the row.
        siblings: the other legacy rows that share its truncated callback.
        policy: what this handoff wants.
        standing: what the ledger and the flags say.
        clock: legacy's clock, read after the row.
    """
    decision = classify(parsed, siblings, policy.rows, present=False)
    if decision.row_class in (RowClass.COPY, RowClass.OUT_OF_SCOPE, RowClass.MALFORMED):
        return decision
    if standing.phase.authority is Authority.LEGACY:
        return Decision(row_class=RowClass.OUT_OF_SCOPE, reason=f"phase_{standing.phase.value}")
    if decision.row_class is RowClass.DUPLICATE or parsed.row.retired:
        return decision
    if standing.move in _ON_ITS_WAY:
        return Decision(row_class=RowClass.PRESENT, reason=_ON_ITS_WAY[standing.move])
    if standing.authority is Authority.TARGET:
        return Decision(row_class=RowClass.PRESENT, reason="double_authority")
    if standing.replaced:
        return Decision(row_class=RowClass.SUPERSEDED, reason="newer_attempt_on_target")
    if decision.row_class is not RowClass.IMPORTED:
        return decision
    if (reason := _left_to_legacy(parsed, siblings, policy, clock)) is not None:
        return Decision(row_class=RowClass.DRAIN, reason=reason)
    return decision


def _left_to_legacy(parsed: ParsedRow, siblings: list[ParsedRow], policy: HandoffPolicy, clock: datetime) -> str | None:
    assert parsed.envelope is not None
    if parsed.row.queue_name in policy.push_queues:
        return "push_queue"
    if policy.reduced_payloads and is_reduced(parsed.envelope.body):
        return "payload_needs_the_seam"
    rows = [parsed.row, *(other.row for other in siblings if other.digests == parsed.digests)]
    if any(under_live_pull(row, clock, policy.processing_delay) for row in rows):
        return "under_live_pull"
    return None


def is_reduced(body: Body) -> bool:
    """
    Tell whether edx-submissions' own endpoint, which keeps only the grader's name, would hand out less than CAPA sent.
    """
    try:
        payload = json_text.loads(body.grader_payload or "")
    except ValueError:
        return True
    kept = isinstance(payload, dict) and list(payload) == ["grader"]
    return not kept or body.random_seed != 1 or bool(body.extra)
