"""The word of many courses at once, for whoever chooses courses by where they stand."""

from __future__ import annotations

from collections.abc import Collection

from . import document


def words(courses: Collection[str]) -> dict[str, str]:
    """
    Return the word of each course, one of ``core.ranking.ORDER``: what ``xqueue_status`` shows of it.

    More courses cost no more statements. A course that cannot be read is ``unknown``, and never left out.

    Raises:
        ConfigurationError: the settings are not usable.
    """
    return document.words(courses)
