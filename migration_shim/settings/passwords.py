"""Keeping our accounts' passwords out of the settings that Django prints in its mails about errors."""

from __future__ import annotations

from typing import Any

#: Dictionaries of passwords by user name.
KEYS = ("SUBMIT_USERS", "PREFLIGHT_GRADERS")


class Hidden(str):
    """A password that is not shown: Django stars a setting by its name, and these have the names of users."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'********************'"


def hide(settings: Any) -> None:
    """Hide them. When apps are ready, since a site may set them last of all; what is no password is left as it is."""
    given = getattr(settings, "MIGRATION_SHIM", None)
    for key in KEYS:
        if isinstance(given, dict) and isinstance(given.get(key), dict):
            hidden = {name: Hidden(value) if isinstance(value, str) else value for name, value in given[key].items()}
            given[key] = hidden
