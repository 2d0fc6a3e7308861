"""
The preflight of a course: what would break on the target, counted over all its legacy rows before anything is written.

Much of what edx-submissions' own endpoint would lose is handed out unchanged by the watcher seam; such findings are
notes, for sites whose graders poll that endpoint. The rules are in ``core.row_rules`` and ``core.site_rules``; this
module applies them to the rows, the queues and the site.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from django.utils.timezone import now

from ..conf import ShimSettings, load
from ..core.data import Document, ExitCode
from ..core.documents.preflight import FoundProblem, PreflightDocument
from ..core.errors import PredictionUnavailable
from ..core.findings import BLOCKER, Finding, found, in_order
from ..core.row_counts import CourseRowCounts
from ..core.row_rules import RULES
from ..core.site_rules import SITE_RULES
from ..cutover import gate
from ..legacy import rows as legacy_rows
from ..models import Run
from ..runs import records as run_records
from ..target import prediction
from . import callback_hosts, history, queues, rows, similar_names, site
from .probe import Probe, send_probe

SCHEMA = "migration_shim.xqueue_preflight/1"

Progress = Callable[[int, int], None]

#: What is found of queues that XQueue does not know, and of those that it cannot be asked about.
_ASKED = frozenset({"queue_unknown", "reverse_queue_unknown"})


def run(course_id: str, progress: Progress, *, probe: bool = False) -> Document[PreflightDocument]:
    """
    Examine every legacy row of a course, its queues and the site, and put the findings on record.

    Nothing is written on legacy or the target, unless ``probe`` is given.

    Args:
        course_id: the course, in its canonical form.
        progress: called with (rows read, all rows).
        probe: send the newest graded submission of each queue to XQueue again, for the grader of its reverse shadows. A
            later run sees whether a grader pulled it.

    Returns:
        The preflight's document. Exit code 2: there are blockers.

    Raises:
        RunLocked: a preflight of this course is at work.
        ConfigurationError: the settings are not usable.
        LegacyNotReadable: XQueue's rows cannot be read.
    """
    with run_records.running("preflight", course_id, judge=gate.review_permit) as record:
        site.check_readable()
        content = _content(course_id, record, progress, probe=probe)
        record.document, record.complete = content, True
    blocked = any(item["severity"] == BLOCKER for item in content["findings"])
    return Document(content=content, exit_code=ExitCode.DIFFERENCES if blocked else ExitCode.OK)


def _content(course_id: str, record: Run, progress: Progress, *, probe: bool) -> PreflightDocument:
    settings = load()
    unpredictable = list(_unpredictable())
    by_host: Counter[str] = Counter()
    predictable = not unpredictable
    tally = rows.count_rows(course_id, settings, record, progress, predictable=predictable, by_host=by_host)
    probes = [_sent(tally, name, settings) for name in sorted(tally.queues)] if probe else []
    kept, past = history.legacy_extent(), history.graded_history(tally, settings)
    findings = [*tally.findings(), *unpredictable, *queues.findings(tally.queues, settings)]
    findings += similar_names.findings(course_id, tally.problems)
    findings += history.deletion_findings(course_id, kept)
    findings += history.history_findings(past) if tally.rows else ()
    findings += [*callback_hosts.findings(course_id, by_host), *site.site_findings(course_id, settings)]
    return {
        "schema": SCHEMA,
        "course": course_id,
        "at": now().isoformat(),
        "rows": tally.rows,
        "classes": {row_class.value: number for row_class, number in sorted(tally.classes.items())},
        "queues": sorted(tally.queues),
        "cohorts": list(_cohorts(tally)),
        "retention": kept,
        "history": past,
        "findings": [item.document() for item in in_order(_once(findings))],
        "probes": [{"queue": sent.queue, "sent": sent.sent, "said": sent.said} for sent in probes],
        "versions": run_records.versions(),
    }


def _once(findings: list[Finding]) -> list[Finding]:
    """Return the findings; of an XQueue that cannot be asked that alone, and not each queue that it did not tell of."""
    if all(item.rule.code != "xqueue_unreachable" for item in findings):
        return findings
    return [item for item in findings if item.rule.code not in _ASKED]


def _unpredictable() -> Iterator[Finding]:
    """Yield a finding if the installed edx-submissions cannot tell what it would store for a reply."""
    try:
        prediction.check()
    except PredictionUnavailable as error:
        yield found(RULES["scores_unpredictable"], about=str(error))


def _sent(tally: CourseRowCounts, queue: str, settings: ShimSettings) -> Probe:
    newest = tally.queues[queue].newest_graded
    row = None if newest is None else legacy_rows.by_id([newest]).get(newest)
    return send_probe(row, queue, settings)


def _cohorts(tally: CourseRowCounts) -> Iterator[FoundProblem]:
    """Yield the counts of each problem of each queue, for the document."""
    for (queue, problem), cohort in sorted(tally.cohorts.items()):
        yield {
            "queue": queue,
            "problem": problem,
            "rows": cohort.rows,
            "in_flight": cohort.in_flight,
            "history": cohort.history,
            "inputs": len(cohort.inputs),
            "points_possible": cohort.points,
            "points_assumed": cohort.points_assumed,
            "score_style": tally.style(queue).value,
            "longest_grading_seconds": cohort.longest_grading,
        }


def finding_codes() -> Iterable[str]:
    """Return every code that a preflight can report."""
    return (*RULES, *SITE_RULES)
