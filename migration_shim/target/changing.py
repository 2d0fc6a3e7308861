"""What can change about a target row once it is stored, read without its answer: cheap, and enough to tell."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import datetime

from django.db.models import Count
from submissions.models import ExternalGraderDetail, Submission

from .. import multirow
from .courses import of_course

_ITEM = "submission__student_item_id"
#: What can change, as one value.
_PACKED = multirow.Packed(
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
_SCORE = ("submission__score__id", "submission__score__points_earned")


def rows(submission_ids: Iterable[int]) -> dict[int, bytes | None]:
    """
    What the rows say that are there, by Submission id: their own columns, the points of their Scores, and how many
    living rows have the same StudentItem and key. None stands for too much to tell. Three statements at most.
    """
    details = ExternalGraderDetail.objects.order_by().values_list("submission_id", _ITEM, "queue_key", *_SCORE, _PACKED)
    found = multirow.raw(details, submission_id=submission_ids)
    points: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for submission_id, _, _, score_id, earned, _ in found:
        if score_id is not None:
            points[submission_id].append((score_id, earned))
    twins = _several({item for _, item, *_ in found})
    said: dict[int, bytes | None] = {}
    for submission_id, item, key, _, _, packed in found:
        earned = [earned for _, earned in sorted(points[submission_id])]
        beside = f" {twins.get((item, key), 1)} {earned}".encode()
        said[submission_id] = None if packed is None else packed + beside
    return said


def _several(items: set[int]) -> dict[tuple[int, str], int]:
    """
    (StudentItem, key) -> how many living rows have both, where that is more than one.

    The index on student_item_id tells alone which have more than one row at all: mostly few.
    """
    every = Submission._objects.order_by().values_list("student_item_id")
    again = Counter(item for (item,) in multirow.raw(every, student_item_id=items))
    items = [item for item, number in again.items() if number > 1]
    living = ExternalGraderDetail.objects.filter(submission__student_item_id__in=items)
    living = living.exclude(status="retired", grader_reply=None).order_by()
    groups = living.values_list(_ITEM, "queue_key").annotate(number=Count("id")).filter(number__gt=1)
    return {(item, key): number for item, key, number in groups}


def touched_since(course_id: str, moment: datetime) -> list[int]:
    """
    The Submission ids of a course's rows whose status changed since, and of the others of their StudentItem and key,
    which may have got a twin. The index on status_time serves it.
    """
    lately = ExternalGraderDetail.objects.filter(status_time__gte=moment).order_by()
    lately = lately.filter(of_course(course_id, "submission__student_item__"))
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
