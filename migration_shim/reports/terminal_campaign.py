"""Campaigns as text for a terminal: the rules, then one line a course, then what was done and changed lately."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from ..core.documents.campaign import CampaignDocument, DescribedCampaign
from ..core.wording import counted
from .course_words import day

#: Lines of the history on a screen; the document has more.
_LINES = 5
_WIDTH = 80


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
    counts = ", ".join(f"{count} {state}" for state, count in numbers.items() if count)
    verb = "Plan. Campaign" if not content["executed"] and content["action"] != "status" else "Campaign"
    courses = counted(len(campaign["courses"]), "course")
    found = [f"{verb} {campaign['name']}: {campaign['state']}, {courses} to {campaign['to']}: {counts}"]
    found += _wrapped(campaign["said"].upper()[:1] + campaign["said"][1:]) if campaign["said"] else []
    found += _wrapped(f"because: {campaign['reason']}")
    found += _wrapped(f"rules: {'; '.join(_rules(campaign))}")
    for course in campaign["courses"]:
        canary = " (canary)" if course["course"] == campaign["canary"] else ""
        word = "" if course["state"] == "going" else f" {course['state'].upper()}"
        found.append(f"{course['phase']:<8}{word} {course['course']}{canary}")
        expected = f", about {day(course['expected_at'], content['at'])}" if course["expected_at"] else ""
        found += _wrapped(course["says"] + expected, "         ")
    for entry in campaign["lines"][:_LINES]:
        what = " ".join(filter(None, (entry["what"], entry["course"], entry["text"])))
        found += _wrapped(f"{entry['at'][:16].replace('T', ' ')} {entry['by']}: {what}")
    if content["action"] != "status" and not content["executed"]:
        found.append("Nothing was written. Next: the same command with --execute")
    elif content["action"] == "start":
        found.append("xqueue_watch takes it from here, in every round, or Celery beat.")
        found.append(f"Next: xqueue_campaign status --name {campaign['name']}")
    elif campaign["state"] == "paused":
        found.append(f"Next: xqueue_campaign resume --name {campaign['name']} --reason TEXT --execute")
    return found


def _rules(campaign: DescribedCampaign) -> list[str]:
    rules = [f"{campaign['limit']} in flight at most", f"soaks in live for {campaign['soak']}"]
    rules += [f"window {window}" for window in campaign["windows"]] or ["at any hour"]
    rules += [f"frozen {freeze}" for freeze in campaign["freezes"]]
    if campaign["not_before"]:
        rules.append(f"not before {campaign['not_before']}")
    if campaign["freezes"] or campaign["not_before"]:
        rules.append(f"days of {campaign['zone']}")
    return rules


def _wrapped(text: str, indent: str = "  ") -> list[str]:
    """Return a text in lines of a terminal; a word that is longer, such as a course's id, is left whole."""
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
