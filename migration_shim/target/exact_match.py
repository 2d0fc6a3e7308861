"""
Rows of edx-submissions whose queue or course is the one asked for, letter by letter.

On MySQL, equality takes names for the same that differ only in case or in trailing blanks. Django's ``startswith``
compares by bytes there. So each condition asks for both: the index serves the equality, and the beginning settles the
case. A comparison of lengths settles the blanks, which no course id ends with.
"""

from __future__ import annotations

from django.db import connection
from django.db.models import Q, QuerySet
from django.db.models.functions import Length
from django.db.models.lookups import Exact
from submissions.models import ExternalGraderDetail

from ..core.identity import FENCE
from ..db import bulk


def of_course(course_id: str, path: str = "") -> Q:
    """
    Return the condition for the rows of a course, shadows included.

    Shadows that were written before the course was fenced stand under its own id, later ones under the fenced id.

    Args:
        course_id: the course.
        path: the lookup path that leads to the StudentItem, with its trailing ``__``; empty for StudentItem itself.
    """
    column, names = f"{path}course_id", (course_id, FENCE + course_id)
    begins = Q(**{f"{column}__startswith": names[0]}) | Q(**{f"{column}__startswith": names[1]})
    return Q(**{f"{column}__in": names}) & begins


def of_course_sql(course_id: str, column: str) -> tuple[str, list[str]]:
    """Return ``of_course`` as SQL with its parameters, for a statement written by hand. ``column`` is the course's."""
    names, begins = (course_id, FENCE + course_id), bulk.like(connection, "startswith")
    beginnings = [f"{connection.ops.prep_for_like_query(name)}%" for name in names]
    return f"{column} IN (%s, %s) AND ({column} {begins} OR {column} {begins})", [*names, *beginnings]


def rows_of_queue(queue_name: str) -> QuerySet[ExternalGraderDetail]:
    """Return the rows of one queue, in any status."""
    as_long = Exact(Length("queue_name"), len(queue_name))
    return ExternalGraderDetail.objects.filter(as_long, queue_name=queue_name, queue_name__startswith=queue_name)


def is_one_of(column: str, values: frozenset[str]) -> Q:
    """Return the condition that ``column`` is exactly one of ``values``; no row meets it when there are none."""
    wanted = Q(pk__in=[])
    for value in sorted(values):
        as_long = Exact(Length(column), len(value))
        wanted |= Q(as_long, **{column: value, f"{column}__startswith": value})
    return wanted
