"""Call something that may not answer, with a time limit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")

#: Seconds in all for one question: three requests of an XQueue client, a look into a storage, a broker's greeting.
PATIENCE = 10.0


def call(ask: Callable[[], T], seconds: float = PATIENCE, *, afterwards: Callable[[], object] = lambda: None) -> T:
    """
    Return what ``ask()`` returns, or raise what it raises, if it ends within ``seconds``.

    It runs in a thread of its own: name servers, and clients of storages, caches and brokers, have timeouts that cannot
    be set from here, or none. A thread that does not answer is left behind, and ends with the process. A call that asks
    a database has to close the thread's connections in ``afterwards``, which runs when the answer is there already.

    Raises:
        TimeoutError: it did not end in time.
    """
    answer: Future[T] = Future()

    def work() -> None:
        try:
            answer.set_result(ask())
        except Exception as error:  # passed on to the caller
            answer.set_exception(error)
        finally:
            afterwards()

    threading.Thread(target=work, daemon=True).start()
    return answer.result(timeout=seconds)
