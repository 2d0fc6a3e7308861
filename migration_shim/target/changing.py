"""What can change about a target row once it is stored, read without its answer: cheap, and enough to tell."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.db.models import Count
from submissions.models import ExternalGraderDetail, Score, Submission

from .. import multirow

_ITEM = "submission__student_item_id"
_COLUMNS = (
    "submission_id",
    "status",
    "status_time",
    "num_failures",
    "pullkey",
    "queue_name",
    "queue_key",
    "points_possible",
    "grader_reply",
    "submission__student_item__student_id",
    "submission__student_item__item_id",
)


def rows(submission_ids: Iterable[int]) -> dict[int, tuple[Any, ...]]:
    """
    These columns of the rows that are there, by Submission id; the points of their Scores; how many living rows have
    the same StudentItem and key. Three statements.
    """
    wanted = list(submission_ids)
    points: dict[int, list[int]] = defaultdict(list)
    scores = Score.objects.filter(submission_id__in=wanted).order_by("id")
    for submission_id, earned in multirow.raw(scores.values_list("submission_id", "points_earned")):
        points[submission_id].append(earned)
    details = ExternalGraderDetail.objects.filter(submission_id__in=wanted).order_by()
    found = multirow.raw(details.values_list(*_COLUMNS, _ITEM))
    twins = _several({item for *_, item in found})
    key = _COLUMNS.index("queue_key")
    return {values[0]: (*values, twins.get((values[-1], values[key]), 1), *points[values[0]]) for values in found}


def _several(items: set[int]) -> dict[tuple[int, str], int]:
    """
    (StudentItem, key) -> how many living rows have both, where that is more than one.

    The index on student_item_id tells alone which have more than one row at all: mostly few.
    """
    every = Submission._objects.filter(student_item_id__in=items).order_by()
    again = every.values_list("student_item_id").annotate(number=Count("id")).filter(number__gt=1)
    living = ExternalGraderDetail.objects.filter(submission__student_item_id__in=[item for item, _ in again])
    living = living.exclude(status="retired", grader_reply=None).order_by()
    groups = living.values_list(_ITEM, "queue_key").annotate(number=Count("id")).filter(number__gt=1)
    return {(item, key): number for item, key, number in groups}


def touched_since(moment: datetime) -> list[int]:
    """
    The Submission ids of all rows whose status changed since, and of the others of their StudentItem and key, which
    may have got a twin. The index on status_time serves it.
    """
    lately = ExternalGraderDetail.objects.filter(status_time__gte=moment).order_by()
    touched = list(lately.values_list("submission_id", _ITEM, "queue_key"))
    items = sorted({item for _, item, _ in touched})
    keys = {(item, key) for _, item, key in touched}
    ids = {submission_id for submission_id, *_ in touched}
    for start in range(0, len(items), 1000):
        some = items[start : start + 1000]
        beside = ExternalGraderDetail.objects.filter(submission__student_item_id__in=some).order_by()
        for submission_id, *place in beside.values_list("submission_id", _ITEM, "queue_key"):
            if tuple(place) in keys:
                ids.add(submission_id)
    return sorted(ids)
