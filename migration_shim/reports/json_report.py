"""The report for programs: one JSON document, and JSON Lines of all divergences."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import cast

from ..core.documents.reconcile import ReconcileDocument
from ..core.documents.reconcile_report import ClassOfDivergence, ReportedDifference, ReportedOverride
from .report import KNOWN, OVERRIDE, Report, shown_divergences
from .samples import differences, samples


def document(report: Report) -> ReconcileDocument:
    """Return the reconcile document, with what a report adds to it under the key ``report``."""
    return {
        **report.reconcile,
        "report": {
            "made_at": report.made_at,
            "gates": report.gates,
            "runs": report.runs,
            "overrides": [cast(ReportedOverride, {key: item[key] for key in OVERRIDE}) for item in report.overrides],
            "known_differences": [
                cast(ReportedDifference, {key: item[key] for key in KNOWN}) for item in report.known_differences
            ],
            "differences": _differences(report),
        },
    }


def _differences(report: Report) -> dict[str, list[ClassOfDivergence]]:
    found = samples(report, 0)
    return {
        course["course"]: differences(course, [item for item in found if item.course == course["course"]])
        for course in report.reconcile["courses"]
    }


def render(report: Report) -> Iterator[str]:
    """Yield the document as indented JSON, in one piece."""
    yield json.dumps(document(report), indent=2, allow_nan=False) + "\n"


def lines(report: Report) -> Iterator[str]:
    """Yield every divergence as one line of JSON with every key; learners' content only if the report holds it."""
    for item in shown_divergences(report):
        yield json.dumps(item, allow_nan=False) + "\n"
