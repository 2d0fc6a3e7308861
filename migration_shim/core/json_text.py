"""
Read JSON that another system, a grader, an author or a learner has written, within limits of depth and size.

Python reads and writes nested JSON by recursion. So a text that one reader can read, another reader some frames deeper
in the stack may be unable to write or read back. Here the limit is the same for all readers, and far from what any
stack has left. Nothing that CAPA, XQueue or a grader uses comes near it.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

#: The limit of arrays and objects nested in each other.
DEPTH_LIMIT = 50
#: Characters. XQueue's own form takes 2.5 MiB.
SIZE_LIMIT = 4 * 1024 * 1024

_NESTS = frozenset({dict, list})
_fast = msgspec.json.Decoder().decode


class Unreadable(ValueError):
    """JSON beyond a limit; ``reason`` says which: ``too_deep`` or ``too_long``."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def loads(text: str | bytes) -> Any:
    """
    Parse a JSON text.

    Raises:
        ValueError: it is no JSON.
        Unreadable: it is too deep or too long, which is a ValueError too.
        TypeError: it is neither text nor bytes.
    """
    if isinstance(text, str | bytes) and len(text) > SIZE_LIMIT:
        raise Unreadable("too_long")
    try:
        value = _read(text)
    except RecursionError as error:
        raise Unreadable("too_deep") from error
    if _may_be_deep(text) and _depth(value) > DEPTH_LIMIT:
        raise Unreadable("too_deep")
    return value


def _read(text: str | bytes) -> Any:
    """
    Parse as the standard library does, in a third of the time where msgspec can read the text too.

    msgspec reads in the same way whatever it accepts (tests/core/test_json_text.py). The standard library decides the
    rest: all that is no JSON, and some that Python accepts as JSON (half a surrogate pair, NaN, numbers beyond all
    bounds).
    """
    if type(text) is str:  # msgspec does not accept subclasses
        try:
            return _fast(text)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            pass
    return json.loads(text)


def _may_be_deep(text: str | bytes) -> bool:
    """
    Tell whether a text has enough brackets to be too deep. This is quick, and where it has not, no depth is measured.
    """
    return not isinstance(text, str) or text.count("[") + text.count("{") > DEPTH_LIMIT


def _depth(value: object) -> int:
    """Return how deep a value is, or one more than the limit where it is deeper. Every part is looked at once."""
    level = [value] if isinstance(value, dict | list) else []
    depth = 0
    while level and depth <= DEPTH_LIMIT:
        depth += 1
        parts = (whole.values() if type(whole) is dict else whole for whole in level)
        level = [part for some in parts for part in some if type(part) in _NESTS]
    return depth
