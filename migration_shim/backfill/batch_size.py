"""How many rows a batch takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

#: About how much work of this process a batch should be, in seconds of its CPU: short enough for locks and signals,
#: long enough to be worth its commit. The clock says less: on a busy machine a batch takes longer however small it is,
#: and each one has its commit and its look-ups, so that smaller ones made it busier.
TARGET_SECONDS = 0.1
#: The most rows bound what a batch keeps locked, and in memory, where they are cheap.
LEAST, MOST, FIRST = 20, 800, 200
#: The share of what was known before in the mean, as in pt-table-checksum: one dear batch is not yet a dear table.
MEMORY = 0.75


class BatchSizer:
    """The size of the next batch: what was asked for, or what lately was a tenth of a second's work."""

    def __init__(self, fixed: int | None) -> None:
        self.fixed = fixed
        self.size = fixed or FIRST
        self._rate: float | None = None

    @contextmanager
    def timed(self, rows: int) -> Iterator[None]:
        """Learn from the batch of so many rows that is made meanwhile, by the CPU seconds of this thread."""
        started = time.thread_time()
        yield
        self.took(rows, time.thread_time() - started)

    def took(self, rows: int, seconds: float) -> None:
        """Learn from one batch, by its CPU seconds. One that was not full says little about the next."""
        if self.fixed or rows < self.size:
            return
        rate = rows / max(seconds, 0.001)
        self._rate = rate if self._rate is None else MEMORY * self._rate + (1 - MEMORY) * rate
        self.size = max(LEAST, min(MOST, 2 * self.size, round(self._rate * TARGET_SECONDS)))
