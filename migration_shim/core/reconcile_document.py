"""The documents of a reconcile, made from counts. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Unpack

from .data import DivergenceClass, PairStatus
from .documents.parts import CourseProblem
from .documents.reconcile import ReconcileDocument
from .documents.reconcile_course import CourseFacts, ReconciledCourse

SCHEMA = "migration_shim.xqueue_reconcile/1"
#: What no version so far compares; a report must not leave that to be guessed.
NOT_COMPARED = ("the wording of messages",)


def binned(correct: bool | None, tenths: float | None) -> str:
    """
    Return a graded outcome in a few words, for tables that stay small.

    Args:
        correct: as CAPA takes it; None for a reply that it cannot use.
        tenths: the score in whole tenths, more than 10 for any above 1; None for one that is not a number.
    """
    if correct is None:
        return "invalid reply"
    word = "correct" if correct else "wrong"
    if tenths is None:
        return f"{word}, not a number"
    return f"{word} {tenths / 10:g}" if tenths <= 10 else f"{word} above 1"


def course_content(
    course_id: str, statuses: Counter[str], *, complete: bool, at: datetime, **found: Unpack[CourseFacts]
) -> ReconciledCourse:
    """Return one course's part of the document, which is also what its run record keeps."""
    return {
        "course": course_id,
        "complete": complete,
        "finished_at": at.isoformat(),
        "of": statuses.total(),
        "compared": statuses.total() - statuses[PairStatus.NONE],
        "equal": statuses[PairStatus.EQUAL],
        "diverged": statuses[PairStatus.DIVERGED],
        "waiting": statuses[PairStatus.WAITING],
        "overdue": statuses[PairStatus.OVERDUE],
        **found,
    }


def fence_known_upto(document: Mapping[str, Any]) -> int:
    """
    Return up to which StudentItem id a reconcile of a course has found no leak; 0 where that is not known.

    Leaks that stand on an entry as a divergence are among its leaks, and are none of these.
    """
    of_entries = document.get("classes", {}).get(DivergenceClass.FENCE_LEAK, 0)
    return 0 if document.get("fence_leaks", 0) > of_entries else document.get("fence_looked_upto", 0)


def whole_content(
    courses: list[str], documents: list[ReconciledCourse], problems: list[CourseProblem], at: datetime
) -> ReconcileDocument:
    """Return the document of a run over ``courses``, from the parts of those that were reached."""

    parts: Sequence[Mapping[str, Any]] = documents

    def total(key: str) -> int:
        return sum(part[key] for part in parts)

    def merged(key: str) -> dict[str, int]:
        counts: Counter[str] = Counter()
        for part in parts:
            counts.update(part[key])
        return dict(sorted(counts.items()))

    complete = len(documents) == len(courses) and all(document["complete"] for document in documents)
    waited: Counter[str] = Counter()
    for document in documents:
        waited.update(document["waited"])
    return {
        "schema": SCHEMA,
        "finished_at": at.isoformat(),
        "complete": complete,
        "stopped_by": next((document["stopped_by"] for document in documents if document["stopped_by"]), ""),
        "waited": {kind: round(seconds, 1) for kind, seconds in waited.items()},
        "of": total("of"),
        "looked_at": total("looked_at"),
        "compared": total("compared"),
        "equal": total("equal"),
        "diverged": total("diverged"),
        "waiting": total("waiting"),
        "overdue": total("overdue"),
        "echoed": total("echoed"),
        "fence_leaks": total("fence_leaks"),
        "double_authority": total("double_authority"),
        "payloads_compared": total("payloads_compared"),
        "classes": merged("classes"),
        "known_differences": merged("known_differences"),
        "cohorts": [cohort for document in documents for cohort in document["cohorts"]],
        "latency": {document["course"]: document["latency"] for document in documents},
        "courses": documents,
        "not_compared": list(NOT_COMPARED),
        "problems": problems,
    }
