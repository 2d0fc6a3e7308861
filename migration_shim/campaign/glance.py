"""
A glance at the courses of a campaign, asked once for all of them: who goes on waiting needs no look at its evidence.

Only what a course waits for is said by it. Whatever is to be done, and whatever is out of order, gets a look of its own
at that course alone; so what has changed since the glance costs a round of waiting at most, and never a step too many.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from django.db.models import Max
from django.utils.timezone import now

from .. import toggles
from ..conf import ShimSettings
from ..core.campaign import CourseFacts, Preflight, next_step
from ..core.campaign_plan import Plan
from ..core.data import Phase
from ..core.documents.watch import CampaignMember
from ..models import Campaign, CampaignCourse, Run
from ..status import queries
from . import facts
from .standing import is_foreign, standings, turn
from .tell import LIMIT

#: How long what a course lacks is taken for granted. Pairs come by the hour; what speaks against a course is looked at
#: as soon as the watch sees it.
KNOWN_FOR = timedelta(minutes=30)
#: What of a reconcile would speak against a course.
_AGAINST = ("complete", "diverged", "overdue")
#: What a round says of a course that it had no time for.
LATER = "waits for the next round: this one took long"


class LastRound:
    """What the last round of the watch has said of courses, and whether this one has seen the same of them."""

    def __init__(self, watched: Sequence[Mapping[str, Any]]) -> None:
        rounds = Run.objects.filter(kind="watch", scope="", finished_at__isnull=False).order_by("-id")
        campaigns, courses = rounds.values_list("document__campaigns", "document__courses").first() or ((), ())
        campaigns = campaigns or ()
        self.said: dict[tuple[str, str], CampaignMember] = {
            (found["name"], course["course"]): course for found in campaigns for course in found["courses"]
        }
        #: The names of its campaigns, in the order of this round.
        self.order = _order(campaigns)
        #: The places of the courses that it had no time for, in its own order.
        self.late = {key: place for place, (key, course) in enumerate(self.said.items()) if course["says"] == LATER}
        before, seen = _against(courses or ()), _against(watched)
        #: Courses of which nothing new is to be feared.
        self.same = {course_id for course_id, numbers in seen.items() if before.get(course_id) == numbers}


def _order(campaigns: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return names so that of campaigns that take long each has its turn: first the one that the round came not to."""
    names = [found["name"] for found in campaigns]
    late = [{course["says"] for course in found["courses"]} == {LATER} for found in campaigns]
    first = late.index(True) if True in late else 0
    return [*names[first:], *names[:first]]


def _against(courses: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return by course what a reconcile found against it; without those that are out of a bound."""
    return {
        course["course"]: [course["reconcile"][name] for name in _AGAINST]
        for course in courses
        if course["reconcile"] and not course["breaches"]
    }


class Glance:
    """What is known of the courses of a campaign without their evidence."""

    def __init__(
        self, campaign: Campaign, members: Sequence[CampaignCourse], settings: ShimSettings, last: LastRound
    ) -> None:
        self.campaign, self.settings, self.last = campaign, settings, last
        self.ids = [member.course_id for member in members]

    @cached_property
    def _states(self) -> dict[str, queries.CourseState]:
        toggles.new_work_cycle()
        return queries.course_states(self.ids)

    @cached_property
    def _preflights(self) -> dict[str, Preflight]:
        runs = Run.objects.filter(kind="preflight", scope__in=self.ids, complete=True).order_by().values("scope")
        newest = [row["last"] for row in runs.annotate(last=Max("id"))]
        columns = ("scope", "finished_at", "document__findings")
        # Whether a queue was polled since concerns no step to shadow.
        return {
            scope: facts.preflight_of(ended, findings, polled=False)
            for scope, ended, findings in Run.objects.filter(id__in=newest).values_list(*columns)
        }

    @cached_property
    def _cut_off(self) -> dict[str, datetime]:
        lines = self.campaign.lines.filter(what=facts.CUT_OFF).order_by().values_list("course_id")
        return dict(lines.annotate(Max("at")))

    @cached_property
    def _standings(self) -> dict[str, Any]:
        return standings(self.campaign)

    def waits(self, member: CampaignCourse) -> CampaignMember | None:
        """Return what a course goes on waiting for, as the round's document has it; None where it needs a look."""
        state = self._states[member.course_id]
        if state.asked is not state.phase or (state.change and is_foreign(self.campaign, member, state.change)):
            return None
        if state.phase is Phase.LEGACY:
            return self._in_legacy(member, state)
        return self._for_evidence(member, state)

    def _in_legacy(self, member: CampaignCourse, state: queries.CourseState) -> CampaignMember | None:
        if member.well_since is not None:
            return None
        since, cut_off = state.record.since if state.record else self.campaign.started_at, None
        if (at := self._cut_off.get(member.course_id)) is not None and at >= since:
            cut_off = now() - at
        found = CourseFacts(
            phase=Phase.LEGACY,
            since=now() - since,
            preflight=self._preflights.get(member.course_id, Preflight()),
            cut_off=cut_off,
        )
        step = next_step(
            found,
            facts.wish_of(self.campaign, self.settings),
            closed=Plan.from_json(self.campaign.plan).calendar().closed(now()),
            turn=turn(self.campaign, member.course_id, Phase.SHADOW, self._standings),
        )
        return entry(member, [], step.waits) if step.waits else None

    def _for_evidence(self, member: CampaignCourse, state: queries.CourseState) -> CampaignMember | None:
        before = self.last.said.get((self.campaign.name, member.course_id))
        at = before.get("looked_at") if before is not None else None  # a round of an older release has none
        if before is None or at is None or member.course_id not in self.last.same:
            return None
        looked_at = datetime.fromisoformat(at)
        since = state.record.since if state.record else None
        changed = [moment for moment in (since, member.resumed_at, self.campaign.resumed_at) if moment is not None]
        # Well where it stands, and so in nobody's slot: what it lacks is for the next step alone.
        well = state.phase is Phase.SHADOW and member.well_since == since
        # A clock that was set back makes no look a newer one.
        if not well or not now() - KNOWN_FOR <= looked_at <= now() or looked_at < max(changed):
            return None
        return entry(member, [], before["says"], looked_at=at)


def entry(member: CampaignCourse, did: list[str], says: str, looked_at: str | None = None) -> CampaignMember:
    """Return what a round says of a course. ``looked_at`` is when its evidence was looked at, where it waits for it."""
    return {"course": member.course_id, "did": did, "says": says[:LIMIT], "looked_at": looked_at}
