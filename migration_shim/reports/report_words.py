"""A report's figures in words and short rows, the same in every format; and the command to run next."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from ..core.documents.reconcile import ReconcileDocument
from ..core.documents.reconcile_course import ReconciledCourse
from ..core.documents.reconcile_report import ClassOfDivergence
from ..core.documents.reconcile_since import CourseSince
from .report import STATUSES, AnyCourse, Report

ABSENT = "not in this report"
QUANTILES = {"median": "median", "p90": "90 % within", "p95": "95 % within", "p99": "99 % within"}


def counts(course: AnyCourse) -> dict[str, int]:
    """Return the number of a course's pairs by status; they add up to what was compared."""
    return {key: course.get(key, sum(cohort.get(key, 0) for cohort in course["cohorts"])) for key in STATUSES}


def in_texts(difference: ClassOfDivergence) -> str:
    """Return the texts of a difference in one line, each with its number."""
    texts = [f"{item['text']} ({item['number']})" for item in difference["texts"]]
    rest = difference["number"] - sum(item["number"] for item in difference["texts"])
    return "; ".join([*texts, *([f"{rest} more"] if rest > 0 else ())]) or ABSENT


def when(value: str | None) -> str:
    """Return an ISO time as people read it, to the minute; ``ABSENT`` for None."""
    return ABSENT if value is None else f"{value[:10]} {value[11:16]} UTC"


def in_words(value: Any) -> str:
    """Return a small value of a document in words; ``ABSENT`` for None."""
    if value is None:
        return ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{key} {in_words(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(in_words(item) for item in value) or "none"
    return str(value)


def noise(course: AnyCourse) -> str:
    """Return in words how many shadows were graded twice on the target, and in how many the grades differ."""
    found = course.get("noise")
    if found is None:
        return ABSENT
    return f"{found['judged']} of {found['twins']} shadows graded twice, {found['differ']} differ"


def learners(course: AnyCourse) -> str:
    """Return in words how learners' states compare with both grades, and how many learners wait in vain."""
    found = course.get("learners")
    if found is None:
        return ABSENT
    if not found["applies"]:
        return "not applicable: there is no LMS here"
    sides = dict(found["third_side"])
    odd = sum(sides.pop("not_comparable").values())
    text = ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in sides.items())
    return f"{text}, {odd} not comparable; {found['waiting']} undelivered, {found['undeliverable']} undeliverable"


def provenance(report: Report, course: AnyCourse) -> list[tuple[str, str]]:
    """Return what a course's figures rest on and leave out, as (name, text): run, scope, sampling, versions."""
    run: Mapping[str, Any] = report.runs.get(course["course"], {})
    percent, full, looked_at = run.get("sample_percent"), course.get("full"), in_words(course.get("looked_at"))
    settings = course.get("settings_digest") or run.get("settings_digest")
    return [
        ("Run", f"{in_words(run.get('run'))}, finished {course['finished_at']}"),
        ("Came to its end", in_words(course["complete"])),
        ("Scope", ABSENT if full is None else f"{'full' if full else 'incremental'}, entries looked at: {looked_at}"),
        ("Last full run", in_words(course.get("last_full_at"))),
        ("Watermark", in_words(course.get("watermark"))),
        ("Sampling", ABSENT if percent is None else f"copies for {percent:g} % of the learners"),
        ("Not compared", in_words(report.reconcile["not_compared"])),
        ("Payloads compared", in_words(course.get("payloads_compared"))),
        ("Points of each queue", in_words(course.get("styles"))),
        ("Noise of the graders", noise(course)),
        ("What learners have", learners(course)),
        ("Settings", in_words(settings and settings[:12])),
        ("Versions", in_words(course.get("versions") or run.get("versions"))),
    ]


def quantiles(latency: Mapping[str, Any]) -> list[tuple[str, float | None, float | None]]:
    """Return (name, legacy's seconds, target's seconds) for each quantile that the document has."""
    legacy, target = latency.get("legacy", {}), latency.get("target", {})
    found = [(name, legacy.get(key), target.get(key)) for key, name in QUANTILES.items()]
    return [row for row in found if row[1] is not None or row[2] is not None]


def next_command(report: Report, course: ReconciledCourse) -> str:
    """Return the command to run next for a course; empty where there is nothing to do."""
    name = shlex.quote(course["course"])
    gate = report.gates.get(course["course"])
    if not course["complete"]:
        return f"xqueue_reconcile --course {name}"
    if gate is None:
        return f"xqueue_gate --course {name}"
    if gate["verdict"] != "PASS":
        return f"xqueue_gate --course {name} --explain"
    return f"xqueue_cutover --course {name} --to {gate['next_step']} --reason TEXT" if gate["next_step"] else ""


def changes(content: ReconcileDocument, course: ReconciledCourse) -> CourseSince | None:
    """Return what has changed in a course since an earlier run (``since.changes``); None where nobody has asked."""
    return next((found for found in content.get("since", ()) if found["course"] == course["course"]), None)


def changed_counts(found: CourseSince) -> list[tuple[str, Mapping[str, Any]]]:
    """Return (name, the number ``then`` and ``now``) for each count that has changed."""
    counted: Mapping[str, Any] = found["counts"]
    return [(key.replace("_", " "), pair) for key, pair in counted.items() if pair["then"] != pair["now"]]


def change_lines(content: ReconcileDocument, course: ReconciledCourse) -> list[str]:
    """Return what has changed in a course as lines for a terminal; none where nobody has asked."""
    found = changes(content, course)
    if found is None:
        return []
    verdict = found["verdict"]
    then = verdict["then"] or "not asked"
    text = f"since run {found['run']} of {found['finished_at']}: {found['new']} new, {found['gone']} gone"
    result = [text, f"  verdict: {then} then, {verdict['now']} now"]
    result += [f"  {name}: {pair['then']} then, {pair['now']} now" for name, pair in changed_counts(found)]
    for item in found["classes"]:
        numbers = f"{item['then']} then, {item['new']} new, {item['gone']} gone, {item['now']} now"
        result.append(f"  {item['class']}: {numbers}")
    result += [f"  new: ledger entry {one['entry']}, {one['class']}: {one['what']}" for one in found["listed_new"]]
    if found["listed_gone"] is None:
        result.append("  which of them are gone is not known: the earlier run keeps no list of them")
    gone = found["listed_gone"] or ()
    return result + [f"  gone: ledger entry {one['entry']}, {one['class']}; it is {one['is_now']} now" for one in gone]
