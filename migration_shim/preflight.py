"""
What would break on the target, counted over all legacy rows of a course, before anything is written.

Much of what edx-submissions' own endpoint would lose the watcher seam hands out as it came; such findings are notes,
for whoever still thinks of polling it. The rules are in ``core.findings``; here they meet the rows and the queues.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any

from django.utils.timezone import now

from . import probe as _probe
from . import runs
from .backfill import files, plan
from .checks import check_databases, check_settings
from .conf import ConfigurationError, load
from .core.findings import BLOCKER, RULES, SEVERITIES, findings_of
from .core.identity import GRADED_DISPATCH
from .core.mapping import ParsedRow
from .data import Document, ExitCode, LegacyRow
from .legacy import rows as legacy_rows
from .legacy.client import LegacyClient
from .models import Run
from .target import writer

SCHEMA = "migration_shim.xqueue_preflight/1"
PAGE = 500

Progress = Callable[[int, int], None]


def run(course_id: str, progress: Progress, *, probe: bool = False) -> Document:
    """
    Look at every legacy row of a course, and at the queues it uses, and put the findings on record.

    Nothing is written on legacy or on the target, but for one thing: with ``probe``, the newest graded submission of
    each queue is sent to XQueue once more, for the grader of its reverse shadows. Whether one pulled it is seen by a
    later run.

    Raises:
        RunLocked: a preflight of this course is at work.
        ConfigurationError: the settings are not usable.
    """
    with runs.running("preflight", course_id) as record:
        content = _content(course_id, record, progress, probe=probe)
        record.document, record.complete = content, True
    blocked = any(item["severity"] == BLOCKER for item in content["findings"])
    return Document(content=content, exit_code=ExitCode.DIFFERENCES if blocked else ExitCode.OK)


def _content(course_id: str, record: Run, progress: Progress, *, probe: bool) -> dict[str, Any]:
    settings = load()
    counts: dict[tuple[str, str, str], list[int]] = {}  # (code, queue, problem) -> [rows, an example's id]
    newest: dict[str, LegacyRow | None] = {}  # the newest graded row of every queue
    rows, read = 0, 0
    total = legacy_rows.count(after=0, unretired_only=False)
    for parsed in _course_rows(course_id, record):
        read = read + 1
        progress(read, total)
        if parsed is None:
            continue
        rows += 1
        queue = parsed.row.queue_name
        newest[queue] = parsed.row if _graded(parsed) else newest.get(queue)
        problem = parsed.envelope.callback.item_id if parsed.envelope else ""
        codes = (
            findings_of(parsed.envelope.body, writer.ANSWER_LIMIT)
            if parsed.envelope and parsed.digests
            else ("unreadable",)
        )
        for code in codes:
            counts.setdefault((code, queue, problem), [0, parsed.row.id])[0] += 1
    probes = [_probe.send(newest[queue], queue, settings) for queue in sorted(newest)] if probe else []
    findings = [
        _finding(code, rows=number, example=example, queue=queue, problem=problem)
        for (code, queue, problem), (number, example) in sorted(counts.items())
    ]
    findings += [_finding("queue_unknown", queue=queue) for queue in sorted(newest) if not _known(queue)]
    findings += [item for queue in sorted(newest) for item in _reverse_findings(queue + settings.reverse_queue_suffix)]
    findings += [_finding("site", problem=check.msg) for check in (*check_settings(None), *check_databases(None))]
    findings.sort(key=lambda item: (SEVERITIES.index(item["severity"]), item["code"], item["queue"], item["problem"]))
    return {
        "schema": SCHEMA,
        "course": course_id,
        "at": now().isoformat(),
        "rows": rows,
        "queues": sorted(newest),
        "findings": findings,
        "probes": [dataclasses.asdict(sent) for sent in probes],
        "versions": runs.versions(),
    }


def _graded(parsed: ParsedRow) -> bool:
    """Whether a row holds a submission that graders are known to take and the LMS took the grade of."""
    envelope = parsed.envelope
    return envelope is not None and envelope.callback.dispatch == GRADED_DISPATCH and parsed.row.lms_ack


def _reverse_findings(queue: str) -> Iterator[dict[str, Any]]:
    """What is wrong with a queue of reverse shadows, if anything: XQueue must know it and a grader poll it."""
    if not _known(queue):
        yield _finding("reverse_queue_unknown", queue=queue)
    elif not legacy_rows.pulled_since(queue, now() - timedelta(seconds=load().evidence_max_age_seconds)):
        yield _finding("reverse_queue_not_polled", queue=queue)


def _course_rows(course_id: str, record: Run) -> Iterator[ParsedRow | None]:
    """Every legacy row, read; None for another course's. A row that names the course but cannot be read counts."""
    storage = files.legacy_storage(load())
    for page in legacy_rows.pages(after=0, unretired_only=False, size=PAGE):
        runs.beat(record)
        for row in page:
            parsed, _ = plan.read(row, storage)
            if parsed.envelope is not None:
                yield parsed if parsed.envelope.callback.course_id == course_id else None
            else:
                yield parsed if f"/courses/{course_id}/" in row.xqueue_header else None


def _known(queue: str) -> bool:
    try:
        error, _ = LegacyClient().queue_length(queue)
    except ConfigurationError:
        return False
    return not error


def _finding(
    code: str, *, rows: int = 0, example: int | None = None, queue: str = "", problem: str = ""
) -> dict[str, Any]:
    rule = RULES[code]
    return {
        "code": code,
        "severity": rule.severity,
        "seam": rule.seam,
        "rows": rows,
        "example_legacy_id": example,
        "queue": queue,
        "problem": problem,
        "effect": rule.effect,
        "advice": rule.advice,
    }


def codes() -> Iterable[str]:
    """Every code that a preflight can report."""
    return tuple(RULES)
