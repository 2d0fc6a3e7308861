"""Waits of the sandbox: as long as something changes, however slow the machine, and not a moment for what is stuck."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Seen = TypeVar("Seen")

#: Seconds without any change after which a wait gives up.
PATIENCE = 120.0
#: Seconds after which a wait that goes on says what it sees, and between two such lines.
NEWS = 15.0


class NoProgress(RuntimeError):
    """Nothing changed for too long; the message says what was waited for and what was seen last."""


class Patience:
    """Runs out when nothing has changed for so many seconds."""

    def __init__(
        self, what: str, seconds: float = PATIENCE, say: Callable[[str], None] | None = None, news: float = NEWS
    ) -> None:
        """Say what is waited for; ``say`` is told from time to time what is seen."""
        self.what, self.seconds, self.say, self.news = what, seconds, say, news
        self.seen: object = None
        self.changed = self.told = time.monotonic()

    def see(self, seen: object) -> None:
        """Note what is there now. Raises NoProgress where it has been the same for too long."""
        now = time.monotonic()
        if seen != self.seen:
            self.seen, self.changed = seen, now
        elif now - self.changed >= self.seconds:
            raise NoProgress(
                f"waited for {self.what}: nothing has changed for {self.seconds:g} s; last seen: {self.seen}"
            )
        if self.say is not None and now - self.told >= self.news:
            self.told = now
            self.say(f"waiting for {self.what}: {self.seen}")


def until(
    what: str,
    look: Callable[[], Seen],
    done: Callable[[Seen], bool],
    *,
    seconds: float = PATIENCE,
    pause: float = 0.2,
    say: Callable[[str], None] | None = None,
) -> Seen:
    """Look until it is done, and return what was seen then. Raises NoProgress."""
    patience = Patience(what, seconds, say)
    while not done(seen := look()):
        patience.see(seen)
        time.sleep(pause)
    return seen
