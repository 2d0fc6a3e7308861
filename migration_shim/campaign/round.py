"""
A round of all campaigns, as a part of a round of ``xqueue_watch``: the next permitted step of each course.

A round keeps nothing in memory that a later one needs. Where a course stands is read from its records, so a round may
be killed at any point, and two may run at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from time import monotonic
from typing import Any

from django.utils.timezone import now

from .. import toggles
from ..conf import ShimSettings
from ..core.campaign import Action, CampaignState, CourseFacts, Health, MemberState
from ..core.documents.watch import CampaignMember, CampaignRound, WatchedCourse
from ..core.errors import IllegalStep, NotNow
from ..models import Campaign, CampaignCourse
from . import actions, facts, outage, states, trouble
from .glance import LATER, Glance, LastRound, entry
from .records import OPEN
from .tell import one_connection, tell

#: Does a step of one course for the round, and returns None where it failed: (step, course id, work, arguments).
Attempt = Callable[..., Any]
#: Actions whose end is a fact that later rounds go by, or that an operator looks for in the history.
_ON_RECORD = (Action.HISTORY, Action.PROBE, Action.SHADOW, Action.LIVE, Action.COMPLETE)


def is_any_at_work() -> bool:
    """Tell whether there is a campaign that takes steps, or is paused and waits for a person."""
    return Campaign.objects.filter(state__in=OPEN).exists()


def run(
    settings: ShimSettings,
    attempt: Attempt,
    alive: Callable[..., None],
    wanted: list[str] | None = None,
    watched: Sequence[WatchedCourse] = (),
) -> list[CampaignRound]:
    """
    Take the next steps of every running campaign.

    Args:
        settings: the settings in force.
        attempt: does the work with one course; an error in it is reported, and the next course goes on.
        alive: called while the work goes on; it shows a sign of life.
        wanted: the courses to look at; None for all.
        watched: what the watch has found of the courses in this round.

    Returns:
        For each campaign that is running or paused its name, its state, how many of its courses wait for a person, and
        what was done with each of the others or what it waits for.
    """
    this = _Round(settings, attempt, alive, wanted, watched)
    with one_connection():
        done = [attempt("campaign", "", this.campaign, campaign) for campaign in this.at_work()]
    return [found for found in done if found is not None]


class _Round:
    """One round over all campaigns."""

    def __init__(
        self,
        settings: ShimSettings,
        attempt: Attempt,
        alive: Callable[..., None],
        wanted: list[str] | None,
        watched: Sequence[WatchedCourse],
    ) -> None:
        self.settings, self.attempt, self.alive, self.wanted = settings, attempt, alive, wanted
        self.alarms = {course["course"]: said for course in watched if (said := _alarm(course))}
        self.last = LastRound(watched)
        self.until = monotonic() + settings.campaign_seconds

    def at_work(self) -> list[Campaign]:
        """Return the campaigns that are running or paused, in the order in which they have their turn."""
        found, order = list(Campaign.objects.filter(state__in=OPEN).order_by("id")), self.last.order
        return sorted(found, key=lambda one: order.index(one.name) if one.name in order else len(order))

    @cached_property
    def trouble(self) -> str:
        """What a person has to look at before any step."""
        return trouble.trouble_of_all()

    @cached_property
    def silence(self) -> str:
        """That XQueue does not answer. It is asked once a round, and once more before each step."""
        return trouble.no_answer()

    def campaign(self, campaign: Campaign) -> CampaignRound:
        """Take the next steps of one campaign."""
        courses: list[CampaignMember] = []
        if campaign.state != CampaignState.RUNNING:
            pass
        elif self.trouble:
            states.set_state(campaign, CampaignState.PAUSED, f"stopped by what concerns all: {self.trouble}")
        elif self.silence:
            outage.note(campaign, self.silence)
        else:
            outage.over(campaign)
            courses = self._courses(campaign)
        campaign.refresh_from_db()
        numbers = Counter(campaign.courses.values_list("state", flat=True))
        return {
            "name": campaign.name,
            "state": campaign.state,
            "said": campaign.said,
            "stopped": {"parked": numbers[MemberState.PARKED], "failed": numbers[MemberState.FAILED]},
            "courses": courses,
        }

    def _courses(self, campaign: Campaign) -> list[CampaignMember]:
        """Do what may be done now with each course that is on its way, and look at the canary in any case."""
        members = list(campaign.courses.order_by("place"))
        going = [member for member in members if member.state == MemberState.GOING]
        mine = [member for member in going if self.wanted is None or member.course_id in self.wanted]
        courses = []
        for member in members:
            # One that has arrived, or that nobody has asked for: the others come behind it all the same.
            looked = member.state in states.LOOKED_AT and member not in mine
            if member.course_id == campaign.canary and looked and mine:
                courses += self._one(campaign, member, self._look)
        glance = Glance(campaign, mine, self.settings, self.last)
        for member in sorted(mine, key=lambda one: self._place(campaign, one)):
            if monotonic() >= self.until:
                courses.append(entry(member, [], LATER))
            else:
                courses += self._one(campaign, member, self._course, glance)
        if not campaign.courses.exclude(state=MemberState.DONE).exists():
            states.set_state(campaign, CampaignState.DONE, f"every course has arrived in {campaign.to}")
        return courses

    def _place(self, campaign: Campaign, member: CampaignCourse) -> tuple[bool, int]:
        """Put the canary first, and behind it, in their order, those that the last round had no time for."""
        late = self.last.late
        return member.course_id != campaign.canary, late.get((campaign.name, member.course_id), len(self.last.said))

    def _one(
        self, campaign: Campaign, member: CampaignCourse, work: Callable[..., list[CampaignMember]], *args: Any
    ) -> list[CampaignMember]:
        found = self.attempt("campaign", member.course_id, work, campaign, member, *args)
        if found is None and member.course_id == campaign.canary:
            # Nobody knows how it is, so nobody passes it.
            self.attempt("campaign", member.course_id, states.note_unknown, member)
        return [entry(member, [], "failed; see the problems")] if found is None else found

    def _gather(self, campaign: Campaign, member: CampaignCourse) -> CourseFacts:
        found = facts.gather(campaign, member, self.settings)
        if said := self.alarms.get(member.course_id):
            found = replace(found, health=Health.FAILED, health_said=f"out of its bounds: {said}")
        return found

    def _look(self, campaign: Campaign, canary: CampaignCourse) -> list[CampaignMember]:
        """See how a canary is with which nothing is to be done; it is told of only where it is stopped."""
        self.alive()
        found = self._gather(campaign, canary)
        if found.stopped or found.health is Health.FAILED:
            return [entry(canary, [], states.stop(campaign, canary, found))]
        states.note_health(campaign, canary, found, self.settings)
        return []

    def _course(self, campaign: Campaign, member: CampaignCourse, glance: Glance) -> list[CampaignMember]:
        """Do with one course what may be done now: no action twice, and nothing after a step."""
        first = member.course_id == campaign.canary or member.course_id in self.alarms
        if not first and (known := glance.waits(member)):
            return [known]
        did: list[str] = []
        while True:
            self.alive()
            found = self._gather(campaign, member)
            if found.stopped or found.health is Health.FAILED:
                return [entry(member, did, states.stop(campaign, member, found))]
            states.note_health(campaign, member, found, self.settings)
            held = _held(campaign)  # first: what follows goes by the rules as they are now
            step = facts.next_of(campaign, member.course_id, found, self.settings)
            if held and (step.done or step.action):
                return [entry(member, did, held)]
            if step.done:
                states.arrive(campaign, member)
                return [entry(member, did, f"has arrived in {found.phase}")]
            if step.action is None or step.action.value in did:
                looked_at = now().isoformat() if found.lacks and step.waits == f"waits for {found.lacks}" else None
                says = step.waits or f"tries {step.action} again in the next round"
                return [entry(member, did, says, looked_at)]
            # What has come before may have taken long.
            if step.action.phase and (silence := trouble.no_answer()):
                return [entry(member, did, f"waits: {silence}")]
            try:
                done = actions.do(step.action, campaign, member.course_id, found.phase, self.settings, self.alive)
            except (NotNow, IllegalStep) as refused:
                return [entry(member, did, str(refused))]
            did.append(step.action.value)
            if done.said and not done.waits and step.action in _ON_RECORD:
                tell(campaign, step.action.value, done.said, course_id=member.course_id)
            if done.waits and done.line:
                tell(campaign, done.line, done.said, course_id=member.course_id)
            if done.waits or step.action.phase:
                return [entry(member, did, done.waits or done.said)]


def _alarm(course: WatchedCourse) -> str:
    """Return why the watch would take a course back, whether it may or not; empty where it would not."""
    return "; ".join(breach["text"] for breach in course["breaches"] if breach["target_failed"])


def _held(campaign: Campaign) -> str:
    """Return why a campaign does nothing more in this round: what an operator has said meanwhile. It is read anew."""
    campaign.refresh_from_db()
    if campaign.state != CampaignState.RUNNING:
        return f"the campaign is {campaign.state} by now"
    return "the kill switch is on" if toggles.kill_switch_on() else ""
