"""
Who hears of a stored result: the receivers of edx-submissions' score event, and which of them is the platform's.

Without the platform's, ``put_result`` stores every score, retires every row, and no learner ever gets a grade.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from openedx_events.learning.signals import EXTERNAL_GRADER_SCORE_SUBMITTED


def modules() -> list[str]:
    """The modules of all receivers that the event reaches in this process, each once, in order."""
    live = EXTERNAL_GRADER_SCORE_SUBMITTED._live_receivers(None)  # what send_event asks for itself
    flat: list[Any] = []
    for one in live:  # since Django 5.0 they are two lists, the second of those that are coroutines
        flat.extend(one if isinstance(one, list | tuple) else [one])
    return sorted({_module(one) for one in flat})


def deliver(prefixes: Collection[str]) -> bool:
    """
    Whether a receiver of the platform's hears of a result.

    It is told by its module, never by being there: the event bus, a tracker or this app may listen too, and none of
    them gives a grade to anybody.

    Args:
        prefixes: packages or modules that are the platform's (the setting ``SCORE_RECEIVERS``).
    """
    return any(name == prefix or name.startswith(f"{prefix}.") for name in modules() for prefix in prefixes)


def _module(receiver: Callable[..., Any]) -> str:
    """A receiver's module: of a partial the function's, of an object that can be called its class's."""
    receiver = getattr(receiver, "func", receiver)
    return getattr(receiver, "__module__", None) or type(receiver).__module__
