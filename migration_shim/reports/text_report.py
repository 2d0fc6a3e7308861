"""The report as text: verdict and reasons first, then the figures, some divergences, and what they rest on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..core import codes, overrides, remedies
from ..core.documents.reconcile import ReconcileDocument
from ..core.documents.reconcile_course import ReconciledCourse
from ..core.wording import counted, said_once
from .escape import columns, printable
from .report import KNOWN, LEARNER_CONTENT, OVERRIDE, AnyCourse, Report
from .report_words import ABSENT, change_lines, in_texts, in_words, next_command, noise, provenance, quantiles, when
from .samples import Sample, differences, samples, samples_of

#: Divergences shown of each class in each course.
EACH = 3
#: What a reconcile counts of a course that is not as it should be, the worst first.
_WORST = ("fence_leaks", "double_authority", "diverged", "overdue")


def render(report: Report) -> Iterator[str]:
    """Yield the text in one piece."""
    yield "".join(printable(line) + "\n" for line in _lines(report))


def reconcile_lines(content: ReconcileDocument) -> list[str]:
    """
    Return the lines of a reconcile document for a terminal: the counts, and the next commands.

    With a key ``brief`` a course has one line, the worst first.
    """
    lines = []
    if content.get("brief"):
        lines += [line for course in sorted(content["courses"], key=_rank) for line in _brief(course)]
        lines += ["", "All there is on each course: --verbose, or --report PATH"]
    for course in () if content.get("brief") else content["courses"]:
        lines += [*_counts(course), *_who_acts(course), *_exceptions(course), *_since(content, course), ""]
    problems = said_once(content.get("problems", ()))
    for courses, said in problems:
        lines.append(f"{courses}: NOT COMPARED: {said}")
        lines += [f"  See: {page}"] if (page := codes.page_of(said)) else []
    if not content["courses"] and not problems:
        lines += ["No course is known to the shim yet.", ""]
    if not all(course["complete"] for course in content["courses"]):
        by = f" by {content['stopped_by']}" if content.get("stopped_by") else ""
        lines.append(f"Stopped{by} before the end: this is not evidence.")
    if waited := content.get("waited"):
        found = ", ".join(f"{seconds:.1f} s for {kind.replace('_', ' ')}" for kind, seconds in waited.items())
        lines.append(f"Waited: {found}")
    lines.append(f"Not compared by this version: {', '.join(content['not_compared'])}")
    return [*lines, *_summary(content["courses"])]


def _rank(course: AnyCourse) -> tuple[Any, ...]:
    return (*(-course[key] for key in _WORST), course["course"])


def _brief(course: AnyCourse) -> Iterator[str]:
    """Yield the line of a course among many: what is not as it should be, in numbers; and its overrides."""
    found = [f"{course[key]} {key.replace('_', ' ')}" for key in (*_WORST, "waiting") if course[key]]
    compared = f"compared {course['compared']} of {course['of']}"
    yield f"{course['course']}: {', '.join([compared, *found])}"
    yield from (f"  {overrides.used(item)}" for item in course.get("overrides", ()))


def _summary(courses: list[ReconciledCourse]) -> Iterator[str]:
    """Yield the next command; of several courses one command for all of them, and before it a line that counts them."""
    if len(courses) > 1:
        compared = [course for course in courses if course["complete"]]
        differ = sum(bool(course["diverged"]) for course in compared)
        yield f"{len(courses)} courses: {len(compared)} compared, {differ} of them with unexplained differences"
        yield "Next: xqueue_gate --all"
    elif courses:
        yield f"Next: xqueue_gate --course {courses[0]['course']}"


def _who_acts(course: ReconciledCourse) -> Iterator[str]:
    """Yield for each class on record who acts first, and the runbook's page."""
    classes: Mapping[str, Any] = course["classes"]
    for klass, number in classes.items():
        if number:
            remedy = remedies.described(klass)
            yield f"  {klass}: {remedy['actor']} acts; runbook: {remedy['page'].replace('-', ' ')}"


def _exceptions(course: ReconciledCourse) -> Iterator[str]:
    """Yield the overrides that the course's phase rests on, and the known differences in force."""
    for item in course.get("overrides", ()):
        yield f"  {overrides.used(item)}"
    for known in course.get("register", ()):
        yield f"  known difference {known['id']}, {known['class']}, {known['state']} until {known['expires_at']}"
        yield f"    covers {known['covers']} divergences; {known['owner']}: {known['reason']}"


def _lines(report: Report) -> Iterator[str]:
    content = report.reconcile
    yield f"Reconcile report of {report.made_at}: compared {content['compared']} of {content['of']}"
    if not content["complete"]:
        yield "Stopped before the end: this is not evidence."
    yield from (f"{item['course']}: NOT COMPARED: {item['said']}" for item in content.get("problems", ()))
    if report.content is not None:
        yield "Holds learners' answers and graders' messages: handle it as learner data."
    if not content["courses"]:
        yield "No course is known to the shim yet."
    found = samples(report, EACH)
    for course in content["courses"]:
        yield ""
        yield from _course(report, course, samples_of(course["course"], found))
    yield from ("", "Overrides of the gate that a course's phase rests on:")
    for item in report.overrides:
        yield "  " + ", ".join(f"{key} {in_words(item[key])}" for key in OVERRIDE)
    yield from () if report.overrides else ("  none",)
    yield "Register of known differences:"
    for item in report.known_differences:
        yield "  " + ", ".join(f"{key} {item[key]}" for key in KNOWN if item[key] != "")
    yield from () if report.known_differences else ("  none",)
    yield ""
    for course in content["courses"]:
        if command := next_command(report, course):
            yield f"Next: {command}"


def _course(report: Report, course: ReconciledCourse, found: list[Sample]) -> Iterator[str]:
    gate = report.gates.get(course["course"])
    if gate is not None:
        yield gate["verdict"]
        yield from (f"  because {reason}" for reason in gate["reasons"])
        yield from (f"  needed: {item}" for item in gate["needed"])
        yield from (f"  way out: {item}" for item in gate.get("ways_out", ()))
        yield from (f"  note: {item}" for item in gate.get("notes", ()))
    yield from _counts(course)
    yield from _scores(course)
    yield from _days(course)
    yield from _since(report.reconcile, course)
    yield from _differences(course, found)
    for sample in found:
        newest = f"the newest {len(sample.items)} of {sample.number}"
        yield f"  {sample.klass}, {newest} (all of them: --divergences PATH.jsonl):"
        for item in sample.items:
            ids = f"ledger entry {item['entry']}, legacy row {item['legacy_id']}, submission {item['submission_id']}"
            known = f" (known difference {item['known']})" if item["known"] else ""
            yield f"    {item['what']}{known}: {ids}, learner {item['learner']}, {item['problem']}"
            if item["why"]:
                yield f"      why: {item['why']}"
            for key in LEARNER_CONTENT:
                if item.get(key) is not None:
                    yield f"      {key.replace('_', ' ')}: {json.dumps(item[key], ensure_ascii=False)}"
    yield "  what this rests on, and what it leaves out:"
    yield from (f"    {name}: {value}" for name, value in provenance(report, course))


def _since(content: ReconcileDocument, course: ReconciledCourse) -> list[str]:
    return [f"  {line}" for line in change_lines(content, course)]


def _differences(course: ReconciledCourse, found: list[Sample]) -> Iterator[str]:
    """Yield what differs, class by class: since when, who acts, what mends it and what ends it."""
    rows = differences(course, found)
    yield f"  what differs: {'' if rows else 'nothing'}".rstrip()
    for row in rows:
        yield f"    {row['class']}, {row['number']} found: {in_texts(row)}"
        yield f"      since {when(row['first_found_at'])}; the newest {when(row['last_found_at'])}"
        yield f"      {row['actor']}: {row['todo']}"
        yield f"      ends by: {row['ends']}"
        yield f"      runbook: {row['page'].replace('-', ' ')}"


def _counts(course: AnyCourse) -> list[str]:
    """Return the lines with the counts of one course's comparison."""
    lines = [f"{course['course']}: compared {course['compared']} of {course['of']}"]
    if "full" in course:
        kind = "everything looked at" if course["full"] else f"incremental, {course['looked_at']} looked at"
        lines.append(f"  {kind}; last full run {course['last_full_at']}")
    keys = ("equal", "diverged", "waiting", "overdue", "fence_leaks", "double_authority")
    lines += columns({key.replace("_", " "): course[key] for key in keys})
    if course["known_differences"]:
        lines += ["  known differences:", *("  " + line for line in columns(course["known_differences"]))]
    if found := {name: number for name, number in course["classes"].items() if number}:
        lines += ["  divergences by class:", *("  " + line for line in columns(found))]
    if course.get("noise", {}).get("twins"):
        lines.append(f"  noise of the graders: {noise(course)}")
    lines.append("  problem by problem:")
    for cohort in course["cohorts"]:
        parts = [counted(cohort["pairs"], "pair")]
        parts += [f"{cohort[key]} {key}" for key in ("equal", "diverged", "waiting", "overdue") if cohort.get(key)]
        lines.append(f"    {cohort['queue']}  {cohort['problem']}: {', '.join(parts)}")
    latency = course["latency"]
    for index, side in enumerate(("legacy", "target"), start=1):
        times = [f"{row[0]} {row[index]} s" for row in quantiles(latency) if row[index] is not None]
        if times:
            lines.append(f"  {side} grading time: {', '.join(times)} ({latency[side]['graded']} graded)")
    return lines


def _scores(course: AnyCourse) -> Iterator[str]:
    cells = course.get("confusion")
    yield f"  what learners see, legacy and target: {_said(cells)}".rstrip()
    for item in cells or ():
        yield f"    {item['legacy']} and {item['target']}: {counted(item['pairs'], 'pair')}"


def _days(course: AnyCourse) -> Iterator[str]:
    days = course.get("daily")
    yield f"  by day of arrival: {_said(days)}".rstrip()
    for day in days or ():
        yield f"    {day['day']}: {day['compared']} compared, {day['diverged']} diverged"


def _said(items: Sequence[object] | None) -> str:
    return ABSENT if items is None else "" if items else "none"
