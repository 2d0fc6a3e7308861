"""The document of ``xqueue_campaign``: each campaign, its rules, and one line a course."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, cast

from django.utils.timezone import now

from ..conf import load
from ..core.campaign import CampaignState, MemberState, Next, next_step
from ..core.campaign_plan import Plan
from ..core.data import Document, ExitCode, Phase
from ..core.documents.campaign import (
    CampaignCourseDocument,
    CampaignDocument,
    DescribedCampaign,
    HistoryLine,
    MemberCounts,
)
from ..models import Campaign, CampaignCourse, CoursePhase
from ..runs.isolated import run_step
from . import facts
from .standing import foreign_step

SCHEMA = "migration_shim.xqueue_campaign/1"
_UNTOLD = "cannot be told now: "
#: Lines of the history that a document shows.
LINES = 20


def document(
    campaigns: Iterable[Campaign], action: str, *, executed: bool, because: str = ""
) -> Document[CampaignDocument]:
    """
    Return the document of campaigns that are on record.

    Exit code 2: a course has failed. 4: a course is parked, or a campaign paused. 1: it cannot be told of a course
    where it stands; what was to be written is written.

    Args:
        campaigns: the campaigns.
        action: the sub-command.
        executed: whether something was written.
        because: why the canary is the one it is, where nobody has named it.
    """
    content = [
        _campaign(campaign, list(campaign.courses.order_by("place")), stored=True, because=because)
        for campaign in campaigns
    ]
    return _document(content, action, executed=executed)


def plan_of(campaign: Campaign, rows: list[CampaignCourse], because: str) -> Document[CampaignDocument]:
    """Return the document of a campaign that is not on record yet: what it would do, and why with this canary."""
    return _document([_campaign(campaign, rows, stored=False, because=because)], "start", executed=False)


def _document(campaigns: list[DescribedCampaign], action: str, *, executed: bool) -> Document[CampaignDocument]:
    code = ExitCode.OK
    for campaign in campaigns:
        if any(course["says"].startswith(_UNTOLD) for course in campaign["courses"]):
            code |= ExitCode.ERROR
        if campaign["state"] in (CampaignState.STOPPED, CampaignState.DONE):
            continue
        if campaign["counts"]["failed"]:
            code |= ExitCode.DIFFERENCES
        if campaign["counts"]["parked"] or campaign["state"] == CampaignState.PAUSED:
            code |= ExitCode.LEFT_BEHIND
    content: CampaignDocument = {
        "schema": SCHEMA,
        "at": now().isoformat(),
        "action": action,
        "executed": executed,
        "campaigns": campaigns,
    }
    return Document(content=content, exit_code=code)


def _campaign(campaign: Campaign, rows: list[CampaignCourse], *, stored: bool, because: str) -> DescribedCampaign:
    plan = Plan.from_json(campaign.plan)
    states = Counter(row.state for row in rows)
    return {
        "name": campaign.name,
        "state": campaign.state,
        "said": campaign.said,
        "to": campaign.to,
        "canary": campaign.canary,
        "canary_because": because,
        "limit": plan.limit,
        "soak": plan.soak,
        "windows": list(plan.windows),
        "freezes": list(plan.freezes),
        "not_before": plan.not_before,
        "zone": plan.zone,
        "reason": campaign.reason,
        "started_at": campaign.started_at.isoformat(),
        "started_by": campaign.started_by,
        "counts": cast(MemberCounts, {state.value: states[state] for state in MemberState}),
        "courses": [_course_or_why_not(campaign, row, stored=stored) for row in rows],
        "lines": [_line(line) for line in campaign.lines.order_by("-id")[:LINES]] if stored else [],
    }


def _line(line: Any) -> HistoryLine:
    return {
        "at": line.at.isoformat(),
        "by": line.by,
        "course": line.course_id,
        "what": line.what,
        "text": line.text,
    }


def _course_or_why_not(campaign: Campaign, row: CampaignCourse, *, stored: bool) -> CampaignCourseDocument:
    """Return a course's line; an error in it, as of XQueue's database that is down, hides no other course."""
    shown, said = run_step("status", row.course_id, lambda: _course(campaign, row, stored=stored))
    if shown is not None:
        return shown
    record = CoursePhase.objects.filter(course_id=row.course_id).first()
    return {
        "course": row.course_id,
        "phase": record.phase if record else Phase.LEGACY.value,
        "state": row.state,
        "next": None,
        "says": f"{_UNTOLD}{said}",
        "expected_at": None,
    }


def _course(campaign: Campaign, row: CampaignCourse, *, stored: bool) -> CampaignCourseDocument:
    settings, plan = load(), Plan.from_json(campaign.plan)
    found = facts.gather(campaign, row, settings, stored=stored)
    moved = foreign_step(campaign, row) if row.state == MemberState.DONE else ""
    if row.state == MemberState.DONE:
        step = Next(done=True)
    elif stored:
        step = facts.next_of(campaign, row.course_id, found, settings)
    else:
        step = next_step(found, facts.wish_of(campaign, settings), closed=plan.calendar().closed(now()), turn="")
    pairs = step.action is None and bool(found.lacks) and found.lacks in step.waits
    expected = facts.expected_at(row.course_id, found, settings) if pairs else None
    return {
        "course": row.course_id,
        "phase": found.phase.value,
        "state": row.state,
        "next": step.action.value if step.action else None,
        "says": _says(campaign, step, found.phase) + (f", and was then {moved}" if moved else ""),
        "expected_at": expected.isoformat() if expected else None,
    }


def _says(campaign: Campaign, step: Next, phase: Phase) -> str:
    if step.done:
        return f"has arrived in {campaign.to}"
    if campaign.state == CampaignState.STOPPED:
        return f"stays in {phase}"
    if step.action is None:
        return step.waits
    held = "" if campaign.state == CampaignState.RUNNING else f", when the {campaign.state} campaign goes on"
    return f"next: {step.action}{held}"
