"""
The look-up of a course's phase in a learner's submission: what to do when it fails.

A submission of a course whose target is authoritative must not reach legacy, where nobody may grade it; one of any
other course must not be refused because the shim cannot look.
"""

from __future__ import annotations

import logging

from django.db import connection

from . import phase_memory, toggles
from .data import Authority, Phase
from .errors import PhaseUnreadable
from .metrics import count

log = logging.getLogger(__name__)

TRIES = 2


def phase_in_force(course_id: str) -> Phase | None:
    """
    The phase of a course; looked up once more where that fails, then asked of ``phase_memory``.

    Returns:
        The phase, or None where it cannot be told and the submission is to go to legacy as it is.

    Raises:
        PhaseUnreadable: it cannot be read, and when it last could be the target was authoritative.
    """
    for _ in range(TRIES):
        try:
            return toggles.phase_of(course_id).phase
        except Exception as error:  # flags are the platform's models: whatever reading them raises, a learner waits
            count("phase_look_up_failed", error)
            log.warning("migration_shim: the phase of a course could not be read: %s", type(error).__name__)
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()
    remembered = phase_memory.last(course_id)
    if remembered is not None and remembered.authority is Authority.TARGET:
        count("refused_without_phase")
        log.error("migration_shim: a submission of %s was refused: its phase cannot be read", course_id)
        raise PhaseUnreadable
    return None
