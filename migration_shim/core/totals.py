"""Counting the pairs of a reconcile, and the documents made of the counts. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from statistics import quantiles
from typing import Any

from ..data import Comparison, DivergenceClass, Outcome, PairStatus, State

SCHEMA = "migration_shim.xqueue_reconcile/1"
NOT_COMPARED = ("payload texts", "stored points", "files", "order", "latency bounds")


@dataclass(slots=True)
class Totals:
    """What one run counts for one course. ``of`` is how many entries there are."""

    of: int = 0
    statuses: Counter[PairStatus] = field(default_factory=Counter)
    classes: Counter[str] = field(default_factory=Counter)
    known: Counter[str] = field(default_factory=Counter)
    cohorts: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=lambda: {"legacy": [], "target": []})
    echoed: int = 0
    fence_leaks: int = 0
    double_authority: int = 0

    def add(
        self, queue: str, problem: str, legacy: Outcome, target: Outcome, result: Comparison, *, timed: bool
    ) -> None:
        """Count one pair. ``timed`` says that both sides got it in the same moment, so that their times compare."""
        self.statuses[result.status] += 1
        self.classes.update(klass.value for klass in result.divergences)
        if result.known:
            self.known[result.known] += 1
        cohort = self.cohorts.setdefault((queue, problem), Counter())
        cohort["pairs"] += 1
        cohort[result.status.value] += 1
        sides = {"legacy": legacy, "target": target}
        if timed and all(outcome.state is State.GRADED for outcome in sides.values()):
            for side, outcome in sides.items():
                if outcome.returned_at and outcome.arrived_at:
                    self.seconds[side].append((outcome.returned_at - outcome.arrived_at).total_seconds())


def course_content(course_id: str, totals: Totals, *, complete: bool, at: datetime) -> dict[str, Any]:
    """One course's part of the document, which is also what its run record keeps."""
    statuses = totals.statuses
    return {
        "course": course_id,
        "complete": complete,
        "finished_at": at.isoformat(),
        "of": totals.of,
        "compared": statuses.total(),
        "equal": statuses[PairStatus.EQUAL],
        "diverged": statuses[PairStatus.DIVERGED],
        "waiting": statuses[PairStatus.WAITING],
        "overdue": statuses[PairStatus.OVERDUE],
        "classes": {klass.value: totals.classes[klass.value] for klass in DivergenceClass},
        "known_differences": dict(sorted(totals.known.items())),
        "echoed": totals.echoed,
        "fence_leaks": totals.fence_leaks,
        "double_authority": totals.double_authority,
        "cohorts": [
            {"course": course_id, "queue": queue, "problem": problem, **dict(sorted(counts.items()))}
            for (queue, problem), counts in sorted(totals.cohorts.items())
        ],
        "latency": {side: _latency(values) for side, values in totals.seconds.items()},
    }


def _latency(seconds: list[float]) -> dict[str, Any]:
    """Seconds from arrival to the grader's return: how many, median and 95th percentile."""
    if len(seconds) < 2:
        return {"graded": len(seconds), "median": None, "p95": None}
    cuts = quantiles(seconds, n=20, method="inclusive")
    return {"graded": len(seconds), "median": round(cuts[9], 3), "p95": round(cuts[18], 3)}


def whole_content(courses: list[str], documents: list[dict[str, Any]], at: datetime) -> dict[str, Any]:
    """The document of a run over ``courses``, out of the parts of those that were reached."""

    def total(key: str) -> int:
        return sum(document[key] for document in documents)

    def merged(key: str) -> dict[str, int]:
        counts: Counter[str] = Counter()
        for document in documents:
            counts.update(document[key])
        return dict(sorted(counts.items()))

    complete = len(documents) == len(courses) and all(document["complete"] for document in documents)
    keys = ("of", "compared", "equal", "diverged", "waiting", "overdue", "echoed", "fence_leaks", "double_authority")
    return {
        "schema": SCHEMA,
        "finished_at": at.isoformat(),
        "complete": complete,
        **{key: total(key) for key in keys},
        "classes": merged("classes"),
        "known_differences": merged("known_differences"),
        "cohorts": [cohort for document in documents for cohort in document["cohorts"]],
        "latency": {document["course"]: document["latency"] for document in documents},
        "courses": documents,
        "not_compared": list(NOT_COMPARED),
    }
