"""Findings about the platform's tracking log, which may hold what is sent to our URLs: callback URLs, keys, replies."""

from __future__ import annotations

import re
from collections.abc import Iterator

from django.conf import settings as django_settings
from django.urls import NoReverseMatch, get_script_prefix, reverse

from ..core.findings import Finding, found
from ..core.site_rules import SITE_RULES as RULES

#: Every URL of ours by its name, with the arguments of its path.
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
#: The class; its module differs between releases of the platform.
_MIDDLEWARE = "TrackMiddleware"


def findings() -> Iterator[Finding]:
    """Yield a finding with those of our paths that the tracking middleware would log."""
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
        except NoReverseMatch:  # not mounted: no request can get there
            continue
        yield "/" + path.removeprefix(get_script_prefix())  # the middleware sees PATH_INFO


def _is_ignored(path: str) -> bool:
    patterns = getattr(django_settings, "TRACKING_IGNORE_URL_PATTERNS", [])
    return any(re.match(pattern, path) for pattern in patterns)
