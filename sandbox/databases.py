"""Where the sandbox keeps its two databases and its files: read from the environment, one place for every process."""

from __future__ import annotations

import os
from pathlib import Path

import dj_database_url

from migration_shim.settings.common import limit

PROJECT_ROOT = Path(__file__).resolve().parent.parent

#: Holds the SQLite files, ``media/``, ``cache/`` and ``log/`` of the stand-ins.
SANDBOX_DIR = Path(os.environ.get("MIGRATION_SHIM_SANDBOX_DIR", PROJECT_ROOT / ".sandbox")).resolve()

#: Storage of XQueue's uploads: a file of a submission lies at ``<queue_name>/<key>`` below it.
LEGACY_MEDIA = SANDBOX_DIR / "media" / "xqueue"

# XQueue and the LMS both run with a strict mode in production: a text that is too long is an error, not a cut.
STRICT_SQL_MODE = "STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION"


def target_database() -> dict:
    """Return the Django ``DATABASES`` entry of the target (the LMS database), from ``MIGRATION_SHIM_TARGET_DB``."""
    return _database("MIGRATION_SHIM_TARGET_DB", SANDBOX_DIR / "lms.sqlite3")


def legacy_database() -> dict:
    """Return the Django ``DATABASES`` entry of the legacy database (XQueue's), from ``MIGRATION_SHIM_LEGACY_DB``."""
    database = _database("MIGRATION_SHIM_LEGACY_DB", SANDBOX_DIR / "xqueue.sqlite3")
    limit(database)
    return database


def _database(variable: str, default_file: Path) -> dict:
    url = os.environ.get(variable) or f"sqlite:///{default_file}"
    entry = dict(dj_database_url.parse(url))
    options = dict(entry.get("OPTIONS") or {})
    if entry["ENGINE"] == "django.db.backends.sqlite3":
        defaults = {
            # A writer that starts as a reader cannot wait for its turn in WAL mode: it fails at once.
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        }
    else:
        defaults = {
            "charset": "utf8mb4",
            "isolation_level": "read committed",
            "init_command": f"SET sql_mode='{STRICT_SQL_MODE}'",
        }
    entry["OPTIONS"] = defaults | options
    return entry
