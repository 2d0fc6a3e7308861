"""What can still change about a legacy row, read without headers and bodies: cheap, and enough to tell."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from .. import multirow
from .routers import LEGACY_ALIAS
from .tables import LegacySubmission

_COLUMNS = (
    "id",
    "retired",
    "lms_ack",
    "num_failures",
    "pull_time",
    "return_time",
    "grader_id",
    "pullkey",
    "grader_reply",
)


def rows(ids: Iterable[int]) -> dict[int, tuple[Any, ...]]:
    """These columns of the rows that are there, by id."""
    found = multirow.select(LegacySubmission, _COLUMNS, using=LEGACY_ALIAS, id=list(ids))
    return {values[0]: values for values in found}


def pulled_since(queues: Iterable[str], moment: datetime) -> list[int]:
    """The ids of the rows of these queues that were pulled since; XQueue has an index on queue, retired, pull_time."""
    lately = LegacySubmission.objects.using(LEGACY_ALIAS).filter(pull_time__gte=moment)
    ids: list[int] = []
    for queue in queues:
        for retired in (False, True):
            ids += lately.filter(queue_name=queue, retired=retired).values_list("id", flat=True)
    return ids
