"""
The report as one CSV table, safe to open in a spreadsheet: the counts first, then every divergence.

The first column says what a row is: a filter on ``divergence`` shows the divergences only. Every cell is quoted, and a
backslash stands before whatever a spreadsheet would take for a formula.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from typing import Any

from ..core import overrides
from .escape import csv_cell
from .report import (
    DIVERGENCE,
    LEARNER_CONTENT,
    PROOFS,
    Content,
    Report,
    counts,
    in_words,
    next_command,
    provenance,
    quantiles,
    shown_divergences,
)

COLUMNS = ("row", *DIVERGENCE, "count", "of")


class _Echo:
    """A file that gives back what is written to it, as Django's documentation streams CSV."""

    def write(self, text: str) -> str:
        return text


def render(report: Report) -> Iterator[str]:
    """Yield the table line by line, the header first."""
    columns = COLUMNS if report.content is None else COLUMNS + LEARNER_CONTENT
    writer = csv.DictWriter(_Echo(), columns, restval="", quoting=csv.QUOTE_ALL)
    yield writer.writeheader()
    for row in _rows(report):
        yield writer.writerow({key: "" if value is None else csv_cell(value) for key, value in row.items()})


def _rows(report: Report) -> Iterable[dict[str, Any]]:
    whole = report.reconcile
    what = "the whole run" if whole["complete"] else "the whole run, stopped before its end: this is not evidence"
    yield {"row": "compared", "what": what, "count": whole["compared"], "of": whole["of"]}
    for course in whole["courses"]:
        yield from ({"course": course["course"]} | row for row in _course(report, course))
    for item in report.overrides:
        what = overrides.used(item)
        yield {"row": "override", "class": item["step_to"], "course": item["course"], "what": what}
    for item in report.known_differences:
        what = f"{item['state']}, {item['owner']} until {item['expires_at']}: {item['reason']}"
        scope = {key: item[key] for key in ("class", "course", "queue", "problem")}
        yield {"row": "known difference", **scope, "what": what, "count": item["covers"]}
    for item in shown_divergences(report):
        yield {"row": "divergence"} | item


def _course(report: Report, course: Content) -> Iterator[dict[str, Any]]:
    yield {"row": "compared", "count": course["compared"], "of": course["of"]}
    gate = report.gates.get(course["course"])
    if gate is not None:
        yield {"row": "verdict", "what": gate["verdict"]}
        for name, key in (("reason", "reasons"), ("needed", "needed"), ("way out", "ways_out"), ("note", "notes")):
            yield from ({"row": name, "what": text} for text in gate.get(key, ()))
    for key, number in (counts(course) | {key: course[key] for key in PROOFS}).items():
        yield {"row": "result", "class": key, "count": number, "of": course["compared"]}
    for name, number in course["known_differences"].items():
        yield {"row": "known kind", "class": name, "count": number, "of": course["compared"]}
    for name, number in course["classes"].items():
        if number:
            yield {"row": "class", "class": name, "count": number, "of": course["compared"]}
    for cohort in course["cohorts"]:
        agree = cohort.get("equal", 0) + cohort.get("known", 0)
        where = {"queue": cohort["queue"], "problem": cohort["problem"]}
        yield {"row": "problem", **where, "what": "equal or known", "count": agree, "of": cohort["pairs"]}
    for pair in course.get("confusion") or ():
        what = f"legacy {pair['legacy']}, target {pair['target']}"
        yield {"row": "scores", "what": what, "count": pair["pairs"], "of": course["compared"]}
    for day in course.get("daily") or ():
        yield {
            "row": "day",
            "what": "diverged",
            "arrived_at": day["day"],
            "count": day["diverged"],
            "of": day["compared"],
        }
    for name, legacy, target in quantiles(course["latency"]):
        yield {"row": "seconds", "class": name, "what": f"legacy {in_words(legacy)}, target {in_words(target)}"}
    yield from ({"row": "fact", "class": name, "what": text} for name, text in provenance(report, course))
    yield {"row": "next", "what": next_command(report, course)}
