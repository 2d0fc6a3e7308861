"""Settings for production, applied after the platform has read its YAML files."""

from __future__ import annotations

from typing import Any

from . import common


def plugin_settings(settings: Any) -> None:
    """
    Take ``MIGRATION_SHIM`` and the ``xqueue`` database from the platform's YAML, and keep our router first.

    The YAML's ``DATABASES`` may hold the alias itself; a YAML that has only ``MIGRATION_SHIM_DATABASE`` gets it added.
    """
    common.plugin_settings(settings)
    tokens = getattr(settings, "ENV_TOKENS", {})
    settings.MIGRATION_SHIM = {**settings.MIGRATION_SHIM, **tokens.get("MIGRATION_SHIM", {})}
    database = tokens.get("MIGRATION_SHIM_DATABASE")
    if database and "xqueue" not in settings.DATABASES:
        settings.DATABASES["xqueue"] = {**database, "ATOMIC_REQUESTS": False}
    common.limit(getattr(settings, "DATABASES", {}).get("xqueue"))
