"""Settings for every environment of an LMS."""

from __future__ import annotations

from typing import Any

ROUTER = "migration_shim.legacy.routers.LegacyRouter"


def plugin_settings(settings: Any) -> None:
    """
    Put our database router first and give ``MIGRATION_SHIM`` a default.

    First, because the LMS's ReadReplicaRouter answers every question with ``default``.
    """
    routers = [router for router in getattr(settings, "DATABASE_ROUTERS", []) if router != ROUTER]
    settings.DATABASE_ROUTERS = [ROUTER, *routers]
    if not hasattr(settings, "MIGRATION_SHIM"):
        settings.MIGRATION_SHIM = {}
