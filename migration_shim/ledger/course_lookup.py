"""
What a submission has to know of its course, in one statement: the phase on record, the flags and the kill switch.

The rows are those that ``toggles`` reads one after the other, found by the same conditions. The learner waits for one
answer instead of three, and for no cache. Inside an LMS what is forced is asked of the platform's own models.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from django.db import connection
from waffle import get_waffle_flag_model, get_waffle_switch_model

from ..db import converted
from ..models import CoursePhase, FlagOverride


@dataclass(frozen=True, slots=True, kw_only=True)
class CourseLookup:
    """
    The result of ``look_up``. ``switch`` is whether the kill switch is on; None where it was never created.

    ``overrides`` are (flag, scope, enabled, force) of our own overrides, the oldest first; empty if not asked for.
    ``everyone`` is by flag whether it is on for everyone.
    """

    record: CoursePhase | None
    overrides: tuple[tuple[str, str, bool, bool], ...]
    everyone: dict[str, bool]
    switch: bool | None


def look_up(course_id: str, switch: str, flags: tuple[str, ...] = (), org: str | None = None) -> CourseLookup:
    """
    Return a course's phase, the kill switch, and what the named flags are for everyone.

    Where ``org`` is given, our own overrides of the flags for the course and for that organisation are found as well.

    Raises:
        DatabaseError: one of the tables cannot be read.
    """
    own = org is not None
    values = [course_id, switch, *flags, *((course_id, org, *flags) if own else ())]
    with connection.cursor() as cursor:
        cursor.execute(_statement(connection.vendor, len(flags), own), values)
        rows = cursor.fetchall()
    width = len(CoursePhase._meta.concrete_fields)
    phase, active, rest = rows[0][:width], rows[0][width], width + 1 + len(flags)
    everyone = rows[0][width + 1 : rest]
    # The oldest first, put in order here: the server would make a table of its own for it, and a learner waits.
    found = sorted(row[rest:] for row in rows if row[-1] is not None) if own else []
    return CourseLookup(
        # Without a record there is no id.
        record=None if phase[0] is None else converted.instances(CoursePhase, [phase])[0],
        overrides=tuple((flag, scope, bool(on), bool(force)) for _, _, scope, on, force, flag in found),
        everyone={flag: bool(value) for flag, value in zip(flags, everyone, strict=True)},
        switch=None if active is None else bool(active),
    )


@functools.cache
def _statement(vendor: str, flags: int, own: bool) -> str:
    """
    Return the statement, which gives one row where there is no override, else one row per override.

    It begins at a row of its own, because each of the tables may be empty. ``vendor`` is the database's, whose way of
    quoting is used; ``own`` is whether our own overrides are asked for.
    """
    quote = connection.ops.quote_name
    phases, switches, waffle_flags, overrides = (
        quote(model._meta.db_table)
        for model in (CoursePhase, get_waffle_switch_model(), get_waffle_flag_model(), FlagOverride)
    )
    # Each column by its name, as the ORM asks: of an older release's table the statement fails, and is not half read.
    columns = [f"p.{quote(str(field.column))}" for field in CoursePhase._meta.concrete_fields]
    columns.append(f"s.{quote('active')} AS switch_active")
    joins = [f"LEFT JOIN {phases} p ON p.{quote('course_id')} = %s"]
    joins.append(f"LEFT JOIN {switches} s ON s.{quote('name')} = %s")
    for number in range(flags):
        columns.append(f"e{number}.{quote('everyone')} AS everyone_{number}")
        joins.append(f"LEFT JOIN {waffle_flags} e{number} ON e{number}.{quote('name')} = %s")
    if own:
        columns += [f"f.{quote(name)} AS flag_{name}" for name in ("change_date", "id", "scope", "enabled", "force")]
        columns.append(f"f.{quote('flag')} AS flag_name")
        of_course = f"(f.{quote('scope')} = 'course' AND f.{quote('key')} = %s)"
        of_org = f"(f.{quote('scope')} = 'org' AND f.{quote('key')} = %s)"
        named = f"f.{quote('flag')} IN ({', '.join(['%s'] * flags)})"
        joins.append(f"LEFT JOIN {overrides} f ON ({of_course} OR {of_org}) AND {named}")
    return f"SELECT {', '.join(columns)} FROM (SELECT 1 AS one) base {' '.join(joins)}"
