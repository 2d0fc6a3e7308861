"""The size of a batch, in rows: fixed, or fitted to how fast the rows are written."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

#: How much work of this process a batch should be, in CPU seconds: short enough for locks and signals, long enough to
#: be worth its commit. Wall time would say less: on a busy machine every batch takes longer, however small it is, and
#: since each has its commit and its look-ups, smaller batches would make the machine busier.
TARGET_SECONDS = 0.1
#: Rows. MOST bounds what a batch keeps locked and in memory where rows are cheap.
LEAST, MOST, FIRST = 20, 800, 200
#: The weight of earlier batches in the mean, as in pt-table-checksum: one slow batch does not make a slow table.
MEMORY = 0.75


class BatchSizer:
    """Keeps in ``size`` the number of rows of the next batch: as asked for, or as took TARGET_SECONDS lately."""

    def __init__(self, fixed: int | None) -> None:
        self.fixed = fixed
        self.size = fixed or FIRST
        self._rate: float | None = None

    @contextmanager
    def timed(self, rows: int) -> Iterator[None]:
        """Measure the block, which writes a batch of ``rows`` rows, in CPU seconds of this thread; learn from it."""
        started = time.thread_time()
        yield
        self.took(rows, time.thread_time() - started)

    def took(self, rows: int, seconds: float) -> None:
        """Learn from the CPU seconds of one batch. A batch that was not full says little about the next."""
        if self.fixed or rows < self.size:
            return
        rate = rows / max(seconds, 0.001)
        self._rate = rate if self._rate is None else MEMORY * self._rate + (1 - MEMORY) * rate
        self.size = max(LEAST, min(MOST, 2 * self.size, round(self._rate * TARGET_SECONDS)))
