"""What is checked under the locks of a course and its campaign, right before a step of the campaign's."""

from __future__ import annotations

from typing import Any

from django.utils.timezone import now

from .. import toggles
from ..core.campaign import CampaignState, MemberState
from ..core.campaign_plan import Plan
from ..core.data import Phase
from ..core.errors import NotNow
from ..models import Campaign, CampaignCourse
from .standing import foreign_step, turn


def check(campaign_id: int, course_id: str, step_from: Phase, to: Phase) -> dict[str, Any]:
    """
    Check that a campaign's step may be taken now, and return what goes on record with it.

    The caller holds the course's lock, and keeps the campaign's until the step is committed: of two watches the second
    waits here, and then counts what the first has moved. What a campaign was found to be before counts for nothing.

    Raises:
        NotNow: with what the course waits for.
    """
    campaign = Campaign.objects.select_for_update().get(pk=campaign_id)
    member = CampaignCourse.objects.get(campaign=campaign, course_id=course_id)
    if campaign.state != CampaignState.RUNNING or member.state != MemberState.GOING:
        raise NotNow(f"the campaign is {campaign.state}, and the course {member.state}")
    decision = toggles.phase_of(course_id)
    if said := foreign_step(campaign, member):
        raise NotNow(said)
    if decision.drift or decision.phase is not step_from:
        raise NotNow(f"{course_id} is in {decision.phase}, and its flags ask for {decision.asked}")
    if toggles.kill_switch_on():
        raise NotNow("the kill switch is on")
    if said := Plan.from_json(campaign.plan).calendar().closed(now()) or turn(campaign, course_id, to):
        raise NotNow(said)
    return {"campaign": campaign.pk}
