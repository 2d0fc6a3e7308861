"""The installation as a whole: what a preflight of any course says of it."""

from __future__ import annotations

from ..conf import ShimSettings
from ..core.errors import LegacyNotReadable
from ..core.findings import Finding
from ..legacy import privileges
from . import connectivity, databases, platform, tracking_log, versions


def check_readable() -> None:
    """
    Refuse to begin without XQueue's rows: a preflight of none of them would look like one of a course that has none.

    Raises:
        LegacyNotReadable: with what to do.
    """
    if complaint := privileges.read_complaint():
        raise LegacyNotReadable(f"XQueue's table queue_submission cannot be read through the alias xqueue: {complaint}")


def site_findings(course_id: str, settings: ShimSettings) -> list[Finding]:
    """
    What is wrong with databases, platform and services, from where this runs. Nothing is written on legacy or target.

    Whatever does not answer is a finding, within seconds each; a login is all that it leaves behind.
    """
    return [
        *versions.findings(),
        *databases.findings(),
        *platform.findings(course_id, settings),
        *tracking_log.findings(),
        *connectivity.findings(settings),
    ]
