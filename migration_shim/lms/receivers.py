"""
The receivers of edx-submissions' score event, which hear of a stored result, and which of them is the platform's.

Without the platform's receiver, ``put_result`` stores every score and retires every row, but no learner gets a grade.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from openedx_events.learning.signals import EXTERNAL_GRADER_SCORE_SUBMITTED


def receiver_modules() -> list[str]:
    """Return the modules of all receivers that the event reaches in this process, each once, in order."""
    live = EXTERNAL_GRADER_SCORE_SUBMITTED._live_receivers(None)  # what send_event asks for itself
    flat: list[Any] = []
    for one in live:  # since Django 5.0 there are two lists, the second with the coroutines
        flat.extend(one if isinstance(one, list | tuple) else [one])
    return sorted({_module(one) for one in flat})


def reaches_platform(prefixes: Collection[str]) -> bool:
    """
    Tell whether a receiver of the platform hears of a result.

    It is recognized by its module, because other receivers may exist too (the event bus, a tracker, this app), and none
    of them gives a grade to anybody.

    Args:
        prefixes: packages or modules that are the platform's (the setting ``SCORE_RECEIVERS``).
    """
    return any(name == prefix or name.startswith(f"{prefix}.") for name in receiver_modules() for prefix in prefixes)


def _module(receiver: Callable[..., Any]) -> str:
    """Return a receiver's module: the function's for a partial, the class's for a callable object."""
    receiver = getattr(receiver, "func", receiver)
    return getattr(receiver, "__module__", None) or type(receiver).__module__
