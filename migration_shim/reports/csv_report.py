"""
The report as CSV tables, safe to open in a spreadsheet: one kind of row in each file, with the columns of that kind.

``PATH.csv`` has every divergence. ``PATH.KIND.csv`` has another table of ``KINDS``. Every cell is quoted, and a
backslash stands before whatever a spreadsheet would take for a formula.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from ..core.documents.reconcile_course import ReconciledCourse
from .escape import csv_cell
from .report import DIVERGENCE, KNOWN, LEARNER_CONTENT, OVERRIDE, PROOFS, STATUSES, AnyCourse, Report, shown_divergences
from .report_words import counts, in_texts, next_command, provenance, quantiles
from .samples import differences, samples, samples_of

Rows = Iterator[Mapping[str, Any]]


class _Echo:
    """A file that gives back what is written to it, as Django's documentation streams CSV."""

    def write(self, text: str) -> str:
        return text


def render(report: Report) -> Iterator[str]:
    """Yield the table of all divergences line by line, the header first."""
    columns = DIVERGENCE if report.content is None else DIVERGENCE + LEARNER_CONTENT
    return _table(columns, shown_divergences(report))


def renderer_of(kind: str) -> Callable[[Report], Iterator[str]] | None:
    """Return the renderer of another kind of table; None where there is no such kind."""
    return partial(_of_kind, kind) if kind in KINDS else None


def _of_kind(kind: str, report: Report) -> Iterator[str]:
    columns, rows = KINDS[kind]
    return _table(columns, rows(report))


def _table(columns: tuple[str, ...], rows: Rows) -> Iterator[str]:
    writer = csv.DictWriter(_Echo(), columns, restval="", quoting=csv.QUOTE_ALL, extrasaction="ignore")
    yield writer.writeheader()
    for row in rows:
        yield writer.writerow({key: "" if value is None else csv_cell(value) for key, value in row.items()})


def _each(report: Report, rows_of: Callable[[Report, ReconciledCourse], Rows]) -> Rows:
    """Yield the rows of every course, each with its name."""
    for course in report.reconcile["courses"]:
        for row in rows_of(report, course):
            yield {"course": course["course"], **row}


def _courses(report: Report, course: ReconciledCourse) -> Rows:
    gate = report.gates.get(course["course"])
    whole: Mapping[str, Any] = course
    yield {
        "verdict": gate["verdict"] if gate else None,
        "complete": "yes" if course["complete"] else "no: this is not evidence",
        "of": course["of"],
        "compared": course["compared"],
        **counts(course),
        **{key: whole[key] for key in PROOFS},
        "next": next_command(report, course),
    }


def _not_compared(report: Report) -> Rows:
    """Yield the courses, and those that were not compared, which no table may leave out."""
    yield from _each(report, _courses)
    for item in report.reconcile.get("problems", ()):
        yield {"course": item["course"], "complete": f"not compared: {item['said']}"}


def _reasons(report: Report, course: ReconciledCourse) -> Rows:
    gate: Mapping[str, Any] = report.gates.get(course["course"]) or {}
    for kind, key in (("reason", "reasons"), ("needed", "needed"), ("way out", "ways_out"), ("note", "notes")):
        yield from ({"kind": kind, "text": text} for text in gate.get(key, ()))


def _classes(report: Report) -> Rows:
    found = samples(report, 0)
    for course in report.reconcile["courses"]:
        name = course["course"]
        for item in differences(course, samples_of(name, found)):
            yield {"course": name, **item, "what": in_texts(item)}


def _kinds(report: Report, course: ReconciledCourse) -> Rows:
    for name, number in course["known_differences"].items():
        yield {"kind": name, "pairs": number, "compared": course["compared"]}


def _problems(report: Report, course: ReconciledCourse) -> Rows:
    for cohort in course["cohorts"]:
        where = {"problem": cohort["problem"], "queue": cohort["queue"], "pairs": cohort["pairs"]}
        yield where | {key: cohort.get(key, 0) for key in STATUSES}


def _scores(report: Report, course: AnyCourse) -> Rows:
    yield from course.get("confusion") or ()


def _days(report: Report, course: AnyCourse) -> Rows:
    yield from course.get("daily") or ()


def _seconds(report: Report, course: ReconciledCourse) -> Rows:
    for name, legacy, target in quantiles(course["latency"]):
        yield {"quantile": name, "legacy": legacy, "target": target}


def _facts(report: Report, course: ReconciledCourse) -> Rows:
    yield from ({"fact": name, "value": text} for name, text in provenance(report, course))


def _of(rows_of: Callable[[Report, ReconciledCourse], Rows]) -> Callable[[Report], Rows]:
    return lambda report: _each(report, rows_of)


#: The tables beside that of the divergences: the columns of each, and what yields its rows.
KINDS: Mapping[str, tuple[tuple[str, ...], Callable[[Report], Rows]]] = {
    "courses": (
        ("course", "verdict", "complete", "of", "compared", *STATUSES, *PROOFS, "next"),
        _not_compared,
    ),
    "reasons": (("course", "kind", "text"), _of(_reasons)),
    "classes": (
        ("course", "class", "number", "what", "first_found_at", "last_found_at", "actor", "todo", "ends", "page"),
        _classes,
    ),
    "kinds": (("course", "kind", "pairs", "compared"), _of(_kinds)),
    "problems": (("course", "problem", "queue", "pairs", *STATUSES), _of(_problems)),
    "scores": (("course", "legacy", "target", "pairs"), _of(_scores)),
    "days": (("course", "day", "compared", "diverged"), _of(_days)),
    "seconds": (("course", "quantile", "legacy", "target"), _of(_seconds)),
    "overrides": (OVERRIDE, lambda report: iter(report.overrides)),
    "known": (KNOWN, lambda report: iter(report.known_differences)),
    "facts": (("course", "fact", "value"), _of(_facts)),
}
