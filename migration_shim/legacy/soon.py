"""Asking XQueue's database something that nobody may wait for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from django.db import connections

from ..conf import LEGACY_ALIAS

T = TypeVar("T")


def soon(ask: Callable[[], T], seconds: float) -> T:
    """
    What ``ask()`` returns or raises, if it does so in time.

    On MySQL and MariaDB in a thread and a session of its own, which is left behind if it does not: no timeout of a
    session is short enough for a database that is silent. Inside a transaction on the alias it is asked there.

    Raises:
        TimeoutError: it did neither in time.
    """
    connection = connections[LEGACY_ALIAS]
    if connection.vendor == "sqlite" or connection.in_atomic_block:
        return ask()
    answer: Future[T] = Future()

    def work() -> None:
        try:
            answer.set_result(ask())
        except Exception as error:  # handed on to whoever asked
            answer.set_exception(error)
        finally:
            connections.close_all()  # of this thread: the rules of whose rows are ours are read from the other database

    threading.Thread(target=work, daemon=True).start()
    return answer.result(timeout=seconds)
