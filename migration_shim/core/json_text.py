"""
Reading JSON that another system, a grader, an author or a learner has written: bounded in depth and size.

Python reads and writes nested JSON by recursion, so what one reader takes another one, some frames deeper in the stack,
cannot write or read back. Here the limit is the same for all of them, and far from what any stack has left. Nothing
that CAPA, XQueue or a grader has a use for comes near it.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

#: Arrays and objects, one in the other.
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
    The value that a JSON text stands for.

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
    As the standard library reads it; in a third of the time where msgspec reads it too.

    What msgspec takes it reads in the same way (tests/core/test_json_text.py). The rest, which is all that is no JSON
    and some that Python takes for it (half a surrogate pair, NaN, numbers beyond all bounds), the standard library
    decides.
    """
    if type(text) is str:  # msgspec takes no class of its own for a text
        try:
            return _fast(text)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            pass
    return json.loads(text)


def _may_be_deep(text: str | bytes) -> bool:
    """Whether there are brackets enough in a text; where there are not, which is told at once, nobody has to look."""
    return not isinstance(text, str) or text.count("[") + text.count("{") > DEPTH_LIMIT


def _depth(value: object) -> int:
    """How deep a value is, or one more than the limit where it is deeper; every part is looked at once."""
    level = [value] if isinstance(value, dict | list) else []
    depth = 0
    while level and depth <= DEPTH_LIMIT:
        depth += 1
        parts = (whole.values() if type(whole) is dict else whole for whole in level)
        level = [part for some in parts for part in some if type(part) in _NESTS]
    return depth
