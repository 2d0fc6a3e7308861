"""
A round of all running campaigns, as a part of a round of ``xqueue_watch``: the next permitted step of each course.

A round keeps nothing in memory that a later one needs. Where a course stands is read from its records, so a round may
be killed at any point, and two may run at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from time import monotonic
from typing import Any

from django.db import transaction

from .. import toggles
from ..conf import ShimSettings
from ..core.campaign import Action, CampaignState, CourseFacts, Health, MemberState, is_well
from ..core.documents.watch import CampaignMember, CampaignRound
from ..core.errors import IllegalStep, NotNow
from ..db import text_columns
from ..models import Campaign, CampaignCourse, Run
from . import actions, facts
from .standing import resume_command
from .tell import tell
from .trouble import trouble_of_all

#: Does a step of one course for the round, and returns None where it failed: (step, course id, work, arguments).
Attempt = Callable[..., Any]
_SAID = 500
#: Seconds after which a round begins nothing more of a campaign: learners wait for what the next round does first.
SECONDS = 300.0
_LATER = "waits for the next round: this one took long"
#: Actions whose end is a fact that later rounds go by, or that an operator looks for in the history.
_ON_RECORD = (Action.HISTORY, Action.PROBE, Action.SHADOW, Action.LIVE, Action.COMPLETE)


def is_any_running() -> bool:
    """Tell whether there is a campaign that takes steps."""
    return Campaign.objects.filter(state=CampaignState.RUNNING).exists()


def run(
    settings: ShimSettings, attempt: Attempt, alive: Callable[..., None], wanted: list[str] | None = None
) -> list[CampaignRound]:
    """
    Take the next steps of every running campaign.

    Args:
        settings: the settings in force.
        attempt: does the work with one course; an error in it is reported, and the next course goes on.
        alive: called while the work goes on; it shows a sign of life.
        wanted: the courses to look at; None for all.

    Returns:
        For each campaign its name, state, and what was done with each course or what it waits for.
    """
    running = list(Campaign.objects.filter(state=CampaignState.RUNNING).order_by("id"))
    trouble, late = trouble_of_all(), _left_by_the_last_round()
    done = [
        attempt("campaign", "", _campaign, campaign, settings, attempt, alive, wanted, trouble, late)
        for campaign in running
    ]
    return [found for found in done if found is not None]


def _left_by_the_last_round() -> set[str]:
    """Return the courses that the last round had no time for: the next one begins with them."""
    rounds = Run.objects.filter(kind="watch", scope="", finished_at__isnull=False).order_by("-id")
    campaigns = rounds.values_list("document__campaigns", flat=True).first() or []
    return {course["course"] for found in campaigns for course in found["courses"] if course["says"] == _LATER}


def _campaign(
    campaign: Campaign,
    settings: ShimSettings,
    attempt: Attempt,
    alive: Callable[..., None],
    wanted: list[str] | None,
    trouble: str,
    late: Collection[str],
) -> CampaignRound:
    courses: list[CampaignMember] = []
    if trouble:
        _set_state(campaign, CampaignState.PAUSED, f"stopped by what concerns all: {trouble}")
    else:
        until = monotonic() + SECONDS
        for member in _in_turn(campaign, late):
            if wanted is not None and member.course_id not in wanted:
                continue
            if monotonic() >= until:
                courses.append(_entry(member, [], _LATER))
                continue
            found = attempt("campaign", member.course_id, _course, campaign, member, settings, alive)
            courses.append(found or {"course": member.course_id, "did": [], "says": "failed; see the problems"})
        if not campaign.courses.exclude(state=MemberState.DONE).exists():
            _set_state(campaign, CampaignState.DONE, f"every course has arrived in {campaign.to}")
    campaign.refresh_from_db()
    return {"name": campaign.name, "state": campaign.state, "said": campaign.said, "courses": courses}


def _in_turn(campaign: Campaign, late: Collection[str]) -> Iterator[CampaignCourse]:
    """Yield the courses that are on their way: the canary, then those that the last round has left, then all others."""
    members = list(campaign.courses.filter(state=MemberState.GOING).order_by("place"))
    yield from sorted(members, key=lambda member: (member.course_id != campaign.canary, member.course_id not in late))


def _course(
    campaign: Campaign, member: CampaignCourse, settings: ShimSettings, alive: Callable[..., None]
) -> CampaignMember:
    """Do with one course what may be done now: no action twice, and nothing after a step."""
    did: list[str] = []
    while True:
        alive()
        found = facts.gather(campaign, member, settings)
        if found.stopped or found.health is Health.FAILED:
            return _entry(member, did, _stop(campaign, member, found))
        _note_health(campaign, member, found, settings)
        if held := _held(campaign):
            return _entry(member, did, held)
        step = facts.next_of(campaign, member.course_id, found, settings)
        if step.done:
            _arrive(campaign, member)
            return _entry(member, did, f"has arrived in {found.phase}")
        if step.action is None or step.action.value in did:
            return _entry(member, did, step.waits or f"tries {step.action} again in the next round")
        try:
            done = actions.do(step.action, campaign, member.course_id, found.phase, settings, alive)
        except (NotNow, IllegalStep) as refused:
            return _entry(member, did, str(refused))
        did.append(step.action.value)
        if done.said and not done.waits and step.action in _ON_RECORD:
            tell(campaign, step.action.value, done.said, course_id=member.course_id)
        if done.waits and step.action is Action.PROBE:
            tell(campaign, facts.UNSENT, done.said, course_id=member.course_id)
        if done.waits or step.action.phase:
            return _entry(member, did, done.waits or done.said)


def _held(campaign: Campaign) -> str:
    """Return why a campaign does nothing more in this round: what an operator has said meanwhile. It is read anew."""
    campaign.refresh_from_db()
    if campaign.state != CampaignState.RUNNING:
        return f"the campaign is {campaign.state} by now"
    return "the kill switch is on" if toggles.kill_switch_on() else ""


def _entry(member: CampaignCourse, did: list[str], says: str) -> CampaignMember:
    return {"course": member.course_id, "did": did, "says": says[:_SAID]}


def _stop(campaign: Campaign, member: CampaignCourse, found: CourseFacts) -> str:
    """Park a course that somebody else has moved, or stop one that is not well; return why."""
    state = MemberState.PARKED if found.stopped else MemberState.FAILED
    resume = resume_command(campaign, member.course_id)
    said = found.stopped or f"failed in {found.phase}: {found.health_said}; {resume}"
    with transaction.atomic():
        Campaign.objects.select_for_update().get(pk=campaign.pk)
        changed = CampaignCourse.objects.filter(pk=member.pk, state=MemberState.GOING).update(
            # It was well before, perhaps: it takes up a slot again, and a canary lets nobody pass.
            state=state,
            well_since=None,
            said=text_columns.fitted(CampaignCourse, "said", said)[:_SAID],
        )
        if changed:
            tell(campaign, state.value, said, course_id=member.course_id)
    return said


def _note_health(campaign: Campaign, member: CampaignCourse, found: CourseFacts, settings: ShimSettings) -> None:
    """Put on record whether a course is well in its phase: the canary's rule and the limit go by it."""
    well = found.entered if is_well(found, facts.wish_of(campaign, settings)) else None
    if well != member.well_since:
        CampaignCourse.objects.filter(pk=member.pk).update(well_since=well)
        member.well_since = well


def _arrive(campaign: Campaign, member: CampaignCourse) -> None:
    with transaction.atomic():
        changed = CampaignCourse.objects.filter(pk=member.pk, state=MemberState.GOING).update(state=MemberState.DONE)
        if changed:
            tell(campaign, "done", f"arrived in {campaign.to}", course_id=member.course_id)


def _set_state(campaign: Campaign, state: CampaignState, said: str) -> None:
    with transaction.atomic():
        locked = Campaign.objects.select_for_update().get(pk=campaign.pk)
        if locked.state != CampaignState.RUNNING:
            return
        locked.state, locked.said = state, text_columns.fitted(Campaign, "said", said)[:_SAID]
        locked.save(update_fields=["state", "said"])
        if state is CampaignState.DONE:
            locked.courses.update(held=None)
        tell(locked, state.value, said)
