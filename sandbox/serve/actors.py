"""Who does one thing again and again beside an operator: learners and graders, each in a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable

import requests

log = logging.getLogger(__name__)


class Actor:
    """Somebody who acts until told to stop. ``act`` says whether there was anything to do."""

    def __init__(self, name: str, act: Callable[[], bool], pause: float) -> None:
        """Begin at once; ``pause`` is the time to the next act where there was nothing to do."""
        self.name, self.act, self.pause = name, act, pause
        self.unanswered: Counter[str] = Counter()
        """Requests that had no answer, by the kind of error: a stand-in may be stopped and come back."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                busy = self.act()
            except requests.RequestException as error:
                self.unanswered[type(error).__name__] += 1
                busy = False
            except Exception:
                # A thread that ends without a word would leave an operator with a queue that nobody polls.
                log.exception("%s failed, and goes on", self.name)
                busy = False
            if not busy:
                self._ended.wait(self.pause)

    def end(self) -> None:
        """Finish what is under way, and stop."""
        self._ended.set()

    def join(self) -> None:
        """Wait until it has stopped."""
        self._thread.join()
