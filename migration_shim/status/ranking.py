"""Where each course stands, in one word, so that courses can be ranked and chosen by it."""

from __future__ import annotations

from collections.abc import Collection

from django.db.models import Max

from ..core.evidence import Cause
from ..ledger import counts
from ..models import Run

#: The word of a course that the app has nothing on record of.
NOT_BEGUN = "not_begun"


def words(courses: Collection[str]) -> dict[str, str]:
    """Return for each course the cause of its last verdict; ``stale`` where it has none, or ``not_begun``."""
    known = set(counts.known_courses())
    gates = Run.objects.filter(kind="gate", complete=True).order_by().values("scope").annotate(last=Max("id"))
    rows = Run.objects.filter(pk__in=[row["last"] for row in gates if row["scope"] in courses])
    said = dict(rows.values_list("scope", "document__cause"))
    return {course: said.get(course) or Cause.STALE if course in known else NOT_BEGUN for course in courses}
