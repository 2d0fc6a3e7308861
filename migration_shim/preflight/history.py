"""Legacy's history: how far back its rows go, what was deleted too early, and whether they are enough for the gate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ..conf import ShimSettings
from ..core.data import State
from ..core.documents.preflight import History, Retention
from ..core.findings import Finding, found
from ..core.martingale import pairs_needed
from ..core.row_counts import LISTED, CourseRowCounts
from ..core.row_rules import RULES
from ..legacy import rows as legacy_rows
from ..models import LedgerEntry

#: Ledger entries read at once.
PAGE = 1000
#: Graded rows of a problem that ``xqueue_backfill --history`` imports by default.
PER_PROBLEM = 200


def legacy_extent() -> Retention:
    """
    Return how far back legacy's table goes, for all courses.

    The keys are ``rows``, ``oldest_legacy_id``, ``oldest_arrival`` (ISO 8601) and ``missing_ids``: how many ids between
    the oldest and the newest row have no row.
    """
    ends, rows = legacy_rows.oldest_and_newest(), legacy_rows.count(after=0, unretired_only=False)
    if ends is None:
        return {"rows": 0, "oldest_legacy_id": None, "oldest_arrival": None, "missing_ids": 0}
    oldest, newest = ends
    return {
        "rows": rows,
        "oldest_legacy_id": oldest.id,
        "oldest_arrival": oldest.arrival_time.isoformat(),
        "missing_ids": max(newest.id - oldest.id + 1 - rows, 0),
    }


def deletion_findings(course_id: str, kept: Retention) -> Iterator[Finding]:
    """
    Yield the findings about rows that legacy's retention has deleted.

    Args:
        course_id: the course.
        kept: what ``legacy_extent`` returned.
    """
    deleted: list[int] = []
    number = 0
    for page in _deleted(course_id):
        number += len(page)
        deleted += page[: LISTED - len(deleted)]
    if number:
        yield found(RULES["deleted_unretired"], rows=number, example=deleted[0], listed=tuple(deleted))
    oldest = kept["oldest_legacy_id"]
    if oldest is not None and oldest > 1:
        yield found(RULES["retention"], about=f"the oldest is {oldest} of {kept['oldest_arrival']}")


def _deleted(course_id: str) -> Iterator[list[int]]:
    """Yield, in pages, the legacy ids of rows that are gone though they were not retired when last read."""
    open_entries = LedgerEntry.objects.filter(
        course_id=course_id, legacy_id__isnull=False, legacy_state__in=(State.QUEUED, State.PULLED)
    )
    after = 0
    while page := list(open_entries.filter(id__gt=after).order_by("id").values_list("id", "legacy_id")[:PAGE]):
        after = page[-1][0]
        ids = [legacy_id for _, legacy_id in page if legacy_id is not None]
        there = legacy_rows.existing(ids)
        yield [legacy_id for legacy_id in ids if legacy_id not in there]


def graded_history(tally: CourseRowCounts, settings: ShimSettings) -> History:
    """
    Return how many graded pairs legacy's history can give, and how many the gate needs.

    The keys are ``pairs`` (at most ``per_problem`` of each problem), ``graded`` (all of them), ``needed`` (if none
    diverges) and ``thin_problems``: those with fewer pairs than the gate needs of a problem.
    """
    by_problem: Counter[str] = Counter()
    for (_, problem), cohort in tally.cohorts.items():
        if problem:
            by_problem[problem] += cohort.history
    thresholds = settings.thresholds()
    return {
        "pairs": sum(min(number, PER_PROBLEM) for number in by_problem.values()),
        "graded": by_problem.total(),
        "per_problem": PER_PROBLEM,
        "needed": pairs_needed(0, 0, thresholds.rate, thresholds.error) or 0,
        "thin_problems": sorted(
            problem for problem, number in by_problem.items() if number < thresholds.pairs_per_problem
        ),
    }


def history_findings(past: History) -> Iterator[Finding]:
    """Yield a finding if the history that ``graded_history`` returned is too short for the gate."""
    if past["pairs"] < past["needed"]:
        about = f"{past['pairs']} graded pairs of {past['needed']}"
        yield found(RULES["history_short"], about=about)
