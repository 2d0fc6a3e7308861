"""Settings for every environment of an LMS."""

from __future__ import annotations

from typing import Any

from . import tracking

ROUTER = "migration_shim.legacy.routers.LegacyRouter"


def plugin_settings(settings: Any) -> None:
    """
    Put our database router first, give ``MIGRATION_SHIM`` a default, and keep our forms out of the tracking log.

    First, because the LMS's ReadReplicaRouter answers every question with ``default``.
    """
    routers = [router for router in getattr(settings, "DATABASE_ROUTERS", []) if router != ROUTER]
    settings.DATABASE_ROUTERS = [ROUTER, *routers]
    if not hasattr(settings, "MIGRATION_SHIM"):
        settings.MIGRATION_SHIM = {}
    tracking.ignore_our_urls(settings)


#: Seconds that the client of MySQL or MariaDB waits for XQueue's database, unless the YAML says otherwise. To read and
#: to write a little more than a statement may take by ``legacy/limits.py``: the server is the one to end it.
LIMITS = {"connect_timeout": 3, "read_timeout": 65, "write_timeout": 65}


def limit(database: dict[str, Any] | None) -> None:
    """Have nobody wait for a database of XQueue that does not answer. For other servers there is nothing to set."""
    if database and database.get("ENGINE", "").endswith("mysql"):
        database["OPTIONS"] = LIMITS | (database.get("OPTIONS") or {})
