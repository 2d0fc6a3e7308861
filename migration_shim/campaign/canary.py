"""Which course goes first where nobody has named one: with little to lose, and submissions to show how it does."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.data import Whose
from ..core.wording import counted
from ..ledger import counts, site_courses

_OTHER = "--canary names another"


def choose(courses: Sequence[str]) -> tuple[str, str]:
    """
    Return the canary of a campaign over these courses, and why it is that one, in one line.

    Of those with submissions open in XQueue it is the one with the fewest; where none has, the one with the most in the
    ledger. A course without any never shows itself well. Five statements, however many courses there are.
    """
    rows = {item.course_id: item.open_rows for item in site_courses.found() if item.whose is Whose.OURS}
    entries = {course_id: size.entries for course_id, size in counts.sizes().items()}
    if busy := [course_id for course_id in courses if rows.get(course_id)]:
        found = min(busy, key=lambda course_id: rows[course_id])
        why = f"the fewest submissions open in XQueue of those that have any ({rows[found]})"
    elif known := [course_id for course_id in courses if entries.get(course_id)]:
        found = max(known, key=lambda course_id: entries[course_id])
        why = f"the most submissions in the ledger ({counted(entries[found], 'entry', 'entries')})"
    else:
        return courses[0], f"the canary is {courses[0]}, the first one: no submissions are known of any; {_OTHER}"
    return found, f"the canary is {found}: it has {why}; {_OTHER}"
