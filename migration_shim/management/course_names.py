"""What an operator types for a course, made into course ids: whole ids, shortened ones, and patterns."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Collection, Iterable

from opaque_keys import InvalidKeyError
from opaque_keys.edx.keys import CourseKey

_PREFIX = "course-v1:"
#: How many courses a message names, and how alike two ids have to be.
_NAMED, _ALIKE = 10, 0.75
_PATTERN = frozenset("*?[")


def canonical(text: str) -> str | None:
    """Return a whole course id in its canonical form; None where the text is none."""
    try:
        return str(CourseKey.from_string(text))
    except InvalidKeyError:
        return None


def is_pattern(text: str) -> bool:
    """Tell whether a text is a pattern. No course id has one of the characters that make it one."""
    return not _PATTERN.isdisjoint(text)


def matching(pattern: str, courses: Iterable[str]) -> list[str]:
    """Return the courses that a pattern matches, whole or without ``course-v1:``. Case counts, as it does in ids."""
    return [course for course in courses if any(fnmatch.fnmatchcase(text, pattern) for text in _texts(course))]


def shortened(text: str, courses: Iterable[str]) -> list[str]:
    """
    Return the courses that a text is short for.

    It is short for a course if it is one or several of the parts of its id (``CS106``, ``ExU+CS106``); where no course
    has such parts, if one of its parts and what follows begin with it (``ExU+CS1``).
    """
    tails = {course: _tails(course) for course in courses}
    whole = [course for course, parts in tails.items() if any(tail == text or _goes_on(tail, text) for tail in parts)]
    return whole or [course for course, parts in tails.items() if any(tail.startswith(text) for tail in parts)]


def alike(text: str, courses: Iterable[str]) -> list[str]:
    """Return up to three courses whose ids, or parts of them, are most like a text."""
    by_text: dict[str, str] = {}
    for course in courses:
        for tail in _tails(course):
            for end in range(len(tail), 0, -1):
                if end == len(tail) or tail[end] in "+/":
                    by_text.setdefault(tail[:end].lower(), course)
    wanted = text.lower().removeprefix(_PREFIX)
    if wanted in by_text:  # another case
        return [by_text[wanted]]
    found = difflib.get_close_matches(wanted, by_text, n=3, cutoff=_ALIKE)
    return list(dict.fromkeys(by_text[name] for name in found))


def listed(courses: Collection[str]) -> str:
    """Return courses in words, the first few of them."""
    shown, more = sorted(courses)[:_NAMED], len(courses) - _NAMED
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _texts(course: str) -> tuple[str, str]:
    return course, course.removeprefix(_PREFIX)


def _tails(course: str) -> list[str]:
    """Return an id without its prefix, from each of its parts on: org, course and run."""
    text = course.removeprefix(_PREFIX)
    return [text, *(text[place + 1 :] for place, character in enumerate(text) if character in "+/")]


def _goes_on(tail: str, text: str) -> bool:
    return tail.startswith(text) and tail[len(text)] in "+/"
