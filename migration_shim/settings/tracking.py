"""Keeping the forms of our URLs out of the platform's tracking log."""

from __future__ import annotations

from typing import Any

#: The mounted prefix (``url_config`` in ``apps.py``) as the tracking middleware sees it: a path from its first slash.
#: Several slashes lead to no view, but the middleware has written the form by then.
OURS = r"^/+migration_shim/"


def ignore_our_urls(settings: Any) -> None:
    """
    Have the platform's ``TrackMiddleware`` leave our URLs alone: it writes 512 characters of every form into a log.

    What the site has set stays, and stays first. A value that the middleware could make nothing of is left as it is;
    ``xqueue_preflight`` says whether our URLs are ignored. It never raises: the LMS would not start.
    """
    given = getattr(settings, "TRACKING_IGNORE_URL_PATTERNS", None)
    if given is None:
        given = []
    if isinstance(given, list | tuple) and OURS not in given:
        settings.TRACKING_IGNORE_URL_PATTERNS = [*given, OURS]
