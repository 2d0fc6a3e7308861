"""Overrides of the gate in words: the same for the terminal, the reports and the dashboard."""

from __future__ import annotations

from .documents.overrides import CourseOverride


def signers(signed_by: str, seconded_by: str) -> str:
    """Return who signed an override, the second person included."""
    return f"{signed_by} and {seconded_by}" if seconded_by else signed_by


def used(item: CourseOverride) -> str:
    """Return the line of an override that a step was taken with. ``item`` is one of a document's ``overrides``."""
    past = f" past {', '.join(item['causes'])}" if item.get("causes") else ""
    when = item.get("used_at") or item["expires_at"]
    who = signers(item["signed_by"], item.get("seconded_by", ""))
    return f"OVERRIDE to {item['step_to']} by {who} on {when}{past}: {item['reason']}"


def proposed(item: CourseOverride) -> str:
    """Return the line of an override that waits for a second person."""
    return (
        f"OVERRIDE PROPOSED to {item['step_to']} by {item['signed_by']} past {', '.join(item['causes'])}: "
        f"{item['reason']}. It waits for a second person until {item['expires_at']}"
    )
