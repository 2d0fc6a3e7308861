"""The report of one reconcile as every renderer gets it, and its divergences as far as they may be shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from ..core import remedies
from ..core.documents.gate import GateDocument
from ..core.documents.reconcile import ReconcileDocument
from ..core.documents.reconcile_report import ReportedRun
from . import sides

Content = dict[str, Any]
#: A course's part of a reconcile, maybe of a release that knew fewer keys: ``ABSENT`` stands for what it lacks.
AnyCourse = Mapping[str, Any]

BATCH = 200
#: The keys of a divergence that are shown, in this order; any other key is left out.
DIVERGENCE = (
    "entry",
    "legacy_id",
    "submission_id",
    "course",
    "problem",
    "queue",
    "learner",
    "arrived_at",
    "class",
    "what",
    "known",
    "found_at",
    *(key for key in sides.KEYS if key not in ("legacy_returned_at", "target_points")),
    "why",
    "actor",
)
#: Keys with learners' content, shown only if the report was asked to hold it.
LEARNER_CONTENT = ("answer", "legacy_message", "target_message")
STATUSES = ("equal", "known", "diverged", "waiting", "overdue")
PROOFS = ("fence_leaks", "double_authority", "echoed")
OVERRIDE = (
    *("id", "course", "step_to", "verdict", "causes", "reason"),
    *("signed_by", "seconded_by", "signed_at", "used_at", "expires_at"),
)
KNOWN = ("id", "class", "course", "queue", "problem", "reason", "owner", "expires_at", "state", "covers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """
    Everything that a report says; renderers read nothing else.

    Args:
        reconcile: the document of the comparison.
        made_at: when the report was made, as ISO 8601.
        gates: course -> the gate's document as of ``made_at``.
        runs: course -> what the run's record says: ``run``, ``versions``, ``settings_digest``, ``sample_percent``.
        overrides: the overrides of the gate that a course's phase rests on (keys of ``OVERRIDE``).
        known_differences: the register, expired entries included (keys of ``KNOWN``).
        divergences: opens a new pass over all divergences (keys of ``DIVERGENCE``).
        content: returns learners' answers and graders' messages for a batch of divergences (keys of
            ``LEARNER_CONTENT``, each a text or None). None, the default: the report shows no learner's content.
        rows: returns for a batch what is only in the two systems' rows (``legacy_returned_at``, ``target_points``,
            ``target_failures``), for the few divergences that are shown side by side.
    """

    reconcile: ReconcileDocument
    made_at: str
    gates: Mapping[str, GateDocument] = field(default_factory=dict)
    runs: Mapping[str, ReportedRun] = field(default_factory=dict)
    overrides: Sequence[Mapping[str, Any]] = ()
    known_differences: Sequence[Mapping[str, Any]] = ()
    divergences: Callable[[], Iterator[Content]] = lambda: iter(())
    content: Callable[[list[Content]], list[Content]] | None = None
    rows: Callable[[list[Content]], list[Content]] | None = None


def shown_divergences(report: Report) -> Iterator[Content]:
    """Yield every divergence, reduced to what may be shown; they are read in batches to keep memory flat."""
    divergences = report.divergences()
    while batch := list(islice(divergences, BATCH)):
        yield from reduced(report, batch)


def reduced(report: Report, batch: list[Content]) -> list[Content]:
    """Return divergences with what may be shown of them, and with why they are there and who acts."""
    shown = [
        {key: item.get(key) for key in DIVERGENCE}
        | {"why": sides.why(item), "actor": remedies.described(item["class"])["actor"]}
        for item in batch
    ]
    if report.content is None:
        return shown
    contents = report.content(batch)
    return [
        item | {key: content.get(key) for key in LEARNER_CONTENT} for item, content in zip(shown, contents, strict=True)
    ]
