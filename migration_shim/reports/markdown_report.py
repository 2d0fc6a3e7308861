"""The report as Markdown, for an issue or a wiki. Text from rows stands in code spans, so that none of it is markup."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..core.documents.reconcile_course import ReconciledCourse
from .escape import code_span
from .report import KNOWN, LEARNER_CONTENT, OVERRIDE, PROOFS, STATUSES, AnyCourse, Report
from .report_words import (
    ABSENT,
    change_lines,
    changes,
    counts,
    in_texts,
    in_words,
    next_command,
    provenance,
    quantiles,
    when,
)
from .samples import Sample, differences, samples, samples_of

#: Divergences shown of each class in each course.
EACH = 10


def render(report: Report) -> Iterator[str]:
    """Yield the text in parts."""
    content = report.reconcile
    yield "# Reconcile report\n\n"
    yield f"Compared {content['compared']} of {content['of']}. Made {report.made_at}.\n"
    if not content["complete"]:
        yield "\n**The run was stopped before its end: this is not evidence.**\n"
    for item in content.get("problems", ()):
        yield f"\n**Not compared: {_cell(item['course'])}: {_cell(item['said'])}**\n"
    if report.content is not None:
        yield "\n**Holds learners' answers and graders' messages: handle it as learner data.**\n"
    if not content["courses"]:
        yield "\nNo course is known to the shim yet.\n"
    found = samples(report, EACH)
    for course in content["courses"]:
        yield from _course(report, course, samples_of(course["course"], found))
    yield "\n## Overrides of the gate that a course's phase rests on\n\n"
    yield from _table(OVERRIDE, [[_plain(item[key]) for key in OVERRIDE] for item in report.overrides])
    yield "\n## Register of known differences\n\n"
    yield from _table(KNOWN, [[item[key] for key in KNOWN] for item in report.known_differences])


def _course(report: Report, course: ReconciledCourse, found: list[Sample]) -> Iterator[str]:
    yield f"\n## {code_span(course['course'])}\n\n"
    gate = report.gates.get(course["course"])
    if gate is not None:
        yield f"**{gate['verdict']}**\n\n"
        yield from (f"- because {code_span(reason)}\n" for reason in gate["reasons"])
        yield from (f"- needed: {code_span(item)}\n" for item in gate["needed"])
        yield from (f"- way out: {code_span(item)}\n" for item in gate.get("ways_out", ()))
        yield from (f"- note: {code_span(item)}\n" for item in gate.get("notes", ()))
        yield "\n"
    yield f"Compared {course['compared']} of {course['of']}.\n\n"
    if command := next_command(report, course):
        yield f"Next: {code_span(command)}\n\n"
    found_in: Mapping[str, Any] = course
    numbers = counts(course) | {key.replace("_", " "): found_in[key] for key in PROOFS}
    yield from _table(("result", "count"), numbers.items())
    yield "\n### Problem by problem\n\n"
    rows = [
        [item["problem"], item["queue"], item["pairs"], *(item.get(key, 0) for key in STATUSES)]
        for item in course["cohorts"]
    ]
    yield from _table(("problem", "queue", "pairs", *STATUSES), rows)
    yield from _since(report, course)
    yield "\n### What differs\n\n"
    rows = [
        [item["class"], item["number"], in_texts(item), when(item["first_found_at"]), when(item["last_found_at"])]
        for item in differences(course, found)
    ]
    yield from _table(("class", "found", "what", "since", "newest"), rows)
    yield "\n### Who acts, and what ends it\n\n"
    rows = [[item[key] for key in ("class", "actor", "todo", "ends", "page")] for item in differences(course, found)]
    yield from _table(("class", "who", "what to do", "what ends it", "runbook"), rows)
    yield "\n### Known differences by kind\n\n"
    yield from _table(("kind", "pairs"), course["known_differences"].items())
    yield "\n### What learners see\n\n"
    yield from _table(("legacy", "target", "pairs"), _values(course, "confusion", ("legacy", "target", "pairs")))
    yield "\n### Grading time, in seconds\n\n"
    yield from _table(("quantile", "legacy", "target"), quantiles(course["latency"]))
    yield "\n### By day of arrival\n\n"
    yield from _table(("day", "compared", "diverged"), _values(course, "daily", ("day", "compared", "diverged")))
    for sample in found:
        yield f"\n### {code_span(sample.klass)}: the newest {len(sample.items)} of {sample.number}\n\n"
        keys = ["what", "problem", "entry", "legacy_id", "submission_id", "learner", "arrived_at", "found_at", "why"]
        keys += ["known"]
        keys += LEARNER_CONTENT if report.content is not None else ()
        yield from _table(keys, [[item[key] for key in keys] for item in sample.items])
    if found:
        yield "\nEvery divergence: `xqueue_reconcile` with `--divergences PATH.jsonl`.\n"
    yield "\n### What this rests on, and what it leaves out\n\n"
    yield from _table(("fact", "value"), provenance(report, course))


def _since(report: Report, course: ReconciledCourse) -> Iterator[str]:
    if found := changes(report.reconcile, course):
        yield f"\n### Since run {found['run']}\n\n"
        yield "".join(f"- {code_span(line.strip())}\n" for line in change_lines(report.reconcile, course))


def _values(course: AnyCourse, name: str, keys: Iterable[str]) -> list[list[Any]] | None:
    items = course.get(name)
    return None if items is None else [[item[key] for key in keys] for item in items]


def _table(head: Iterable[str], rows: Iterable[Iterable[Any]] | None) -> Iterator[str]:
    """Yield a table. ``rows`` is None if the document lacks the key, and empty if nothing was found."""
    if rows is None:
        yield f"{ABSENT.capitalize()}.\n"
        return
    names = [name.replace("_", " ") for name in head]
    body = ["| " + " | ".join(_cell(value) for value in row) + " |\n" for row in rows]
    yield "".join([f"| {' | '.join(names)} |\n", f"|{' --- |' * len(names)}\n", *body]) if body else "None.\n"


def _plain(value: Any) -> Any:
    return in_words(value) if isinstance(value, list) else value


def _cell(value: Any) -> str:
    return str(value) if isinstance(value, int | float) else code_span("" if value is None else value)
