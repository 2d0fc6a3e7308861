"""
The Python door: it hands each submission that CAPA sends to the router, or to the platform's own path.

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
    Hand one submission to the router, or to the platform's own path if its course was released.

    Returns:
        What ``send_to_queue`` returns: (0, text) when it is stored, else (1, the reason that CAPA shows the learner).

    Raises:
        SenderUnusable: the course was released, but the platform's sender cannot store the submission.
        PhaseUnreadable: as ``QueueInterface.send_to_queue``.
    """
    if not _is_released(call):
        return _to_router(call)
    if call.block is None or call.hands_queue_key or not installed.needs_queue_key():
        return call.own()  # the platform's own path, without the router
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
    Refuse a submission of a released course that the router would not store on the target.

    The platform's sender cannot be called. The router may stand in for it only while the target is authoritative: else
    it would send to XQueue what belongs on the target.

    Raises:
        SenderUnusable: the target is not authoritative. CAPA keeps the learner's attempt, as with the platform's own
            error.
    """
    phase, _ = phase_in_force(course_id)
    if phase is None or phase.authority is not Authority.TARGET:
        count("sender_unusable")
        log.error(
            "migration_shim.sender_unusable: a submission of %s was refused: the platform's sender lacks queue_key",
            course_id,
        )
        raise SenderUnusable
    count("sender_passed_by")
