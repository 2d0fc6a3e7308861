"""The maximum score of a problem: from the block, from the LMS's data, or assumed."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.utils.module_loading import import_string
from opaque_keys.edx.keys import CourseKey, UsageKey

from ..metrics import count

_COURSEWARE = "lms.djangoapps.courseware"


def points_possible(block: Any, course_id: str, item_id: str, *, resolver: str) -> tuple[int, bool]:
    """
    Return (points, whether they were assumed) for one problem.

    Args:
        block: the problem block, or None.
        course_id: the course.
        item_id: the problem's usage key.
        resolver: the dotted path of the function that is asked where there is no block (``POINTS_RESOLVER``).
    """
    if block is not None:
        return max(int(block.max_score()), 0), False
    try:
        resolve = import_string(resolver)
    except ImportError as error:
        count("points_resolver_missing", error)
        return 1, True
    known = resolve(course_id, item_id)
    return (1, True) if known is None else (max(int(known), 0), False)


def from_student_modules(course_id: str, item_id: str) -> float | None:
    """
    Return a problem's maximum by the LMS's StudentModule rows; None outside an LMS, or where no learner was graded yet.

    ``max_grade`` holds what the block published as ``max_value``, which is ``block.max_score()`` (edx-platform,
    ``courseware/models.py`` and ``capa_block.publish_grade``).
    """
    if not apps.is_installed(_COURSEWARE):
        return None
    rows = apps.get_model("courseware", "StudentModule").objects.filter(
        course_id=CourseKey.from_string(course_id),
        module_state_key=UsageKey.from_string(item_id),
        max_grade__isnull=False,
    )
    return rows.values_list("max_grade", flat=True).first()
