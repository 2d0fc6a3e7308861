"""What a round puts on record of a campaign and its courses, each under the lock of the campaign's steps."""

from __future__ import annotations

from django.db import transaction

from ..conf import ShimSettings
from ..core.campaign import CampaignState, CourseFacts, MemberState, is_well
from ..models import Campaign, CampaignCourse
from . import facts
from .standing import resume_command
from .tell import cut, tell

#: A canary that has arrived is looked at as well, and stopped: the others come behind it.
LOOKED_AT = (MemberState.GOING, MemberState.DONE)


def stop(campaign: Campaign, member: CampaignCourse, found: CourseFacts) -> str:
    """Park a course that somebody else has moved, or stop one that is not well; return why."""
    state = MemberState.PARKED if found.stopped else MemberState.FAILED
    resume = resume_command(campaign, member.course_id)
    said = found.stopped or f"failed in {found.phase}: {found.health_said}; {resume}"
    with transaction.atomic():
        Campaign.objects.select_for_update().get(pk=campaign.pk)
        changed = CampaignCourse.objects.filter(pk=member.pk, state__in=LOOKED_AT).update(
            # It was well before, perhaps: it takes up a slot again, and a canary lets nobody pass.
            state=state,
            well_since=None,
            said=cut(CampaignCourse, "said", said),
        )
        if changed:
            tell(campaign, state.value, said, course_id=member.course_id)
    return said


def note_health(campaign: Campaign, member: CampaignCourse, found: CourseFacts, settings: ShimSettings) -> None:
    """Put on record whether a course is well in its phase: the canary's rule and the limit go by it."""
    well = found.entered if is_well(found, facts.wish_of(campaign, settings)) else None
    if well != member.well_since:
        # One that another round has stopped meanwhile stays as it was stopped.
        CampaignCourse.objects.filter(pk=member.pk, state__in=LOOKED_AT).update(well_since=well)
        member.well_since = well


def note_unknown(member: CampaignCourse) -> None:
    """Put on record that nobody knows how a course is: an error has kept the round from looking."""
    CampaignCourse.objects.filter(pk=member.pk).update(well_since=None)


def arrive(campaign: Campaign, member: CampaignCourse) -> None:
    """Put on record that a course is where the campaign wants it, and well there."""
    with transaction.atomic():
        changed = CampaignCourse.objects.filter(pk=member.pk, state=MemberState.GOING).update(state=MemberState.DONE)
        if changed:
            tell(campaign, "done", f"arrived in {campaign.to}", course_id=member.course_id)


def set_state(campaign: Campaign, state: CampaignState, said: str) -> None:
    """Pause a campaign, or end it because all of its courses have arrived. One that does not run is left alone."""
    with transaction.atomic():
        locked = Campaign.objects.select_for_update().get(pk=campaign.pk)
        if locked.state != CampaignState.RUNNING:
            return
        locked.state, locked.said = state, cut(Campaign, "said", said)
        locked.save(update_fields=["state", "said"])
        if state is CampaignState.DONE:
            locked.courses.update(held=None)
        tell(locked, state.value, said)
