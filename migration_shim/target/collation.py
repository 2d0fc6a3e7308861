"""
Which texts edx-submissions' database takes for the same: its columns have the database's collation, not a binary one.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence

from django.db import connection
from django.db.backends.utils import CursorWrapper
from submissions.models import StudentItem

from ..core.identity import FENCE, Placement
from ..db import bulk
from .exact_match import of_course

#: Texts whose weights are asked in one statement.
PAGE = 200
_NAME = re.compile(r"[A-Za-z0-9_]+")


def alike(texts: Collection[str]) -> list[list[str]]:
    """
    Return the groups of texts that a StudentItem's ``item_id`` takes for the same, each of at least two, in order.

    Trailing blanks never count, because most collations pad. On a database that compares byte for byte there are no
    groups.
    """
    if connection.vendor != "mysql":
        return []
    groups: dict[str, list[str]] = defaultdict(list)
    for text, weight in _weights(sorted(set(texts))):
        groups[weight].append(text)
    return [group for group in groups.values() if len(group) > 1]


class Taken:
    """
    Predicts which StudentItem the target would use for each of many submissions, for a plan, which writes nothing.

    It remembers what it was asked, up to a bound. Beyond the bound, only what is on the target counts.
    """

    LIMIT = 1_000_000

    def __init__(self) -> None:
        #: By what the database tells StudentItems apart by: the texts. Hashes of both, to hold a million.
        self._seen: dict[int, int] = {}

    def refuses(self, placements: Sequence[Placement]) -> list[bool]:
        """
        Tell of each of these, written in this order, whether the target would use another one's StudentItem for it.
        """
        if connection.vendor != "mysql" or not placements:
            return [False] * len(placements)
        wanted = [(to.student_id, to.course_id, to.item_id) for to in placements]
        students, courses = {item[0] for item in wanted}, {item[1] for item in wanted}
        columns = ("student_id", "course_id", "item_id")
        there = bulk.select(StudentItem, columns, student_id=students, course_id=courses)
        weights = dict(_weights(sorted({text for item in (*wanted, *there) for text in item})))
        for item in there:
            self._first(item, weights)
        return [self._first(item, weights) != hash(item) for item in wanted]

    def _first(self, item: tuple[str, ...], weights: dict[str, str]) -> int:
        key = hash(tuple(weights[text] for text in item))
        if len(self._seen) < self.LIMIT:
            return self._seen.setdefault(key, hash(item))
        return self._seen.get(key, hash(item))


def _weights(texts: list[str]) -> Iterator[tuple[str, str]]:
    """
    Yield each text with its weight in the collation. Texts that the collation takes for equal have the same weight.
    """
    with connection.cursor() as cursor:
        charset, collation = _collation(cursor)
        one = f"HEX(WEIGHT_STRING(CONVERT(%s USING {charset}) COLLATE {collation}))"
        for start in range(0, len(texts), PAGE):
            page = texts[start : start + PAGE]
            cursor.execute("SELECT " + ", ".join([one] * len(page)), [text.rstrip(" ") for text in page])
            yield from zip(page, cursor.fetchone(), strict=True)


def _collation(cursor: CursorWrapper) -> tuple[str, str]:
    cursor.execute(
        "SELECT CHARACTER_SET_NAME, COLLATION_NAME FROM information_schema.COLUMNS "
        "WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = %s AND COLUMN_NAME = 'item_id'",
        [StudentItem._meta.db_table],
    )
    names = cursor.fetchone()
    assert all(_NAME.fullmatch(name) for name in names)  # the server's own words
    return names


def other_course(course_id: str) -> str | None:
    """Return a course with submissions on the target that the database takes for this one, or None."""
    there = StudentItem.objects.filter(course_id__in=(course_id, FENCE + course_id)).exclude(of_course(course_id))
    found = there.values_list("course_id", flat=True).first()
    return None if found is None else found.removeprefix(FENCE)
