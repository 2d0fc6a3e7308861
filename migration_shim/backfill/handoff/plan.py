"""What a handoff is to do with each row, by queue, and what the operator is told about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils.timezone import now

from ... import toggles
from ...conf import ShimSettings
from ...core.classification import Decision, ParsedRow
from ...core.data import Authority, LegacyRow, Move, Phase, RowClass
from ...core.errors import FileUnavailable, LegacyNotWritable, Unfit
from ...core.handoff import HandoffPolicy, LedgerFacts, classify_for_handoff
from ...core.wire import Body
from ...ledger import attempts, stamp
from ...legacy import privileges, reading
from ...legacy import rows as legacy_rows
from ...legacy.files import Source, check
from ...models import LedgerEntry, WatcherLogin
from .. import classing
from ..request import Request
from ..target_rows import points_of
from .finish import is_replaced
from .steps import held_place

#: A grader that has logged in at edx-submissions' own endpoint so lately may pull there.
LOGIN_AGE = timedelta(days=1)


@dataclass(slots=True, kw_only=True)
class HandoffRow:
    """A legacy row, its class, and what moving it needs; ``rows`` are all open rows of the same submission."""

    parsed: ParsedRow
    decision: Decision
    keys: dict[str, str]
    entry: LedgerEntry | None
    rows: list[LegacyRow]

    @property
    def row(self) -> LegacyRow:
        """The legacy row as it was read."""
        return self.parsed.row


def policy(request: Request, settings: ShimSettings) -> HandoffPolicy:
    """Return the rules of a handoff: of its scope it moves every learner's rows, whatever share of them is copied."""
    return HandoffPolicy(
        rows=classing.policy(settings, courses=request.courses, queues=request.queues, unsampled=True),
        push_queues=frozenset(settings.push_queues),
        processing_delay=timedelta(seconds=settings.processing_delay_seconds),
        reduced_payloads=WatcherLogin.objects.filter(last_seen_at__gte=now() - LOGIN_AGE).exists(),
    )


def class_page(page: list[LegacyRow], policy: HandoffPolicy, source: Source) -> list[HandoffRow]:
    """Return the classed rows of a page, one for each row, in the same order."""
    families = reading.siblings_of_page(page, source)
    read = [reading.read(row, source) for row in page]
    identities = [parsed.digests.identity for parsed, _ in read if parsed.digests]
    entries = {entry.identity: entry for entry in LedgerEntry.objects.filter(identity__in=identities)}
    courses = {parsed.envelope.callback.course_id for parsed, _ in read if parsed.envelope}
    phases = {course_id: toggles.phase_of(course_id).phase for course_id in courses}
    # Read after the rows: one that is under no live pull by this clock is under none until a grader pulls it.
    clock = legacy_rows.clock()
    items = []
    for parsed, keys in read:
        siblings = reading.siblings_of(parsed, families)
        entry = entries.get(parsed.digests.identity) if parsed.digests else None
        decision = classify_for_handoff(parsed, siblings, policy, _standing(parsed, entry, phases), clock)
        open_rows = [parsed.row, *(other.row for other in siblings if _is_open_twin(parsed, other))]
        items.append(HandoffRow(parsed=parsed, decision=decision, keys=keys, entry=entry, rows=open_rows))
    return items


def planned_decision(item: HandoffRow, source: Source, settings: ShimSettings) -> Decision:
    """Return what a handoff would decide, by the same checks as ``hold``: a row that cannot be held becomes drain."""
    if item.decision.row_class is not RowClass.IMPORTED:
        return item.decision
    try:
        placement = held_place(item.parsed, item.keys, settings)
        if item.entry is None:
            points_of(placement.course_id, placement.item_id, settings)
        check(item.row, item.keys, source, settings)
    except (Unfit, FileUnavailable) as error:
        return Decision(row_class=RowClass.DRAIN, reason=error.reason)
    return item.decision


def _is_open_twin(parsed: ParsedRow, other: ParsedRow) -> bool:
    return parsed.digests is not None and other.digests == parsed.digests and not other.row.retired


def _standing(parsed: ParsedRow, entry: LedgerEntry | None, phases: dict[str, Phase]) -> LedgerFacts:
    if parsed.envelope is None or parsed.digests is None:
        return LedgerFacts(phase=Phase.LEGACY)
    phase = phases[parsed.envelope.callback.course_id]
    body = parsed.envelope.body
    known = (parsed.input_key, parsed.digests.identity, body.student_info, parsed.row.arrival_time)
    replaced = phase.authority is Authority.TARGET and _is_replaced(parsed, body, known)
    if entry is None:
        return LedgerFacts(phase=phase, replaced=replaced)
    replaced |= entry.superseded_at is not None
    return LedgerFacts(phase=phase, authority=Authority(entry.authority), move=Move(entry.move), replaced=replaced)


def _is_replaced(parsed: ParsedRow, body: Body, known: tuple[str, str, str, datetime]) -> bool:
    """Tell whether an attempt is replaced; the learner's state is asked only where there is a newer attempt at all."""
    if not is_replaced(*known, awaited=False):
        return False
    awaited = attempts.is_awaited(parsed.row.xqueue_header, body.student_info, body.anonymous_student_id)
    return is_replaced(*known, awaited)


def queues(rows: Iterable[tuple[Decision, str]], settings: ShimSettings) -> list[dict[str, Any]]:
    """Describe each queue: how many of its rows move or stay, and whether legacy's graders pulled from it lately."""
    counts: dict[str, Counter[str]] = {}
    for decision, queue_name in rows:
        if decision.row_class not in (RowClass.OUT_OF_SCOPE, RowClass.COPY):
            counts.setdefault(queue_name, Counter())[decision.row_class.value] += 1
    since = legacy_rows.clock() - timedelta(seconds=settings.processing_delay_seconds)
    return [
        {
            "queue": name,
            "move": number[RowClass.IMPORTED.value],
            "drain": number[RowClass.DRAIN.value],
            "other": number.total() - number[RowClass.IMPORTED.value] - number[RowClass.DRAIN.value],
            "pull_seen": legacy_rows.was_pulled_since(name, since),
        }
        for name, number in sorted(counts.items())
    ]


def advice(described: list[dict[str, Any]], settings: ShimSettings) -> list[str]:
    """Return what the operator should do before ``--execute``, as texts."""
    pulled = [queue["queue"] for queue in described if queue["pull_seen"]]
    quiet = [queue["queue"] for queue in described if queue["move"] and not queue["pull_seen"]]
    seconds = f"{settings.processing_delay_seconds:g} s"
    found = []
    if pulled:
        found.append(
            f"Pause legacy's graders of {', '.join(pulled)}: they have pulled within the last {seconds}. A row that a "
            "grader pulls in the middle of its handoff stays with legacy, or in the worst case is graded by both."
        )
    if quiet:
        found.append(f"No pull of {', '.join(quiet)} was seen in the last {seconds}; keep legacy's graders away.")
    return found


def refusal() -> list[str]:
    """Return, for a plan, why the same with ``--execute`` would be refused; empty where it would not."""
    if said := stamp.complaint():
        return [f"--execute would be refused: {said}"]
    try:
        privileges.check_may_update()
    except LegacyNotWritable as error:
        return [f"--execute would be refused: {error}"]
    return []
