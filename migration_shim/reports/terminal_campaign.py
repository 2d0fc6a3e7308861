"""
Campaigns as text for a terminal: how many courses stand how, the rules, one line a course, what was done lately.

Those that wait for a person come first. On a terminal a course's line is cut where that ends, in a pipe it is whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.campaign import STOPPED, MemberState
from ..core.documents.campaign import CampaignCourseDocument, CampaignDocument, DescribedCampaign
from ..core.ranking import short_names
from ..core.wording import counted, verb
from .course_words import day
from .terminal_courses import one_line

#: Lines of the history on a screen; the document has more.
_LINES = 5
#: The order in which a reader has to know of courses.
_RANK = (*STOPPED, MemberState.GOING, MemberState.DONE)
#: What the line of a course that waits for a person ends with; it is a line of its own here.
_COMMAND = "; xqueue_campaign resume "


def lines(content: CampaignDocument) -> list[str]:
    """Return the lines of a document of ``xqueue_campaign``."""
    if not content["campaigns"]:
        return ["No campaign is at work.", "Next: xqueue_campaign start --org ORG --to complete --reason TEXT"]
    found: list[str] = []
    for campaign in content["campaigns"]:
        found += [""] * bool(found) + _campaign(campaign, content)
    return found


def _campaign(campaign: DescribedCampaign, content: CampaignDocument) -> list[str]:
    numbers: Mapping[str, Any] = campaign["counts"]
    counts = ", ".join(f"{number} {state}" for state in _RANK if (number := numbers[state]))
    planned = not content["executed"] and content["action"] != "status"
    courses = counted(len(campaign["courses"]), "course")
    name = f"{'Plan. Campaign' if planned else 'Campaign'} {campaign['name']}"
    found = [f"{name}: {campaign['state']}, {courses} to {campaign['to']}: {counts}"]
    found += [f"  {text[:1].upper()}{text[1:]}" for text in (campaign["said"], campaign["canary_because"]) if text]
    found += [f"  because: {campaign['reason']}", f"  rules: {'; '.join(_rules(campaign))}"]
    ranked = sorted(campaign["courses"], key=lambda course: _RANK.index(MemberState(course["state"])))
    names = short_names([course["course"] for course in ranked])
    found += [one_line(_course(course, names, campaign, content)) for course in ranked]
    for entry in campaign["lines"][:_LINES]:
        text = entry["text"].partition(_COMMAND)[0].removeprefix(f"{entry['what']}: ")
        what = " ".join(filter(None, (entry["what"], entry["course"], text)))
        found.append(f"  {entry['at'][:16].replace('T', ' ')} {entry['by']}: {what}")
    return found + _next(campaign, content, [course["course"] for course in ranked if course["state"] in STOPPED])


def _course(
    course: CampaignCourseDocument, names: dict[str, str], campaign: DescribedCampaign, content: CampaignDocument
) -> str:
    canary = " (canary)" if course["course"] == campaign["canary"] else ""
    expected = f", about {day(course['expected_at'], content['at'])}" if course["expected_at"] else ""
    says = course["says"].partition(_COMMAND)[0] + expected
    says = says.removeprefix(f"failed in {course['phase']}: ").removeprefix("parked: ")
    name = names[course["course"]].removeprefix("course-v1:")
    state = course["state"].upper() if course["state"] in STOPPED else course["state"]
    return f"{course['phase']:<8} {state:<6} {name}{canary}: {says}"


def _next(campaign: DescribedCampaign, content: CampaignDocument, stopped: list[str]) -> list[str]:
    resume = f"Next: xqueue_campaign resume --name {campaign['name']}"
    if content["action"] != "status" and not content["executed"]:
        # Which one is chosen changes with what is open in XQueue: named, it is the one that this plan shows.
        canary = f"--canary {campaign['canary']} " if campaign["canary_because"] else ""
        return [f"Nothing was written. Next: the same command with {canary}--execute"]
    if content["action"] == "start":
        status = f"Next: xqueue_campaign status --name {campaign['name']}"
        return ["xqueue_watch takes it from here, in every round, or Celery beat.", status]
    if campaign["state"] == "paused":
        return [f"{resume} --reason TEXT --execute"]
    if stopped and campaign["state"] == "running":
        waits = f"{counted(len(stopped), 'course')} {verb(len(stopped), 'waits', 'wait')} for you. When it is mended,"
        return [f"{waits} let it go on, one or several:", f"{resume} --course {stopped[0]} --reason TEXT --execute"]
    return []


def _rules(campaign: DescribedCampaign) -> list[str]:
    rules = [f"{campaign['limit']} in flight at most", f"soaks in live for {campaign['soak']}"]
    rules += [f"window {window}" for window in campaign["windows"]] or ["at any hour"]
    rules += [f"frozen {freeze}" for freeze in campaign["freezes"]]
    if campaign["not_before"]:
        rules.append(f"not before {campaign['not_before']}")
    if campaign["freezes"] or campaign["not_before"]:
        rules.append(f"days of {campaign['zone']}")
    return rules
