"""Making ledger entries out of envelopes: one place that knows which part of an envelope is kept where."""

from __future__ import annotations

import json
from datetime import datetime

from .core.identity import Digests
from .core.wire import Envelope
from .data import Leg, Origin, Phase
from .models import LedgerEntry


def legacy_body(entry: LedgerEntry, answer: object) -> str:
    """The ``xqueue_body`` of an entry, made again out of its residue and the answer, in CAPA's order of keys."""
    body = {"grader_payload": entry.grader_payload, "student_info": entry.student_info, "student_response": answer}
    return json.dumps(body | (json.loads(entry.extra_body) if entry.extra_body else {}))


def new_entry(
    envelope: Envelope,
    digests: Digests,
    *,
    phase: Phase,
    origin: Origin,
    arrived_at: datetime,
    input_key: str,
) -> LedgerEntry:
    """An unsaved entry for one submission, both legs NONE. The caller says what became of them."""
    callback, body = envelope.callback, envelope.body
    return LedgerEntry(
        identity=digests.identity,
        group=digests.group,
        course_id=callback.course_id,
        item_id=callback.item_id,
        input_key=input_key,
        learner=body.anonymous_student_id,
        queue_name=envelope.header.queue_name,
        phase=phase,
        authority=phase.authority,
        origin=origin,
        arrived_at=arrived_at,
        legacy_leg=Leg.NONE,
        target_leg=Leg.NONE,
        raw_header=envelope.raw_header,
        grader_payload=body.grader_payload,
        student_info=body.student_info,
        extra_body=json.dumps(body.extra) if body.extra else "",
    )
