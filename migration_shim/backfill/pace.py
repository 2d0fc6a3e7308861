"""How many rows a batch takes."""

from __future__ import annotations

#: About how long a batch should take: short enough for locks and signals, long enough to be worth its commit.
TARGET_SECONDS = 0.5
LEAST, MOST, FIRST = 50, 2000, 200
#: The share of what was known before in the mean, as in pt-table-checksum: one slow batch is not yet a slow system.
MEMORY = 0.75


class Pace:
    """The size of the next batch: what was asked for, or what lately fitted into half a second."""

    def __init__(self, fixed: int | None) -> None:
        self.fixed = fixed
        self.size = fixed or FIRST
        self._rate: float | None = None

    def took(self, rows: int, seconds: float) -> None:
        """Learn from one batch. One that was not full says little about the next."""
        if self.fixed or rows < self.size:
            return
        rate = rows / max(seconds, 0.001)
        self._rate = rate if self._rate is None else MEMORY * self._rate + (1 - MEMORY) * rate
        self.size = max(LEAST, min(MOST, 2 * self.size, round(self._rate * TARGET_SECONDS)))
