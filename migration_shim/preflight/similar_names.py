"""Findings about names that edx-submissions' database takes for one: a grade for one would go to the other."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from ..core.findings import Finding, found
from ..core.row_rules import RULES
from ..models import CoursePhase, LedgerEntry
from ..target import collation


def findings(course_id: str, problems: Collection[str]) -> Iterator[Finding]:
    """
    Yield a finding for problems or courses whose names differ only in what the database ignores when it compares.

    That is case and, depending on the collation, accents and blanks.

    Args:
        course_id: the course.
        problems: the usage keys that its rows name; those of the ledger are added.
    """
    entries = LedgerEntry.objects.filter(course_id=course_id).order_by()
    known = {*problems, *entries.values_list("item_id", flat=True).distinct()}
    for group in collation.alike(known):
        yield found(RULES["names_alike"], problem=group[0], about=" and ".join(group))
    courses = {course_id, *CoursePhase.objects.values_list("course_id", flat=True)}
    for group in collation.alike(courses):
        if course_id in group:
            yield found(RULES["names_alike"], about=" and ".join(group))
            return
    if (other := collation.other_course(course_id)) is not None:
        yield found(RULES["names_alike"], about=f"{course_id} and {other}")
