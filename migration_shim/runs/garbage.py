"""What a long run spares Python's garbage collector."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def left_alone() -> Iterator[None]:
    """
    Keep what the process holds already out of each collection of garbage meanwhile.

    A run makes millions of objects, and so many collections; an LMS holds hundreds of thousands, none of which becomes
    garbage by that. Looked through each time, they take a seventh of an import's time.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
