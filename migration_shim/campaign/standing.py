"""Where the courses of a campaign stand, by their own records: phases, the log of steps, and who is in flight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db.models import F
from django.utils.timezone import now

from ..core.campaign import STOPPED, MemberState, in_flight, reaches, waits_for_turn
from ..core.campaign_plan import Plan
from ..core.data import Phase
from ..models import Campaign, CampaignCourse, CoursePhase, PhaseChange


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One course of a campaign: its phase and since when, whether it was shown well there, whether it is in flight."""

    state: MemberState
    phase: Phase
    since: datetime
    well: bool
    in_flight: bool


def standings(campaign: Campaign) -> dict[str, Standing]:
    """Return where every course of a campaign stands, in two statements."""
    members = list(campaign.courses.all())
    records = CoursePhase.objects.in_bulk([member.course_id for member in members], field_name="course_id")
    return {member.course_id: _standing(campaign, member, records.get(member.course_id)) for member in members}


def _standing(campaign: Campaign, member: CampaignCourse, record: CoursePhase | None) -> Standing:
    phase, since = (Phase(record.phase), record.since) if record else (Phase.LEGACY, campaign.started_at)
    # Of those that have arrived the canary alone is still looked at: who comes behind it goes by how it is now.
    arrived = member.state == MemberState.DONE and member.course_id != campaign.canary
    well = arrived or member.well_since == since
    newest = max(moment for moment in (since, member.resumed_at, campaign.resumed_at) if moment is not None)
    flies = in_flight(
        phase,
        well=well,
        stopped=member.state in STOPPED,
        waited=now() - newest,
    )
    return Standing(state=MemberState(member.state), phase=phase, since=since, well=well, in_flight=flies)


def turn(campaign: Campaign, course_id: str, to: Phase, found: Mapping[str, Standing] | None = None) -> str:
    """
    Return why a course may not step to a phase now: the canary, or the limit. Empty if it may.

    ``found`` is where the courses stand, if the caller has asked for it already.
    """
    found = standings(campaign) if found is None else found
    canary = found[campaign.canary]
    if course_id != campaign.canary and canary.state in STOPPED:
        stands = "is parked" if canary.state is MemberState.PARKED else "has failed"
        return f"the canary {campaign.canary} {stands}, and holds up the others until it is resumed"
    # One on its way was well where the others are to go, or it would not have left. One that has arrived stays so.
    passed = canary.state is MemberState.GOING and canary.phase is not to
    there = reaches(canary.phase, to) and (canary.well or passed)
    moved = sum(other.in_flight for name, other in found.items() if name != course_id)
    plan = Plan.from_json(campaign.plan)
    return waits_for_turn(course_id, to, canary=campaign.canary, canary_is_there=there, moved=moved, limit=plan.limit)


def newest_entry(course_id: str) -> int:
    """Return the id of the newest entry in a course's log; 0 where it has none."""
    return PhaseChange.objects.filter(course_id=course_id).order_by("-id").values_list("id", flat=True).first() or 0


def foreign_step(campaign: Campaign, member: CampaignCourse) -> str:
    """
    Return which step of a course, newer than any of its campaign's, is somebody else's, in one line; empty for none.

    Entries of the log that leave the course in its phase (a cure, a release, a look at who waits) are no steps.
    """
    steps = PhaseChange.objects.filter(course_id=member.course_id, id__gt=member.log_seen)
    newest = steps.exclude(step_from=F("step_to")).order_by("-id").first()
    if newest is None or not is_foreign(campaign, member, newest):
        return ""
    return f"stepped to {newest.step_to} {'by hand' if newest.changed_by == 'flag' else f'by {newest.changed_by}'}"


def is_foreign(campaign: Campaign, member: CampaignCourse, step: PhaseChange) -> bool:
    """Tell whether a step on record is somebody else's, and newer than what is taken for granted."""
    return step.pk > member.log_seen and step.evidence.get("campaign") != campaign.pk


def resume_command(campaign: Campaign, course_id: str) -> str:
    """Return the command that lets a parked or failed course go on."""
    return f"xqueue_campaign resume --name {campaign.name} --course {course_id} --reason TEXT --execute"
