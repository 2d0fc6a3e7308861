"""
An XQueue that does not answer: no step is taken meanwhile, and what lasts pauses the campaign.

How often it has not answered in a row is read from the campaign's history, so it outlives the process that has asked.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction
from django.utils.timezone import now

from ..core.campaign import CampaignState
from ..core.windows import said_length
from ..core.wording import counted
from ..models import Campaign
from .states import set_state
from .tell import cut, tell

#: Rounds in a row, and the time over which they reach, after which a person has to look. A restart takes less.
ROUNDS, LASTING = 3, timedelta(minutes=30)
_SILENT, _ANSWERS = "no answer", "answers again"
#: Lines of all courses after which an answer that failed is the first one.
_AFRESH = (_ANSWERS, "start", "resume")


def note(campaign: Campaign, said: str) -> None:
    """Put on record that XQueue has not answered in this round; pause the campaign where that has lasted."""
    with transaction.atomic():
        locked = Campaign.objects.select_for_update().get(pk=campaign.pk)
        if locked.state != CampaignState.RUNNING:
            return
        before, moment = _moments(locked), now()
        if len(before) >= ROUNDS - 1 and moment - before[0] >= LASTING:
            lasted = said_length(moment - before[0])
            set_state(locked, CampaignState.PAUSED, f"stopped by what concerns all, for {lasted} by now: {said}")
            return
        if len(before) < ROUNDS:  # more say nothing new
            tell(locked, _SILENT, said)
        limit = f"{counted(ROUNDS, 'round')} and {said_length(LASTING)}"
        locked.said = cut(Campaign, "said", f"takes no step, and is paused after {limit} in a row: {said}")
        locked.save(update_fields=["said"])


def over(campaign: Campaign) -> None:
    """Put on record that XQueue answers again, where it did not in the last round."""
    if not campaign.said:  # a campaign that runs has nothing else to say
        return
    with transaction.atomic():
        locked = Campaign.objects.select_for_update().get(pk=campaign.pk)
        if locked.state == CampaignState.RUNNING and locked.said:
            locked.said = ""
            locked.save(update_fields=["said"])
            tell(locked, _ANSWERS, "the campaign goes on")


def _moments(campaign: Campaign) -> list[datetime]:
    """Return when XQueue did not answer, since it last did."""
    lines = campaign.lines.filter(course_id="")
    afresh = lines.filter(what__in=_AFRESH).order_by("-id").values_list("id", flat=True).first() or 0
    return list(lines.filter(what=_SILENT, id__gt=afresh).order_by("id").values_list("at", flat=True))
