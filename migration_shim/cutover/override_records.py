"""Overrides on record: those that a course's phase rests on, and the proposals that wait for a second person."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime

from django.db.models import Max, Q, QuerySet

from ..core.data import Phase
from ..core.documents.overrides import Override
from ..db import converted
from ..models import GateOverride, PhaseChange

_ORDER = list(Phase)


def standing(course_id: str) -> list[GateOverride]:
    """Return the overrides that a course's phase rests on, the oldest first. See ``both_by_course``."""
    return _still_standing(converted.found(GateOverride, "course_id = %s ORDER BY id", [course_id]))


def described(course_id: str) -> list[Override]:
    """Return the overrides that a course's phase rests on as plain data, for documents and reports."""
    return [one(row) for row in standing(course_id)]


def both_by_course(
    course_ids: Collection[str], moment: datetime
) -> tuple[dict[str, list[Override]], dict[str, list[Override]]]:
    """
    Return the overrides that each course's phase rests on, and the proposals that still wait, as plain data.

    An override ends with its step. It is shown for as long as the course has not gone back behind that step, however
    long that is. A proposal is shown until it expires or the course takes any step. It takes one statement, and one or
    two more where there is any override at all.
    """
    rows = list(GateOverride.objects.filter(course_id__in=course_ids).order_by("pk"))
    waiting = [row for row in rows if not used_at(row) and row.withdrawn_at is None and row.expires_at > moment]
    return _by_course(course_ids, _still_standing(rows)), _by_course(course_ids, _not_overtaken(waiting))


def proposals(course_id: str, moment: datetime) -> QuerySet[GateOverride]:
    """Return the proposals of a course that a second person may still sign, the oldest first."""
    waiting = GateOverride.objects.filter(proposal=True, used_at=None, withdrawn_at=None, expires_at__gt=moment)
    return waiting.filter(course_id=course_id).order_by("pk")


def one(row: GateOverride) -> Override:
    """Return an override as plain data."""
    return {
        "id": row.pk,
        "step_to": row.step_to,
        "reason": row.reason,
        "signed_by": row.signed_by,
        "seconded_by": row.seconded_by,
        "signed_at": row.created_at.isoformat(),
        "expires_at": row.expires_at.isoformat(),
        "used_at": moment.isoformat() if (moment := used_at(row)) else None,
        "verdict": row.verdict,
        "causes": list(row.causes),
        "reasons": row.evidence.get("reasons", []),
    }


def used_at(row: GateOverride) -> datetime | None:
    """Return when an override's step was taken; None for a proposal. A release before kept no time of its own."""
    return row.used_at or (None if row.proposal else row.created_at)


def _by_course(course_ids: Iterable[str], rows: Iterable[GateOverride]) -> dict[str, list[Override]]:
    found: dict[str, list[Override]] = {course_id: [] for course_id in course_ids}
    for row in rows:
        found[row.course_id].append(one(row))
    return found


def _not_overtaken(waiting: list[GateOverride]) -> list[GateOverride]:
    """Return the proposals after which their course has taken no step."""
    if not waiting:
        return []
    log = PhaseChange.objects.filter(course_id__in={row.course_id for row in waiting}).order_by()
    newest = dict(log.values_list("course_id").annotate(Max("pk")))
    return [row for row in waiting if row.evidence.get("log_id") == newest.get(row.course_id, 0)]


def _still_standing(rows: Iterable[GateOverride]) -> list[GateOverride]:
    """Return the overrides that were used, and behind whose step their course has not gone back since."""
    used = [row for row in rows if used_at(row)]
    if not used:
        return []
    back = [Q(step_from=phase, step_to__in=_ORDER[:place]) for place, phase in enumerate(_ORDER) if place]
    steps = PhaseChange.objects.filter(back[0] | back[1] | back[2], course_id__in={row.course_id for row in used})
    went_back = list(steps.order_by().values_list("pk", "course_id", "step_to", "changed_at"))
    return [row for row in used if not any(_ends(row, *step) for step in went_back)]


def _ends(row: GateOverride, log_id: int, course_id: str, step_to: str, changed_at: datetime) -> bool:
    """Tell whether a step back of a course goes behind the step that an override was for, and came after it."""
    if course_id != row.course_id or _ORDER.index(Phase(step_to)) >= _ORDER.index(Phase(row.step_to)):
        return False
    seen = row.evidence.get("log_id")
    return log_id > seen if seen is not None else changed_at > row.created_at
