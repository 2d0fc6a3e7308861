"""Work that is put off until a request was answered, so that no learner waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from django.core.signals import request_finished, request_started


class _Thread(threading.local):
    """The state of this thread: whether it is answering a request, and the work to do after the answer."""

    answers = False

    def __init__(self) -> None:
        self.left: list[Callable[[], None]] = []


_thread = _Thread()


def run_after_answer(work: Callable[[], None]) -> None:
    """
    Call ``work`` after the answer of the request that this thread is answering; outside a request call it at once.

    Where the server does not signal the end of a request, for example of one that it has killed, ``work`` is called at
    the end of the thread's next request. So nothing may depend on it.

    Args:
        work: takes nothing and raises nothing.
    """
    if _thread.answers:
        _thread.left.append(work)
    else:
        work()


def on_request_started(**kwargs: Any) -> None:
    """Note that this thread has begun to answer a request."""
    _thread.answers = True


def on_request_finished(**kwargs: Any) -> None:
    """Do the work that was put off: the answer was sent to its last byte, and the server has closed it."""
    _thread.answers = False
    left, _thread.left = _thread.left, []
    for work in left:
        work()


def connect() -> None:
    """Connect the receivers once."""
    request_started.connect(on_request_started, dispatch_uid="migration_shim.copies.after_request.on_request_started")
    request_finished.connect(
        on_request_finished, dispatch_uid="migration_shim.copies.after_request.on_request_finished"
    )
