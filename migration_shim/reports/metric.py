"""What a metric of the status is: a gauge, and how its samples are read from the document."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from ..core.documents.status import StatusDocument

#: The values of the labels in their order, and the number; a sample whose number is None (not known) is left out.
Sample = tuple[tuple[str, ...], float | int | bool | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A gauge: its name without the prefix, help text, labels, and how its samples are read from the document."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    samples: Callable[[StatusDocument], Iterator[Sample]]


def timestamp(text: str | None) -> float | None:
    """Return a time in ISO 8601 as seconds since the epoch; None of none."""
    return datetime.fromisoformat(text).timestamp() if text else None
