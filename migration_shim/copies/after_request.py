"""What is left for the moment at which a request has been answered: a learner waits for none of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from django.core.signals import request_finished, request_started


class _Thread(threading.local):
    """What this thread does: whether it answers a request, and what it has to do after that."""

    answers = False

    def __init__(self) -> None:
        self.left: list[Callable[[], None]] = []


_thread = _Thread()


def run_after_answer(work: Callable[[], None]) -> None:
    """
    Do something after the answer of the request that this thread is at work on; where there is none, at once.

    Where a server says nothing of the end of a request, as of one that it has killed, it is done at the end of the
    thread's next one. So nothing may depend on it.

    Args:
        work: takes nothing and raises nothing.
    """
    if _thread.answers:
        _thread.left.append(work)
    else:
        work()


def on_request_started(**kwargs: Any) -> None:
    """This thread has begun to answer a request."""
    _thread.answers = True


def on_request_finished(**kwargs: Any) -> None:
    """The answer was sent, to its last byte, and the server has closed it."""
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
