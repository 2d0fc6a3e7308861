"""
Rows on legacy that should not be there: accepted by XQueue while the course's target was authoritative.

Either the router could not read the phase and nothing remembered it, or another sender has posted to XQueue: an LMS
process without the door. Such a row has no second side to be compared with, and its learner waits for legacy's graders.
Each gets an entry of its own, with a divergence until the row is final or handed off.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction

from ..conf import ShimSettings
from ..core.classification import ParsedRow
from ..core.data import Authority, DivergenceClass, Leg, Move, Origin, Outcome, Phase, State
from ..core.identity import GRADED_DISPATCH
from ..core.wrong_side import PASSED_THROUGH, target_phase_at
from ..ledger.entries import new_entry
from ..lms.points import points_possible
from ..models import CoursePhase, LedgerEntry, PhaseChange
from .entries import Entry

_TEXT = {DivergenceClass.WRONG_SIDE: "reached legacy while the target was authoritative"}


class PhaseLogs:
    """The phases of courses, as far back as they are on record; read by two statements, however many courses."""

    def __init__(self, courses: Collection[str], settings: ShimSettings) -> None:
        self.reverse_suffix = settings.reverse_queue_suffix
        self.grace = timedelta(seconds=max(settings.python_door_seconds, settings.http_door_seconds))
        self.changes: dict[str, list[tuple[datetime, Phase]]] = {}
        rows = PhaseChange.objects.filter(course_id__in=courses).order_by("course_id", "id") if courses else ()
        for row in rows:
            self.changes.setdefault(row.course_id, []).append((row.changed_at, Phase(row.step_to)))
        for record in CoursePhase.objects.filter(course_id__in=courses) if courses else ():
            log = self.changes.setdefault(record.course_id, [])
            if not log or log[-1][1] != record.phase:  # older than the log
                log.append((record.since, Phase(record.phase)))

    def target_phase_of(self, parsed: ParsedRow) -> Phase | None:
        """Return the phase in which a row came to the wrong side; None where it is on the right one."""
        assert parsed.envelope is not None
        if parsed.row.queue_name.endswith(self.reverse_suffix):
            return None  # a copy with a learner's callback is a leak, and counted as one
        changes = self.changes.get(parsed.envelope.callback.course_id, [])
        return target_phase_at(changes, parsed.row.arrival_time, self.grace)


def record(parsed: ParsedRow, phase: Phase, settings: ShimSettings) -> LedgerEntry | None:
    """
    Write and return the entry of a row on the wrong side; return None where the row has an entry.

    The entry says that legacy is authoritative, because its graders have the row. No copy is owed.
    """
    assert parsed.envelope is not None and parsed.digests is not None
    if LedgerEntry.objects.filter(legacy_id=parsed.row.id).exists():
        return None  # a return has inserted it, with a body that was made anew and need not be the same text
    entry = new_entry(
        parsed.envelope,
        parsed.digests,
        phase=phase,
        origin=Origin.RECONCILE,
        arrived_at=parsed.row.arrival_time,
        input_key=parsed.input_key,
    )
    callback = parsed.envelope.callback
    entry.authority = Authority.LEGACY
    entry.legacy_leg, entry.legacy_id = Leg.STORED, parsed.row.id
    if callback.dispatch != GRADED_DISPATCH:
        entry.legacy_reason = PASSED_THROUGH
    # A handoff scales by them.
    resolver = settings.points_resolver
    entry.points_possible, _ = points_possible(None, callback.course_id, callback.item_id, resolver=resolver)
    try:
        with transaction.atomic():
            entry.save(force_insert=True)
    except IntegrityError:
        return None  # another session has just written one
    return entry


def divergence(entry: Entry, legacy: Outcome) -> dict[DivergenceClass, str]:
    """Return the divergence of an entry that still is on the wrong side: legacy has it, and it is not final."""
    mine = entry.origin == Origin.RECONCILE and Phase(entry.phase).authority is Authority.TARGET
    if not mine or entry.authority != Authority.LEGACY or entry.legacy_reason == PASSED_THROUGH:
        return {}
    if entry.move in (Move.RETURNING, Move.RETURNED):
        return {}  # taken back to legacy on purpose
    over = legacy.state.is_final and legacy.state is not State.LOST
    return {} if over else dict(_TEXT)
