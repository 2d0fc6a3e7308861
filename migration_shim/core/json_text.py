"""
Reading JSON that another system, a grader, an author or a learner has written: bounded in depth and size.

Python reads and writes nested JSON by recursion, so what one reader takes another one, some frames deeper in the stack,
cannot write or read back. Here the limit is the same for all of them, and far from what any stack has left. Nothing
that CAPA, XQueue or a grader has a use for comes near it.
"""

from __future__ import annotations

import json
from typing import Any

#: Arrays and objects, one in the other.
DEPTH_LIMIT = 50
#: Characters. XQueue's own form takes 2.5 MiB.
SIZE_LIMIT = 4 * 1024 * 1024


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
        value = json.loads(text)
    except RecursionError as error:
        raise Unreadable("too_deep") from error
    if _depth(value) > DEPTH_LIMIT:
        raise Unreadable("too_deep")
    return value


def _depth(value: Any) -> int:
    """How deep a value is, or one more than the limit where it is deeper; every part is looked at once."""
    level = [value]
    for depth in range(DEPTH_LIMIT + 1):
        level = [part for part in level if isinstance(part, dict | list)]
        if not level:
            return depth
        level = [part for whole in level for part in (whole.values() if isinstance(whole, dict) else whole)]
    return DEPTH_LIMIT + 1
