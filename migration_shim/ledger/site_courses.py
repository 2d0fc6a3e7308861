"""The courses of this site: those that the app has on record, and those that XQueue holds rows of."""

from __future__ import annotations

from . import counts


def all_courses() -> list[str]:
    """Return every course that is known to the app or was found in XQueue, sorted."""
    return counts.known_courses()
