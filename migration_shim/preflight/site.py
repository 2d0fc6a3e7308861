"""Findings about the installation as a whole, which the preflight of any course reports."""

from __future__ import annotations

from ..conf import ShimSettings
from ..core.errors import LegacyNotReadable
from ..core.findings import Finding
from ..legacy import privileges
from ..legacy.timeouts import AWAY
from . import connectivity, databases, platform, tracking_log, versions


def check_readable() -> None:
    """
    Refuse a preflight if XQueue's rows cannot be read: it would look like that of a course without rows.

    Raises:
        LegacyNotReadable: with the complaint of the database.
    """
    try:
        privileges.probe_read()
    except AWAY as error:
        complaint = privileges.read_complaint_of(error)
        raise LegacyNotReadable(
            f"XQueue's table queue_submission cannot be read through the alias xqueue: {complaint}"
        ) from error


def site_findings(course_id: str, settings: ShimSettings) -> list[Finding]:
    """
    Return the findings about versions, databases, platform and services, as seen from this process.

    Nothing is written on legacy or the target but a login. What does not answer within some seconds is a finding.
    """
    return [
        *versions.findings(),
        *databases.findings(),
        *platform.findings(course_id, settings),
        *tracking_log.findings(),
        *connectivity.findings(settings),
    ]
