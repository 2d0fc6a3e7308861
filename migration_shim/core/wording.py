"""Numbers and lists in the words of a text for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

#: How many places are named before "and N more".
NAMED = 5


def counted(number: int, one: str, many: str = "") -> str:
    """
    Return a number with its noun: ``1 course``, ``2 courses``, ``0 courses``.

    Args:
        number: how many.
        one: the noun for one.
        many: the noun for all other numbers, where it is not ``one`` with an s.
    """
    return f"{number} {one if number == 1 else many or one + 's'}"


def verb(number: int, one: str, many: str) -> str:
    """Return the form of a verb or pronoun for a number: ``verb(1, "is", "are")`` is ``is``."""
    return one if number == 1 else many


def said_once(problems: Iterable[Mapping[str, Any]], *, by: str = "course") -> list[tuple[str, str]]:
    """
    Return what went wrong, each cause once: (where, what was said), in the order in which they came up.

    Args:
        problems: of a document, each with ``said`` and where it was.
        by: the key that says where.
    """
    places: dict[tuple[str, str], list[str]] = {}
    for problem in problems:
        said, place = problem["said"], problem[by]
        # The mere class of an error is no cause: two of one class may have nothing in common.
        places.setdefault((said, "" if ": " in said else place), []).append(place)
    return [(_some(list(dict.fromkeys(where))), said) for (said, _), where in places.items()]


def _some(names: list[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
