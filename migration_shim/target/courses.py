"""Which rows of edx-submissions are a course's: learners' own under the course's id, shadows under a fenced one too."""

from __future__ import annotations

from django.db.models import Q

from ..core.identity import FENCE


def of_course(course_id: str, path: str = "") -> Q:
    """
    The rows of a course, shadows among them, where ``path`` leads to the StudentItem.

    Shadows that were written before the course was fenced stand under its own id. By bytes: MySQL takes courses that
    differ in case, or in blanks at the end, for the same.
    """
    column, names = f"{path}course_id", (course_id, FENCE + course_id)
    begins = Q(**{f"{column}__startswith": names[0]}) | Q(**{f"{column}__startswith": names[1]})
    return Q(**{f"{column}__in": names}) & begins
