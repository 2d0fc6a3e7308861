"""What can still change about a legacy row, read without headers and bodies: cheap, and enough to tell."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from .. import multirow
from .routers import LEGACY_ALIAS
from .tables import LegacySubmission

_PACKED = multirow.Packed(
    "retired",
    "lms_ack",
    "num_failures",
    "pull_time",
    "return_time",
    "grader_id",
    "pullkey",
    "grader_reply",
)


def rows(ids: Iterable[int]) -> dict[int, bytes | None]:
    """What the rows say that are there, by id; None stands for too much to tell."""
    every = LegacySubmission.objects.using(LEGACY_ALIAS).order_by().values_list("id", _PACKED)
    return dict(multirow.raw(every, id=ids))


def pulled_since(queues: Iterable[str], moment: datetime) -> list[int]:
    """The ids of the rows of these queues that were pulled since; XQueue has an index on queue, retired, pull_time."""
    lately = LegacySubmission.objects.using(LEGACY_ALIAS).filter(pull_time__gte=moment)
    ids: list[int] = []
    for queue in queues:
        for retired in (False, True):
            ids += lately.filter(queue_name=queue, retired=retired).values_list("id", flat=True)
    return ids
