"""The report of one reconcile as every renderer gets it, and what renderers share: counts, samples, next commands."""

from __future__ import annotations

import shlex
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from ..core import remedies
from ..core.data import DivergenceClass
from ..core.documents.gate import GateDocument
from ..core.documents.reconcile import ReconcileDocument
from ..core.documents.reconcile_course import ReconciledCourse
from ..core.documents.reconcile_report import ClassOfDivergence, ReportedRun
from ..core.documents.reconcile_since import CourseSince
from . import sides

Content = dict[str, Any]
#: A course's part of a reconcile, maybe of a release that knew fewer keys: ``ABSENT`` stands for what it lacks.
AnyCourse = Mapping[str, Any]

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
    "found_at",
    *(key for key in sides.KEYS if key not in ("legacy_returned_at", "target_points")),
    "why",
    "actor",
)
#: Different texts of one class that are counted apart; what further ones say is counted together.
TEXTS = 200
#: What further texts are counted as, and how many texts of a class are shown.
OTHERS, SHOWN_TEXTS = "other texts", 5
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """
    The newest divergences of one class in one course, and what is said of all of them.

    ``first_found`` and ``last_found`` are None where no time is known. ``texts`` are the most frequent ones with their
    numbers, the most frequent first.
    """

    course: str
    klass: str
    number: int
    items: list[Content]
    first_found: str | None
    last_found: str | None
    texts: list[tuple[str, int]]


def shown_divergences(report: Report) -> Iterator[Content]:
    """Yield every divergence, reduced to what may be shown; they are read in batches to keep memory flat."""
    divergences = report.divergences()
    while batch := list(islice(divergences, BATCH)):
        yield from _reduced(report, batch)


def _reduced(report: Report, batch: list[Content]) -> list[Content]:
    reduced = [
        {key: item.get(key) for key in DIVERGENCE}
        | {"why": sides.why(item), "actor": remedies.described(item["class"])["actor"]}
        for item in batch
    ]
    if report.content is None:
        return reduced
    contents = report.content(batch)
    return [
        item | {key: content.get(key) for key in LEARNER_CONTENT}
        for item, content in zip(reduced, contents, strict=True)
    ]


def samples(report: Report, each: int, *, side_by_side: bool = False) -> list[Sample]:
    """
    Return the newest ``each`` divergences of every class in every course, so that rare classes are shown too.

    With ``side_by_side`` each also has a ``table`` of what either side gave (``sides.table``).
    """
    kept: dict[tuple[str, str], _Kept] = {}
    for item in report.divergences():
        key = (item["course"], item["class"])
        if key not in kept:
            kept[key] = _Kept(newest=deque(maxlen=each))
        kept[key].add(item)
    return [
        Sample(
            course=course,
            klass=klass,
            number=found.number,
            items=_shown(report, list(reversed(found.newest)), side_by_side=side_by_side),
            first_found=found.first,
            last_found=found.last,
            texts=sorted(found.texts.items(), key=lambda pair: (-pair[1], pair[0])),
        )
        for (course, klass), found in sorted(kept.items())
    ]


@dataclass(slots=True)
class _Kept:
    """What is kept of a class in one pass over its divergences: however many there are, it does not grow."""

    newest: deque[Content]
    number: int = 0
    first: str | None = None
    last: str | None = None
    texts: Counter[str] = field(default_factory=Counter)

    def add(self, item: Content) -> None:
        """Count a divergence."""
        self.number += 1
        self.newest.append(item)
        if at := item.get("found_at"):
            self.first, self.last = min(self.first or at, at), max(self.last or at, at)
        text = item["what"]
        self.texts[text if text in self.texts or len(self.texts) < TEXTS else OTHERS] += 1


def _shown(report: Report, items: list[Content], *, side_by_side: bool) -> list[Content]:
    if not side_by_side:
        return _reduced(report, items)
    more = report.rows(items) if report.rows is not None else [{} for _ in items]
    items = [item | found for item, found in zip(items, more, strict=True)]
    return [shown | {"table": sides.table(item)} for shown, item in zip(_reduced(report, items), items, strict=True)]


def differences(course: ReconciledCourse, found: list[Sample]) -> list[ClassOfDivergence]:
    """
    Return the table of what differs in a course: every class on record, also those that no table of pairs has.

    Args:
        course: its part of the document.
        found: the course's samples, which say since when; a class without one has its number only.
    """
    by_class = {sample.klass: sample for sample in found}
    rows: list[ClassOfDivergence] = []
    # Some leaks have no entry, and so no divergence: the course's own number has them all.
    classes: Mapping[str, Any] = course["classes"]
    leaks = max(classes.get(DivergenceClass.FENCE_LEAK, 0), course["fence_leaks"])
    for klass, number in {**classes, DivergenceClass.FENCE_LEAK.value: leaks}.items():
        if number:
            sample = by_class.get(klass)
            rows.append(
                {
                    "class": klass,
                    "number": number,
                    "first_found_at": sample.first_found if sample else None,
                    "last_found_at": sample.last_found if sample else None,
                    "texts": [{"text": text, "number": times} for text, times in sample.texts[:SHOWN_TEXTS]]
                    if sample
                    else [],
                    **remedies.described(klass),
                }
            )
    return rows


def in_texts(difference: ClassOfDivergence) -> str:
    """Return the texts of a difference in one line, each with its number."""
    texts = [f"{item['text']} ({item['number']})" for item in difference["texts"]]
    rest = difference["number"] - sum(item["number"] for item in difference["texts"])
    return "; ".join([*texts, *([f"{rest} more"] if rest > 0 else ())]) or ABSENT


def when(value: str | None) -> str:
    """Return an ISO time as people read it, to the minute; ``ABSENT`` for None."""
    return ABSENT if value is None else f"{value[:10]} {value[11:16]} UTC"


def counts(course: AnyCourse) -> dict[str, int]:
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


def change_lines(found: CourseSince) -> list[str]:
    """Return the changes as lines for a terminal."""
    verdict = found["verdict"]
    then = verdict["then"] or "not asked"
    text = f"since run {found['run']} of {found['finished_at']}: {found['new']} new, {found['gone']} gone"
    result = [text, f"  verdict: {then} then, {verdict['now']} now"]
    counts: Mapping[str, Any] = found["counts"]
    for key, pair in counts.items():
        if pair["then"] == pair["now"]:
            continue
        result.append(f"  {key.replace('_', ' ')}: {pair['then']} then, {pair['now']} now")
    for item in found["classes"]:
        numbers = f"{item['then']} then, {item['new']} new, {item['gone']} gone, {item['now']} now"
        result.append(f"  {item['class']}: {numbers}")
    result += [f"  new: ledger entry {one['entry']}, {one['class']}: {one['what']}" for one in found["listed_new"]]
    if found["listed_gone"] is None:
        result.append("  which of them are gone is not known: the earlier run keeps no list of them")
    gone = found["listed_gone"] or ()
    return result + [f"  gone: ledger entry {one['entry']}, {one['class']}; it is {one['is_now']} now" for one in gone]
