"""The template context of one course on the HTML page: shares and lengths computed, every text made printable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.documents.gate import GateDocument
from ..core.documents.reconcile_course import Cohort, ConfusedPairs, Day, ReconciledCourse
from ..core.documents.reconcile_report import ClassOfDivergence
from .escape import escaped, printable
from .report import PROOFS, STATUSES, Content, Report
from .report_words import (
    ABSENT,
    changed_counts,
    changes,
    counts,
    in_texts,
    in_words,
    next_command,
    provenance,
    quantiles,
    when,
)
from .samples import Sample, differences, samples_of

#: Steps of shading in the table of scores; the style sheet has a colour for each.
SHADES = 5
#: The smallest width of a part of a bar, in percent of the bar.
THINNEST = 1.5
#: The smallest number of days that a chart has room for; else a single day would fill it.
FEWEST_DAYS = 14
#: Characters of an answer or a message that the page shows; the JSON Lines have all of them.
CONTENT_LIMIT = 4000
_TEXTS = {"answer": "Answer", "legacy_message": "Legacy's message", "target_message": "The target's message"}


def course_view(report: Report, course: ReconciledCourse, samples: list[Sample]) -> Content:
    """Return one course as the page's template reads it."""
    name = course["course"]
    samples = samples_of(name, samples)
    clean = escaped(course)
    whole: Mapping[str, Any] = course
    return {
        "name": clean["course"],
        "complete": course["complete"],
        "compared": course["compared"],
        "of": course["of"],
        "gate": escaped(report.gates.get(name)),
        "sums": _sums(report.gates.get(name)),
        "next": printable(next_command(report, course)),
        "tiles": [(key, number, f"{_share(number, course['compared']):g} %") for key, number in counts(course).items()],
        "proofs": [(key.replace("_", " "), whole[key]) for key in PROOFS],
        "differences": [_difference(item) for item in differences(course, samples)],
        "since": _since(report, course),
        "known": list(clean["known_differences"].items()),
        **_problems(clean["cohorts"]),
        "confusion": _confusion(clean.get("confusion")),
        "latency": _latency(clean["latency"]),
        "daily": _daily(clean.get("daily")),
        "samples": [_sample(sample) for sample in samples],
        "facts": escaped(provenance(report, course)),
        "absent": ABSENT,
    }


def _difference(item: ClassOfDivergence) -> Content:
    times = {"since": when(item["first_found_at"]), "newest": when(item["last_found_at"])}
    return escaped(item | {"what": in_texts(item)} | times)


def _since(report: Report, course: ReconciledCourse) -> Content | None:
    """Return what has changed since an earlier run; None where nobody has asked."""
    if (found := changes(report.reconcile, course)) is None:
        return None
    return escaped(found) | {"at": when(found["finished_at"]), "changed": changed_counts(found)}


def _sums(gate: GateDocument | None) -> str:
    """Return the arithmetic of a verdict in words."""
    sums = gate["evidence"]["arithmetic"] if gate else None
    if not sums:
        return ""
    return (
        f"{sums['pairs']} graded pairs, {sums['diverged']} unexplained divergences. Evidence that their rate is under "
        f"{100 * sums['threshold']:g} %: {sums['evidence']:g} of {sums['evidence_needed']:g}."
    )


def _share(part: float, whole: float) -> float:
    return round(100 * part / whole, 2) if whole else 0.0


def _problems(cohorts: list[Cohort]) -> Content:
    """Return the problems, worst first, with the segments of their bars, and the beginning that their names share."""
    names = {cohort["problem"] for cohort in cohorts}
    stems = {name[: name.rfind("@") + 1] for name in names}
    stem = stems.pop() if len(stems) == 1 else ""
    stem = stem if stem.startswith("block-v1:") else ""
    used = [key for key in STATUSES if key in ("equal", "diverged") or any(cohort.get(key) for cohort in cohorts)]
    problems = []
    for cohort in sorted(cohorts, key=lambda item: (-item.get("diverged", 0), -item.get("overdue", 0), -item["pairs"])):
        decided = cohort["pairs"] - cohort.get("waiting", 0)
        agree = cohort.get("equal", 0) + cohort.get("known", 0)
        problems.append(
            {
                "name": cohort["problem"][len(stem) :],
                "queue": cohort["queue"],
                "pairs": cohort["pairs"],
                "counts": [cohort.get(key, 0) for key in used],
                "agree": f"{_share(agree, decided):g} %" if decided else "–",  # noqa: RUF001
                "segments": _segments(cohort, used),
            }
        )
    return {"problems": problems, "stem": stem, "used": used}


def _segments(cohort: Mapping[str, Any], used: list[str]) -> list[Content]:
    """Return the parts of a problem's bar; a small part is drawn wide enough to be seen."""
    widths = {key: max(_share(cohort[key], cohort["pairs"]), THINNEST) for key in used if cohort.get(key)}
    segments, start = [], 0.0
    for key, wanted in widths.items():
        width = round(100 * wanted / sum(widths.values()), 2)
        segments.append({"key": key, "x": round(start, 2), "width": width})
        start += width
    return segments


def _confusion(cells: list[ConfusedPairs] | None) -> Content | None:
    """Return the table of legacy's outcomes against the target's, each cell shaded by its number of pairs."""
    if not cells:
        return None if cells is None else {}
    pairs = {(str(item["legacy"]), str(item["target"])): item["pairs"] for item in cells}
    columns = sorted({target for _, target in pairs})
    most = max(pairs.values())
    rows = []
    for row in sorted({legacy for legacy, _ in pairs}):
        numbers = [(column, pairs.get((row, column), 0)) for column in columns]
        shades = [
            {"number": number, "same": column == row, "shade": -(-SHADES * number // most) if most else 0}
            for column, number in numbers
        ]
        rows.append({"name": row, "cells": shades})
    agree = sum(number for (legacy, target), number in pairs.items() if legacy == target)
    return {"columns": columns, "rows": rows, "agree": agree, "total": sum(pairs.values())}


def _latency(latency: Mapping[str, Any]) -> Content:
    """Return the grading seconds of both systems, quantile by quantile, on one scale."""
    rows = quantiles(latency)
    most = max((value for _, *values in rows for value in values if value is not None), default=0)
    return {
        "graded": {side: latency.get(side, {}).get("graded", 0) for side in ("legacy", "target")},
        "rows": [
            {
                "name": name,
                "bars": [
                    {"side": side, "seconds": in_words(value), "width": _share(value or 0, most)}
                    for side, value in (("legacy", legacy), ("target", target))
                ],
            }
            for name, legacy, target in rows
        ],
    }


def _daily(days: list[Day] | None) -> Content | None:
    """Return pairs and divergences by day as columns of a chart, 100 high and one wide for each day."""
    if not days:
        return None if days is None else {}
    most = max(day["compared"] for day in days)
    worst = max(day["diverged"] for day in days)
    columns = []
    for index, day in enumerate(days):
        compared, diverged = _share(day["compared"], most), _share(day["diverged"], worst)
        columns.append(
            {
                "x": index,
                "day": day["day"],
                "compared": day["compared"],
                "diverged": day["diverged"],
                "rate": f"{_share(day['diverged'], day['compared']):g} %",
                "compared_y": round(100 - compared, 2),
                "compared_height": compared,
                "diverged_y": round(100 - diverged, 2),
                "diverged_height": diverged,
            }
        )
    return {
        "columns": columns,
        "width": max(len(days), FEWEST_DAYS),
        "most": most,
        "worst": worst,
        "days": (days[0], days[-1]),
    }


def _sample(sample: Sample) -> Content:
    items = []
    for item in sample.items:
        texts = [(label, _text(item[key])) for key, label in _TEXTS.items() if item.get(key) is not None]
        items.append(escaped(item) | {"texts": texts, "found": when(item["found_at"])})
    return {"class": printable(sample.klass), "number": sample.number, "items": items}


def _text(text: str) -> str:
    """Return a learner's or grader's text as a block, cut to ``CONTENT_LIMIT`` characters."""
    more = f"\n… and {len(text) - CONTENT_LIMIT} characters more" if len(text) > CONTENT_LIMIT else ""
    return printable(text[:CONTENT_LIMIT], lines=True) + more
