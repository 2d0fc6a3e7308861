"""
The Python door: which of the submissions that CAPA sends go to the router, and which past it.

Opt-in (``MIGRATION_SHIM["PYTHON_DOOR"]``); the app hands ``route`` to ``lms.capa.install``.
"""

from __future__ import annotations

import logging
from typing import Any

from ..core.data import Authority
from ..core.errors import SenderUnusable
from ..dual_write import QueueInterface
from ..lms.capa import Call
from ..metrics import count
from ..phase_lookup import phase_in_force
from ..target import installed
from ..toggles import submission_flag_on_for_all

log = logging.getLogger(__name__)


def route(call: Call) -> tuple[Any, Any]:
    """
    Hand one submission to the router, or on to the platform's own path where the operator has released its course.

    Returns:
        What ``send_to_queue`` answers: (0, text) when it is stored, else (1, the reason that CAPA shows the learner).

    Raises:
        SenderUnusable: the course was released, and nothing of this release can store the submission.
        PhaseUnreadable: which system is authoritative cannot be told, and it may be the target.
    """
    if not _is_released(call):
        return _to_router(call)
    if call.block is None or call.hands_queue_key or not installed.needs_queue_key():
        return call.own()  # the router is no part of it
    _refuse_unless_targets(call.course_id)
    return _to_router(call)


def _is_released(call: Call) -> bool:
    if call.released is None and call.block is not None:
        return submission_flag_on_for_all(call.course_id)
    return bool(call.released)


def _to_router(call: Call) -> tuple[Any, Any]:
    return QueueInterface(call.block).send_to_queue(call.header, call.body, call.files_to_upload)


def _refuse_unless_targets(course_id: str) -> None:
    """
    Of a course that was released, and whose sender cannot be called, the router stores what belongs on the target.

    Any other would send to XQueue what the operator wants on the target, where nobody may grade it.

    Raises:
        SenderUnusable: the course is another. CAPA keeps the learner's attempt, as with the platform's own error.
    """
    phase, _ = phase_in_force(course_id)
    if phase is None or phase.authority is not Authority.TARGET:
        count("sender_unusable")
        log.error("migration_shim: a submission of %s was refused: the platform's sender lacks queue_key", course_id)
        raise SenderUnusable
    count("sender_passed_by")
