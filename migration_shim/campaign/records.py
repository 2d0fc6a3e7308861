"""A campaign put on record, and changed: each change with who, when and why, under the lock of the campaign's steps."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from django.conf import settings as django_settings
from django.db import transaction
from django.utils.timezone import now

from .. import toggles
from ..core.campaign import CampaignState, MemberState
from ..core.campaign_plan import Plan
from ..core.data import Phase
from ..core.errors import ShimError
from ..models import Campaign, CampaignCourse
from .standing import foreign_step, newest_entry
from .tell import cut, tell

#: Campaigns that hold their courses.
OPEN = (CampaignState.RUNNING, CampaignState.PAUSED)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_NAMED = 5


class CampaignRefused(ShimError):
    """A campaign cannot be started or changed like this."""


def planned(rules: dict[str, Any], before: Plan | None = None) -> Plan:
    """
    Return the plan of these rules, or a plan before it with these rules changed.

    Raises:
        CampaignRefused: a rule is not valid.
    """
    try:
        zone = django_settings.TIME_ZONE
        return Plan.of(zone, **rules) if before is None else before.changed(zone, **rules)
    except ValueError as error:
        raise CampaignRefused(str(error)) from error


def new(
    courses: Sequence[str], to: Phase, *, name: str | None, canary: str, plan: Plan, reason: str, by: str
) -> tuple[Campaign, list[CampaignCourse]]:
    """
    Return a campaign and its courses, not stored yet.

    Args:
        courses: its courses, in the order in which they are to go.
        to: the phase to bring them to.
        name: its name; None for one made of the time.
        canary: the course that goes first.
        plan: its rules.
        reason: why, for the record.
        by: the operator.

    Raises:
        CampaignRefused: the name is taken or not valid, the canary is no course of it, or a course is in another one.
    """
    moment = now()
    name = name or f"{to}-{moment:%Y%m%d-%H%M%S}"
    if not _NAME.fullmatch(name):
        raise CampaignRefused(f"{name!r} is no name: letters, digits, dots, dashes and underscores, 64 at most")
    if Campaign.objects.filter(name=name).exists():
        raise CampaignRefused(f"There is a campaign {name} already; give another --name")
    members = list(dict.fromkeys(courses))
    if canary not in members:
        raise CampaignRefused(f"The canary {canary} is not among the courses of the campaign")
    held = dict(
        CampaignCourse.objects.filter(held=True, course_id__in=members).values_list("course_id", "campaign__name")
    )
    if held:
        some = ", ".join(f"{course_id} in {of}" for course_id, of in sorted(held.items())[:_NAMED])
        more = f" and {len(held) - _NAMED} more" if len(held) > _NAMED else ""
        raise CampaignRefused(f"A course is in one campaign at a time: {some}{more}")
    campaign = Campaign(
        name=name,
        to=to,
        canary=canary,
        plan=plan.to_json(),
        reason=cut(Campaign, "reason", reason),
        started_at=moment,
        started_by=by[:150],
    )
    rows = [
        CampaignCourse(campaign=campaign, course_id=course_id, place=place, log_seen=newest_entry(course_id))
        for place, course_id in enumerate(members)
    ]
    return campaign, rows


def start(campaign: Campaign, rows: list[CampaignCourse], *, by: str) -> None:
    """Store a campaign that ``new`` has made; its courses stay the same until its end."""
    for row in rows:
        # A step that flags ask for, and that nobody has recorded yet, is older than the campaign.
        toggles.new_work_cycle()
        toggles.phase_of(row.course_id)
        row.log_seen = newest_entry(row.course_id)
    with transaction.atomic():
        campaign.save(force_insert=True)
        CampaignCourse.objects.bulk_create(rows)
        tell(campaign, "start", campaign.reason, by=by)


def named(name: str | None) -> Campaign:
    """
    Return the campaign with this name; for None the one that is running or paused.

    Raises:
        CampaignRefused: there is none, or more than one.
    """
    if name is not None:
        found = Campaign.objects.filter(name=name).first()
        if found is None:
            raise CampaignRefused(f"There is no campaign {name!r}; see xqueue_campaign status --all")
        return found
    at_work = list(Campaign.objects.filter(state__in=OPEN).order_by("id"))
    if not at_work:
        raise CampaignRefused("No campaign is at work; xqueue_campaign status --all shows those that have ended")
    if len(at_work) != 1:
        names = ", ".join(campaign.name for campaign in at_work)
        raise CampaignRefused(f"Name the campaign with --name; at work: {names}")
    return at_work[0]


def pause(campaign: Campaign, *, reason: str, by: str) -> None:
    """Let a campaign take no further step until ``resume``; its courses stay where they are."""
    _change(
        campaign, "pause", reason, by, lambda locked: _state(locked, CampaignState.PAUSED, f"paused by {by}: {reason}")
    )


def stop(campaign: Campaign, *, reason: str, by: str) -> None:
    """End a campaign; its courses stay where they are, and may be in another one."""

    def end(locked: Campaign) -> None:
        _state(locked, CampaignState.STOPPED, f"stopped by {by}: {reason}")
        locked.courses.update(held=None)

    _change(campaign, "stop", reason, by, end)


def resume(campaign: Campaign, course_ids: Sequence[str], *, reason: str, by: str) -> None:
    """
    Let a paused campaign go on, or courses of it that are parked or have failed.

    Raises:
        CampaignRefused: a course is not in the campaign, or needs no ``resume``.
    """
    if not course_ids:
        _change(campaign, "resume", reason, by, lambda locked: _state(locked, CampaignState.RUNNING, ""))
        return
    with transaction.atomic():  # all of them or none
        _resume_courses(campaign, course_ids, reason=reason, by=by)


def _resume_courses(campaign: Campaign, course_ids: Sequence[str], *, reason: str, by: str) -> None:
    for course_id in course_ids:

        def go_on(locked: Campaign, course_id: str = course_id) -> None:
            member = locked.courses.filter(course_id=course_id).first()
            # Whoever has moved it is seen by the next round of the watch only, and the screen says so before.
            going = member is not None and member.state == MemberState.GOING and not foreign_step(locked, member)
            if member is None or going or member.state == MemberState.DONE:
                stands = "not in it" if member is None else member.state
                raise CampaignRefused(f"{course_id} is neither parked nor failed in campaign {locked.name}: {stands}")
            member.state, member.said, member.well_since = MemberState.GOING, "", None
            member.log_seen, member.resumed_at = newest_entry(course_id), now()
            member.save()

        _change(campaign, "resume", reason, by, go_on, course_id=course_id)


def change(campaign: Campaign, plan: Plan, canary: str | None, *, reason: str, by: str) -> None:
    """
    Change the rules or the canary of a campaign, which is as the operator has read it.

    Raises:
        CampaignRefused: the canary is no course of it, or somebody else has changed it since it was read.
    """

    def put(locked: Campaign) -> None:
        if (locked.plan, locked.canary) != seen:
            raise CampaignRefused(f"Campaign {locked.name} was changed meanwhile: look at it, and say it again")
        if canary is not None and not locked.courses.filter(course_id=canary).exists():
            raise CampaignRefused(f"The canary {canary} is not among the courses of the campaign")
        locked.plan, locked.canary = plan.to_json(), canary or locked.canary
        locked.save(update_fields=["plan", "canary"])

    seen = (campaign.plan, campaign.canary)
    before, after = campaign.plan | {"canary": campaign.canary}, plan.to_json() | {"canary": canary or campaign.canary}
    changes = ", ".join(f"{key} {before[key]} -> {after[key]}" for key in after if before[key] != after[key])
    _change(campaign, "change", f"{changes}: {reason}", by, put)


def _change(
    campaign: Campaign, what: str, reason: str, by: str, work: Callable[[Campaign], None], course_id: str = ""
) -> None:
    """Change a campaign under its lock, which the next step waits for; the change and its line are stored together."""
    with transaction.atomic():
        locked = Campaign.objects.select_for_update().get(pk=campaign.pk)
        if locked.state not in OPEN:
            raise CampaignRefused(f"Campaign {locked.name} is {locked.state}: start another one")
        work(locked)
        tell(locked, what, reason, course_id=course_id, by=by)
    campaign.refresh_from_db()


def _state(locked: Campaign, state: CampaignState, said: str) -> None:
    if state is CampaignState.RUNNING and locked.state != state:
        locked.resumed_at = now()
    locked.state, locked.said = state, cut(Campaign, "said", said)
    locked.save(update_fields=["state", "said", "resumed_at"])
