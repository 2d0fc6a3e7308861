"""Whether the platform's tracking log would hold what comes to our URLs: callback URLs, keys, replies."""

from __future__ import annotations

import re
from collections.abc import Iterator

from django.conf import settings as django_settings
from django.urls import NoReverseMatch, get_script_prefix, reverse

from ..core.findings import Finding, found
from ..core.site_rules import SITE_RULES as RULES

#: Every URL of ours by its name, with what its path holds.
URLS: dict[str, list[str]] = {
    "get_submission": [],
    "put_result": [],
    "get_queuelen": [],
    "logout": [],
    "status": [],
    "login": [],
    "submit": [],
    "sink": ["0" * 32],
    "healthz": [],
}
#: In whichever module a release of the platform keeps it.
_MIDDLEWARE = "TrackMiddleware"


def findings() -> Iterator[Finding]:
    """Which of our paths the middleware would write down, matched as it matches them."""
    if not any(path.rpartition(".")[2] == _MIDDLEWARE for path in django_settings.MIDDLEWARE):
        return
    try:
        tracked = [path for path in _paths() if not _is_ignored(path)]
    except (re.error, TypeError) as error:
        yield found(RULES["bodies_tracked"], about=f"TRACKING_IGNORE_URL_PATTERNS cannot be used: {error}")
        return
    if tracked:
        yield found(RULES["bodies_tracked"], about=", ".join(tracked))


def _paths() -> Iterator[str]:
    for name, held in URLS.items():
        try:
            path = reverse(f"migration_shim:{name}", args=held)
        except NoReverseMatch:  # not mounted: nothing can come there
            continue
        yield "/" + path.removeprefix(get_script_prefix())  # the middleware sees PATH_INFO


def _is_ignored(path: str) -> bool:
    patterns = getattr(django_settings, "TRACKING_IGNORE_URL_PATTERNS", [])
    return any(re.match(pattern, path) for pattern in patterns)
