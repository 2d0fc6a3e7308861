"""
Settings for every environment of an LMS.

Nothing here may raise, whatever the YAML holds: the LMS would not start. What is no dictionary or list where one is
needed is left as it is; the checks and the commands refuse it by name.
"""

from __future__ import annotations

from typing import Any

from . import tracking

ROUTER = "migration_shim.legacy.routers.LegacyRouter"
#: The name of our logging filter among the LMS's.
LOG_FILTER = "fenced_results"


def plugin_settings(settings: Any) -> None:
    """Put what the app needs into the settings of an LMS. It may be called more than once."""
    route_first(settings)
    filter_logs(settings)
    if not hasattr(settings, "MIGRATION_SHIM"):
        settings.MIGRATION_SHIM = {}
    tracking.ignore_our_urls(settings)


def route_first(settings: Any) -> None:
    """Put our database router first: the LMS's ReadReplicaRouter answers every question with ``default``."""
    given = getattr(settings, "DATABASE_ROUTERS", None) or []
    if isinstance(given, list | tuple):
        settings.DATABASE_ROUTERS = [ROUTER, *(router for router in given if router != ROUTER)]


def filter_logs(settings: Any) -> None:
    """
    Put ``FencedResults`` on every handler: the LMS logs each fenced result as an error.

    On handlers, because a logger's own filter hears only what is logged by that very logger.
    """
    logging = getattr(settings, "LOGGING", None)
    if not isinstance(logging, dict) or not isinstance(handlers := logging.get("handlers"), dict):
        return
    filters = logging.setdefault("filters", {})
    if not isinstance(filters, dict):
        return
    filters[LOG_FILTER] = {"()": "migration_shim.logfilter.FencedResults"}
    for handler in handlers.values():
        given = handler.get("filters", []) if isinstance(handler, dict) else None
        if isinstance(given, list | tuple) and LOG_FILTER not in given:
            handler["filters"] = [*given, LOG_FILTER]


#: Seconds that the client of MySQL or MariaDB waits for XQueue's database, unless the YAML says otherwise. To read and
#: to write a little more than a statement may take by ``legacy/timeouts.py``: the server is the one to end it.
LIMITS = {"connect_timeout": 3, "read_timeout": 65, "write_timeout": 65}


def limit(database: Any) -> None:
    """Have nobody wait for a database of XQueue that does not answer. For other servers there is nothing to set."""
    if not isinstance(database, dict) or not str(database.get("ENGINE")).endswith("mysql"):
        return
    options = database.get("OPTIONS") or {}
    if isinstance(options, dict):
        database["OPTIONS"] = LIMITS | options
