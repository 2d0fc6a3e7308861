"""The sites that an LMS serves. Source: edx-platform, ``openedx/core/djangoapps/site_configuration/models.py``."""

from __future__ import annotations

from collections.abc import Iterator

from django.apps import apps

_SITE_CONFIGURATION = "openedx.core.djangoapps.site_configuration"


def urls() -> Iterator[str]:
    """Yield the URLs of each site: ``https://`` and its domain, and its own ``LMS_ROOT_URL``; none outside an LMS."""
    if not apps.is_installed(_SITE_CONFIGURATION):
        return
    rows = apps.get_model("site_configuration", "SiteConfiguration").objects  # type: ignore[misc]  # the platform's
    for values, domain in rows.values_list("site_values", "site__domain"):
        yield f"https://{domain}"
        root = values.get("LMS_ROOT_URL") if isinstance(values, dict) else None
        if isinstance(root, str):
            yield root
