"""Signed permissions to pass a gate that is not open. They do not change the verdict: they are printed beside it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet
from django.utils.timezone import now

from . import runs
from .core.gate import Evidence, GateResult
from .data import Phase
from .errors import IllegalStep
from .models import GateOverride


def sign(
    course_id: str,
    step_to: Phase,
    *,
    reason: str,
    signed_by: str,
    seconds: int,
    result: GateResult,
    evidence: Evidence,
) -> GateOverride:
    """
    Put an override on record, with what the gate said at the time.

    Raises:
        IllegalStep: see ``refuse_unpassable``.
    """
    refuse_unpassable(course_id, evidence)
    moment = now()
    return GateOverride.objects.create(
        course_id=course_id,
        step_to=step_to,
        reason=reason,
        signed_by=signed_by[:150],
        created_at=moment,
        expires_at=moment + timedelta(seconds=seconds),
        verdict=result.verdict,
        evidence={"reasons": list(result.reasons), "digest": runs.digest({"reasons": result.reasons})},
    )


def refuse_unpassable(course_id: str, evidence: Evidence) -> None:
    """
    Refuse to sign for what no signature makes harmless: a copy that has reached, or could reach, a learner, and a
    submission that both systems had for real.

    Raises:
        IllegalStep: with what was found.
    """
    if evidence.fence_leaks or evidence.double_authority:
        raise IllegalStep(
            f"{course_id} has {evidence.fence_leaks} fence leaks and {evidence.double_authority} submissions that both "
            "systems had for real: no override passes that. See the runbook, 'Fence leak' and 'Double authority'."
        )


def in_force(course_id: str, moment: datetime) -> QuerySet[GateOverride]:
    """The overrides of a course that have not expired, the oldest first."""
    return GateOverride.objects.filter(course_id=course_id, expires_at__gt=moment, withdrawn_at=None).order_by("pk")


def active(course_id: str, moment: datetime) -> list[dict[str, Any]]:
    """The same as plain data, for documents and reports."""
    return [
        {
            "id": row.pk,
            "step_to": row.step_to,
            "reason": row.reason,
            "signed_by": row.signed_by,
            "signed_at": row.created_at.isoformat(),
            "expires_at": row.expires_at.isoformat(),
            "verdict": row.verdict,
            "reasons": row.evidence.get("reasons", []),
        }
        for row in in_force(course_id, moment)
    ]
