"""The report of one reconcile as every renderer gets it, and what renderers share: counts, samples, next commands."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

Content = dict[str, Any]

ABSENT = "not in this report"
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
)
#: Keys with learners' content, shown only if the report was asked to hold it.
LEARNER_CONTENT = ("answer", "legacy_message", "target_message")
STATUSES = ("equal", "known", "diverged", "waiting", "overdue")
PROOFS = ("fence_leaks", "double_authority", "echoed")
QUANTILES = {"median": "median", "p90": "90 % within", "p95": "95 % within", "p99": "99 % within"}
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
    """

    reconcile: Content
    made_at: str
    gates: dict[str, Content] = field(default_factory=dict)
    runs: dict[str, Content] = field(default_factory=dict)
    overrides: list[Content] = field(default_factory=list)
    known_differences: list[Content] = field(default_factory=list)
    divergences: Callable[[], Iterator[Content]] = lambda: iter(())
    content: Callable[[list[Content]], list[Content]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Some divergences of one class in one course, and the number of all of them."""

    course: str
    klass: str
    number: int
    items: list[Content]


def shown_divergences(report: Report) -> Iterator[Content]:
    """Yield every divergence, reduced to what may be shown; they are read in batches to keep memory flat."""
    divergences = report.divergences()
    while batch := list(islice(divergences, BATCH)):
        yield from _reduced(report, batch)


def _reduced(report: Report, batch: list[Content]) -> list[Content]:
    reduced = [{key: item.get(key) for key in DIVERGENCE} for item in batch]
    if report.content is None:
        return reduced
    contents = report.content(batch)
    return [
        item | {key: content.get(key) for key in LEARNER_CONTENT}
        for item, content in zip(reduced, contents, strict=True)
    ]


def samples(report: Report, each: int) -> list[Sample]:
    """Return the first ``each`` divergences of every class in every course, so that rare classes are shown too."""
    numbers: dict[tuple[str, str], int] = {}
    kept: dict[tuple[str, str], list[Content]] = {}
    for item in report.divergences():
        key = (item["course"], item["class"])
        numbers[key] = numbers.get(key, 0) + 1
        if numbers[key] <= each:
            kept.setdefault(key, []).append(item)
    return [
        Sample(course=course, klass=klass, number=numbers[course, klass], items=_reduced(report, items))
        for (course, klass), items in sorted(kept.items())
    ]


def counts(course: Content) -> dict[str, int]:
    """Return the number of a course's pairs by status; they add up to what was compared."""
    return {key: course.get(key, sum(cohort.get(key, 0) for cohort in course["cohorts"])) for key in STATUSES}


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


def noise(course: Content) -> str:
    """Return in words how many shadows were graded twice on the target, and in how many the grades differ."""
    found = course.get("noise")
    if found is None:
        return ABSENT
    return f"{found['judged']} of {found['twins']} shadows graded twice, {found['differ']} differ"


def learners(course: Content) -> str:
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


def provenance(report: Report, course: Content) -> list[tuple[str, str]]:
    """Return what a course's figures rest on and leave out, as (name, text): run, scope, sampling, versions."""
    run = report.runs.get(course["course"], {})
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


def quantiles(latency: Content) -> list[tuple[str, float | None, float | None]]:
    """Return (name, legacy's seconds, target's seconds) for each quantile that the document has."""
    legacy, target = latency.get("legacy", {}), latency.get("target", {})
    found = [(name, legacy.get(key), target.get(key)) for key, name in QUANTILES.items()]
    return [row for row in found if row[1] is not None or row[2] is not None]


def next_command(report: Report, course: Content) -> str:
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
