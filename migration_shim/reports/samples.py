"""What a report shows of its divergences: the newest of each class, and a table of all that differs."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..core import remedies
from ..core.data import DivergenceClass
from ..core.documents.reconcile_course import ReconciledCourse
from ..core.documents.reconcile_report import ClassOfDivergence
from . import sides
from .report import Content, Report, reduced

#: Different texts of one class that are counted apart; what further ones say is counted together.
TEXTS = 200
#: What further texts are counted as, and how many texts of a class are shown.
OTHERS, SHOWN_TEXTS = "other texts", 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """
    The newest divergences of one class in one course, and what is said of all of them.

    ``first_found`` and ``last_found`` are None where no time is known. ``texts`` are the most frequent ones with their
    numbers, the most frequent first.
    """

    course: str
    klass: str
    number: int
    items: list[Content]
    first_found: str | None
    last_found: str | None
    texts: list[tuple[str, int]]


def samples(report: Report, each: int, *, side_by_side: bool = False) -> list[Sample]:
    """
    Return the newest ``each`` divergences of every class in every course, so that rare classes are shown too.

    With ``side_by_side`` each also has a ``table`` of what either side gave (``sides.table``).
    """
    kept: dict[tuple[str, str], _Kept] = {}
    for item in report.divergences():
        key = (item["course"], item["class"])
        if key not in kept:
            kept[key] = _Kept(newest=deque(maxlen=each))
        kept[key].add(item)
    return [
        Sample(
            course=course,
            klass=klass,
            number=found.number,
            items=_shown(report, list(reversed(found.newest)), side_by_side=side_by_side),
            first_found=found.first,
            last_found=found.last,
            texts=sorted(found.texts.items(), key=lambda pair: (-pair[1], pair[0])),
        )
        for (course, klass), found in sorted(kept.items())
    ]


def samples_of(course_id: str, found: list[Sample]) -> list[Sample]:
    """Return the samples of one course."""
    return [sample for sample in found if sample.course == course_id]


@dataclass(slots=True)
class _Kept:
    """What is kept of a class in one pass over its divergences: however many there are, it does not grow."""

    newest: deque[Content]
    number: int = 0
    first: str | None = None
    last: str | None = None
    texts: Counter[str] = field(default_factory=Counter)

    def add(self, item: Content) -> None:
        """Count a divergence."""
        self.number += 1
        self.newest.append(item)
        if at := item.get("found_at"):
            self.first, self.last = min(self.first or at, at), max(self.last or at, at)
        text = item["what"]
        self.texts[text if text in self.texts or len(self.texts) < TEXTS else OTHERS] += 1


def _shown(report: Report, items: list[Content], *, side_by_side: bool) -> list[Content]:
    if not side_by_side:
        return reduced(report, items)
    more = report.rows(items) if report.rows is not None else [{} for _ in items]
    items = [item | found for item, found in zip(items, more, strict=True)]
    return [shown | {"table": sides.table(item)} for shown, item in zip(reduced(report, items), items, strict=True)]


def differences(course: ReconciledCourse, found: list[Sample]) -> list[ClassOfDivergence]:
    """
    Return the table of what differs in a course: every class on record, also those that no table of pairs has.

    Args:
        course: its part of the document.
        found: the course's samples, which say since when; a class without one has its number only.
    """
    by_class = {sample.klass: sample for sample in found}
    rows: list[ClassOfDivergence] = []
    # Some leaks have no entry, and so no divergence: the course's own number has them all.
    classes: Mapping[str, Any] = course["classes"]
    leaks = max(classes.get(DivergenceClass.FENCE_LEAK, 0), course["fence_leaks"])
    for klass, number in {**classes, DivergenceClass.FENCE_LEAK.value: leaks}.items():
        if number:
            sample = by_class.get(klass)
            rows.append(
                {
                    "class": klass,
                    "number": number,
                    "first_found_at": sample.first_found if sample else None,
                    "last_found_at": sample.last_found if sample else None,
                    "texts": [{"text": text, "number": times} for text, times in sample.texts[:SHOWN_TEXTS]]
                    if sample
                    else [],
                    **remedies.described(klass),
                }
            )
    return rows
