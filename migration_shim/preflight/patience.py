"""Asking something that may not answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

#: Seconds in all for one question: three requests of an XQueue client, a look into a storage, a broker's greeting.
PATIENCE = 10.0


def in_time(ask: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """
    What ``ask()`` returns or raises.

    In a thread of its own, without a database: name servers and clients of storages, caches and brokers have timeouts
    that cannot be set from here, or none. One that does not answer is left behind, and ends with the process.

    Raises:
        TimeoutError: it did neither in time.
    """
    answer: Future[Any] = Future()

    def work() -> None:
        try:
            answer.set_result(ask())
        except Exception as error:  # handed on to whoever asked
            answer.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return answer.result(timeout=seconds)
