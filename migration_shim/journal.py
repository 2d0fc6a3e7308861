"""Adding to the log of a course: the only place that writes a PhaseChange."""

from __future__ import annotations

from typing import Any

from django.utils.timezone import now

from . import texts
from .core import chain
from .data import Phase
from .models import CoursePhase, PhaseChange


def append(record: CoursePhase, phase: Phase, *, by: str, reason: str, evidence: dict[str, Any]) -> None:
    """
    Add an entry: the course goes from the phase of ``record`` to ``phase``, by whom, why, and on what evidence.

    The caller holds the lock of ``record`` in a transaction, and saves it there: the head of the log is on it. So the
    logs of two courses never wait for each other, one log cannot fork, and the chain costs no statement of its own.
    """
    if record.log_length is None:  # entries older than the chain keep their places
        record.log_length = PhaseChange.objects.filter(course_id=record.course_id).count()
    position, previous = record.log_length + 1, record.log_digest or chain.START
    entry = PhaseChange(
        course_id=record.course_id,
        step_from=record.phase,
        step_to=phase,
        changed_at=now(),
        # As the columns can hold it: what is hashed is what is stored, and no text blocks the way back.
        changed_by=texts.fitted(PhaseChange, "changed_by", by)[:150],
        reason=texts.fitted(PhaseChange, "reason", reason),
        evidence=evidence,
        position=position,
        previous=previous,
    )
    digest = entry.digest = chain.digest(previous, position, entry.said())
    entry.save(force_insert=True)
    record.log_length, record.log_digest = position, digest
