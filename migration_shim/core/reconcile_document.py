"""The documents of a reconcile, made from counts. Pure."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

from .data import PairStatus

SCHEMA = "migration_shim.xqueue_reconcile/1"
#: What no version so far compares; a report must not leave that to be guessed.
NOT_COMPARED = ("the wording of messages",)
_ADDED_UP = (
    "of",
    "looked_at",
    "compared",
    "equal",
    "diverged",
    "waiting",
    "overdue",
    "echoed",
    "fence_leaks",
    "double_authority",
    "payloads_compared",
)


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
    course_id: str, statuses: Counter[str], *, complete: bool, at: datetime, **counts: Any
) -> dict[str, Any]:
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
        **counts,
    }


def fence_known_upto(document: dict[str, Any]) -> int:
    """Return up to which StudentItem id a reconcile of a course has found no leak; 0 where that is not known."""
    return 0 if document.get("fence_leaks") else document.get("fence_looked_upto", 0)


def whole_content(courses: list[str], documents: list[dict[str, Any]], at: datetime) -> dict[str, Any]:
    """Return the document of a run over ``courses``, from the parts of those that were reached."""

    def merged(key: str) -> dict[str, int]:
        counts: Counter[str] = Counter()
        for document in documents:
            counts.update(document[key])
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
        **{key: sum(document[key] for document in documents) for key in _ADDED_UP},
        "classes": merged("classes"),
        "known_differences": merged("known_differences"),
        "cohorts": [cohort for document in documents for cohort in document["cohorts"]],
        "latency": {document["course"]: document["latency"] for document in documents},
        "courses": documents,
        "not_compared": list(NOT_COMPARED),
    }
