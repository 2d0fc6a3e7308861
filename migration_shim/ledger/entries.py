"""Make ledger entries out of envelopes. Only this module knows which part of an envelope is kept where."""

from __future__ import annotations

import functools
import json
from datetime import datetime
from typing import Any, Protocol

from django.db.models import Q
from django.utils.timezone import now
from django.views.decorators.debug import sensitive_variables

from ..core import json_text
from ..core.data import Authority, Leg, Origin, Phase
from ..core.errors import Malformed
from ..core.identity import Digests
from ..core.wire import Envelope
from ..models import LedgerEntry
from . import buckets

#: The ``legacy_reason`` of a submission whose sender was told that legacy did not store it.
REFUSED = "refused"
UNWRITTEN = (Leg.MISSING, Leg.FAILED)


def owed_since(moment: datetime) -> Q:
    """Return the condition for entries whose copy has waited unwritten in the outbox since before ``moment``."""
    unwritten = Q(authority=Authority.LEGACY, target_leg__in=UNWRITTEN) | Q(
        authority=Authority.TARGET, legacy_leg__in=UNWRITTEN
    )
    return unwritten & Q(copy_due__isnull=False, created_at__lt=moment)


class Residue(Protocol):
    """What an entry keeps of a body, for ``legacy_body``: a model has it, and so has what was read without one."""

    grader_payload: str | None
    student_info: str
    extra_body: str


@sensitive_variables()
def legacy_body(entry: Residue, answer: object) -> str:
    """
    Rebuild the ``xqueue_body`` of an entry from its residue and the answer, in CAPA's order of keys.

    Raises:
        Malformed: it cannot be read back, which may happen with what was stored before there was a limit of depth.
    """
    body = {"grader_payload": entry.grader_payload, "student_info": entry.student_info, "student_response": answer}
    try:
        extra = json_text.loads(entry.extra_body) if entry.extra_body else {}
    except json_text.Unreadable as error:
        raise Malformed(f"residue_{error.reason}") from error
    except ValueError as error:
        raise Malformed("residue_not_json") from error
    if not isinstance(extra, dict):
        raise Malformed("residue_not_json")
    try:
        return json.dumps(body | extra)
    except RecursionError as error:
        raise Malformed("answer_too_deep") from error


#: The columns of an entry that come out of the envelope, in the order of ``kept``.
KEPT = (
    "identity",
    "group",
    "course_id",
    "item_id",
    "input_key",
    "learner",
    "queue_name",
    "raw_header",
    "grader_payload",
    "student_info",
    "extra_body",
)


def kept(envelope: Envelope, digests: Digests, input_key: str) -> tuple[str | None, ...]:
    """Return the values that an entry keeps of an envelope, in the order of ``KEPT``."""
    callback, body = envelope.callback, envelope.body
    return (
        digests.identity,
        digests.group,
        callback.course_id,
        callback.item_id,
        input_key,
        body.anonymous_student_id,
        envelope.header.queue_name,
        envelope.raw_header,
        body.grader_payload,
        body.student_info,
        json.dumps(body.extra) if body.extra else "",
    )


def new_entry(
    envelope: Envelope,
    digests: Digests,
    *,
    phase: Phase,
    origin: Origin,
    arrived_at: datetime,
    input_key: str,
) -> LedgerEntry:
    """Return an unsaved entry for one submission, with both legs NONE. The caller sets what became of them."""
    own: dict[str, Any] = dict(zip(KEPT, kept(envelope, digests, input_key), strict=True))
    own |= {"phase": phase, "authority": phase.authority, "origin": origin, "arrived_at": arrived_at}
    values = _defaults() | own | {"created_at": now(), "legacy_leg": Leg.NONE, "target_leg": Leg.NONE}
    return LedgerEntry(*values.values())  # in their order: by their names it takes four times as long


@functools.cache
def _defaults() -> dict[str, Any]:
    """Return the default of each field of an entry, in the order of the fields; the time is that of the first call."""
    return {field.attname: field.get_default() for field in LedgerEntry._meta.concrete_fields}


def refill(entry: LedgerEntry, envelope: Envelope, digests: Digests, input_key: str) -> None:
    """Give an entry whose residue was dropped everything again that it keeps of its envelope, and save it."""
    for name, value in zip(KEPT, kept(envelope, digests, input_key), strict=True):
        setattr(entry, name, value)
    entry.purged_at = entry.settled_at = entry.learner_settled_at = None
    with buckets.counted([entry.pk]):
        entry.save(update_fields=[*KEPT, "purged_at", "settled_at", "learner_settled_at"])
    entry.refresh_from_db(fields=["bucket_id"])
