"""Overrides: signed permissions to pass a closed gate. The verdict stays as it is; documents show both."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import QuerySet
from django.utils.timezone import now

from ..core.data import Phase
from ..core.errors import IllegalStep, ShimError
from ..core.evidence import GateResult
from ..core.wording import counted, verb
from ..db import text_columns
from ..models import GateOverride
from ..runs import records as run_records
from . import invariants


def sign(
    course_id: str,
    step_to: Phase,
    *,
    reason: str,
    signed_by: str,
    seconds: int,
    result: GateResult,
) -> GateOverride:
    """
    Put an override on record, with the gate's verdict and reasons at the time.

    Args:
        course_id: the course.
        step_to: the phase that the override lets the course step to.
        reason: why, cut to the column.
        signed_by: the signer's name.
        seconds: how long the override is in force.
        result: the gate's verdict.

    Raises:
        IllegalStep: see ``refuse_unpassable``.
    """
    refuse_unpassable(course_id)
    moment = now()
    return GateOverride.objects.create(
        course_id=course_id,
        step_to=step_to,
        reason=text_columns.fitted(GateOverride, "reason", reason),
        signed_by=text_columns.fitted(GateOverride, "signed_by", signed_by)[:150],
        created_at=moment,
        expires_at=moment + timedelta(seconds=seconds),
        verdict=result.verdict,
        evidence={"reasons": list(result.reasons), "digest": run_records.digest({"reasons": result.reasons})},
    )


def refuse_unpassable(course_id: str) -> None:
    """
    Refuse an override where no signature makes the step harmless.

    That is so with fence leaks, double authority, submissions on the wrong side, and undelivered grades. The data is
    read, not only the last reconcile, which may never have run. A caller that takes the step holds the course's lock.

    Raises:
        IllegalStep: with what was found, or with what could not be read.
    """
    leaks, doubles = invariants.fence_leak_count(course_id), invariants.double_authority_count(course_id)
    if wrong := invariants.wrong_side_count(course_id):
        raise IllegalStep(
            f"{course_id} has {counted(wrong, 'submission')} on legacy that are the target's to grade: no "
            "override passes that, a "
            "handoff does. See the runbook, 'Wrong side'."
        )
    if waiting := invariants.undelivered_entries(course_id).count():
        raise IllegalStep(
            f"{counted(waiting, 'learner')} of {course_id} {verb(waiting, 'waits', 'wait')} for a grade "
            "that nobody brings: no override passes that. See the "
            "runbook, 'Undelivered'."
        )
    if invariants.learner_states_unread(course_id):
        raise IllegalStep(
            f"No reconcile has read whether learners of {course_id} wait for a grade. Run one first: "
            f"xqueue_reconcile --course {course_id}"
        )
    if leaks is None:
        raise IllegalStep(f"It cannot be told whether {course_id} has fence leaks: XQueue's database does not answer.")
    if doubles is None:
        raise IllegalStep(
            f"No reconcile has checked {course_id} for double authority in its present phase. Run one first: "
            f"xqueue_reconcile --course {course_id}"
        )
    if leaks or doubles:
        raise IllegalStep(
            f"{course_id} has {counted(leaks, 'fence leak')} and {counted(doubles, 'submission')} that "
            "both systems had for real: no "
            "override passes that. See the runbook, 'Fence leak' and 'Double authority'."
        )


def lms_user(login: str | None) -> Any:
    """
    Return the LMS user with this name, whom flag overrides name as their author; None for None.

    Raises:
        ShimError: there is no such user.
    """
    if login is None:
        return None
    found = get_user_model().objects.filter(username=login).first()
    if found is None:
        raise ShimError(f"There is no LMS user {login!r} to sign with.")
    return found


def in_force(course_id: str, moment: datetime) -> QuerySet[GateOverride]:
    """Return the overrides of a course that have neither expired nor been withdrawn, the oldest first."""
    return _in_force(moment).filter(course_id=course_id)


def described(course_id: str, moment: datetime) -> list[dict[str, Any]]:
    """Return the overrides in force of a course as plain data, for documents and reports."""
    return described_by_course([course_id], moment)[course_id]


def described_by_course(course_ids: Collection[str], moment: datetime) -> dict[str, list[dict[str, Any]]]:
    """Return the overrides in force as plain data, by course, in one statement; an empty list for a course without."""
    found: dict[str, list[dict[str, Any]]] = {course_id: [] for course_id in course_ids}
    for row in _in_force(moment).filter(course_id__in=course_ids):
        found[row.course_id].append(
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
        )
    return found


def _in_force(moment: datetime) -> QuerySet[GateOverride]:
    return GateOverride.objects.filter(expires_at__gt=moment, withdrawn_at=None).order_by("pk")
