"""
Tell requests that a browser sends on behalf of another site's page from all others.

A view without CSRF tokens uses this instead. Source: the check of Go's ``net/http.CrossOriginProtection``.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit


def from_another_site(headers: Mapping[str, str], host: str) -> bool:
    """
    Tell whether a request was made by a browser, and not for a page of this very host.

    Every browser says so in at least one of two headers that no page can set: ``Sec-Fetch-Site`` (all since 2023), or
    ``Origin``, which it sends with every POST. A request with neither comes from no browser, and acts for its sender
    only.

    Args:
        headers: the request's, under names whose case does not matter.
        host: the host that was asked, with its port where the request names one.
    """
    fetch_site = headers.get("Sec-Fetch-Site")
    if fetch_site is not None:
        return fetch_site not in ("same-origin", "none")
    origin = headers.get("Origin")
    if origin is None:
        return False
    try:
        return urlsplit(origin).netloc != host
    except ValueError:  # an unfinished IPv6 host, for one
        return True
