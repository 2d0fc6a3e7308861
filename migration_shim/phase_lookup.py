"""
The look-up of a course's phase while a learner waits, and what to do when it fails.

A submission of a course whose target is authoritative must not reach legacy, where perhaps no grader is left. A
submission of any other course must not be refused because the shim cannot read the phase.
"""

from __future__ import annotations

import logging
import time

from django.db import DatabaseError, connection

from . import toggles
from .core.data import Authority, Phase
from .core.errors import PhaseUnreadable
from .core.phases import PhaseDecision
from .db import schema
from .ledger import phase_memory
from .metrics import count
from .models import CoursePhase

log = logging.getLogger(__name__)

#: Seconds between two log lines about tables of an older release.
SAY_SECONDS = 60
_said_at = -float(SAY_SECONDS)


def phase_in_force(course_id: str) -> tuple[Phase | None, bool | None]:
    """
    Return the phase of a course, and whether the kill switch is on.

    One statement reads both. Where it fails, the phase is read once more by itself: an unreadable switch must not keep
    a course from its phase. Where that fails too, ``phase_memory`` and the recorded phase are asked.

    Returns:
        The phase, or None where it is not known: then the submission goes to legacy as it is. And the switch, or None
        where it was not read.

    Raises:
        PhaseUnreadable: the phase cannot be read, and the target was authoritative when it last could be.
    """
    for look_up in (toggles.phase_and_switch, _phase_alone):
        try:
            decision, switch = look_up(course_id)
            return decision.phase, switch
        except Exception as error:  # flags are the platform's models: whatever reading them raises, a learner waits
            count("phase_look_up_failed", error)
            log.warning(
                "migration_shim.phase_unreadable: the phase of a course could not be read: %s", type(error).__name__
            )
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()
    remembered = phase_memory.recall(course_id) or _on_record(course_id)
    if remembered is not None and remembered.authority is Authority.TARGET:
        count("refused_without_phase")
        log.error(
            "migration_shim.refused_without_phase: a submission of %s was refused: its phase cannot be read", course_id
        )
        raise PhaseUnreadable
    return None, None


def _phase_alone(course_id: str) -> tuple[PhaseDecision, None]:
    return toggles.phase_of(course_id), None


def _on_record(course_id: str) -> Phase | None:
    """
    Return the recorded phase where the tables are those of an older release; None where they are not, or are missing.

    Every release has this column, and it tells a course whose target is authoritative from the others. The log says
    what is wrong, once a minute.
    """
    if not (said := schema.complaint()):
        return None
    _say(said)
    try:
        recorded = CoursePhase.objects.filter(course_id=course_id).values_list("phase", flat=True).first()
    except DatabaseError:
        return None  # there are no tables
    return Phase(recorded) if recorded else None


def refuse_if_behind() -> None:
    """
    Refuse to answer a submission that the target could not store, if the app's tables are those of an older release.

    Raises:
        PhaseUnreadable: they are. CAPA then keeps the learner's attempt, and another process may store it.
    """
    if schema.is_behind():
        _say(schema.complaint())
        raise PhaseUnreadable


def _say(said: str) -> None:
    """Count and log what is wrong with the tables; the log line comes once a minute."""
    global _said_at  # noqa: PLW0603  (a clock of the process)
    count("schema_behind")
    if time.monotonic() - _said_at > SAY_SECONDS:
        _said_at = time.monotonic()
        log.error("migration_shim.schema_behind: submissions cannot be moved. %s", said)
