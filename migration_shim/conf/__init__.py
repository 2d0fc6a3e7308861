"""
The settings of the app: one dictionary, ``MIGRATION_SHIM``.

Read it with ``load()`` inside functions, never at import: in a plugin app a setting read at import is the default.
"""

from .access import LegacyAccess, legacy_access
from .reading import callback_hosts, load, problems, usable
from .values import COPY_KEYS, LEGACY_ALIAS, ShimSettings

__all__ = [
    "COPY_KEYS",
    "LEGACY_ALIAS",
    "LegacyAccess",
    "ShimSettings",
    "callback_hosts",
    "legacy_access",
    "load",
    "problems",
    "usable",
]
