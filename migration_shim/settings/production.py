"""
Settings for production, applied after the platform has read its YAML files.

The platform makes each key of the YAML a setting of its own, before plugins are asked: every release that the app
supports does. ``ENV_TOKENS``, which the older ones of them have too, are the same once more for old plugins.
"""

from __future__ import annotations

from typing import Any

from . import common


def plugin_settings(settings: Any) -> None:
    """
    Take the ``xqueue`` database from the platform's YAML, and keep our router first.

    The YAML's ``DATABASES`` may hold the alias itself; a YAML that has only ``MIGRATION_SHIM_DATABASE`` gets it added.
    """
    common.plugin_settings(settings)
    databases = getattr(settings, "DATABASES", None)
    if not isinstance(databases, dict):
        return
    if not isinstance(databases.get("xqueue", {}), dict):
        del databases["xqueue"]  # Django would not start with it; without it our check says that it is missing
    given = getattr(settings, "MIGRATION_SHIM_DATABASE", None)
    if given and isinstance(given, dict) and "xqueue" not in databases:
        databases["xqueue"] = {**given, "ATOMIC_REQUESTS": False}
    common.limit(databases.get("xqueue"))
