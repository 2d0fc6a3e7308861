"""
What would break on the target, counted over all legacy rows of a course, before anything is written.

Much of what edx-submissions' own endpoint would lose the watcher seam hands out as it came; such findings are notes,
for whoever still thinks of polling it. It looks at payloads, seeds, extra body keys, answer sizes and queues.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.utils.timezone import now

from . import runs
from .backfill import files, plan
from .checks import check_databases, check_settings
from .conf import ConfigurationError, load
from .core.mapping import ParsedRow, answer_size
from .core.wire import NAME_LIMIT, Body, grader_name
from .data import Document, ExitCode
from .legacy import rows as legacy_rows
from .legacy.client import LegacyClient
from .models import Run
from .target import writer

SCHEMA = "migration_shim.xqueue_preflight/1"
PAGE = 500

BLOCKER, WARNING, NOTE = "blocker", "warning", "note"
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """One thing to look for: what the target does with it, and what to do."""

    code: str
    severity: str
    effect: str
    advice: str
    #: Whether the watcher seam takes care of it; then ``effect`` is what edx-submissions' own endpoint would do.
    seam: bool = False


_SEAM = "Let graders poll the watcher seam, never edx-submissions' own endpoint."
_RULES = {
    rule.code: rule
    for rule in (
        _Rule(
            code="payload_extra_keys",
            severity=NOTE,
            effect='The grader gets only "grader"; the payload\'s other keys are lost.',
            advice=_SEAM,
            seam=True,
        ),
        _Rule(
            code="payload_not_an_object",
            severity=NOTE,
            effect="The payload is not a JSON object; the grader gets an empty grader name instead of it.",
            advice=_SEAM,
            seam=True,
        ),
        _Rule(
            code="payload_no_grader",
            severity=NOTE,
            effect='The payload names no "grader"; the grader gets an empty name.',
            advice=_SEAM,
            seam=True,
        ),
        _Rule(
            code="grader_name_too_long",
            severity=BLOCKER,
            effect=f"The grader's name is over {NAME_LIMIT} characters; the target refuses the submission.",
            advice="Shorten the path in the course.",
        ),
        _Rule(
            code="random_seed",
            severity=NOTE,
            effect="The grader gets seed 1 whatever the problem's seed is.",
            advice=_SEAM,
            seam=True,
        ),
        _Rule(
            code="body_extra_keys",
            severity=NOTE,
            effect="Extra keys of the body (Matlab's token, for one) are lost.",
            advice=_SEAM,
            seam=True,
        ),
        _Rule(
            code="answer_over_limit",
            severity=BLOCKER,
            effect=f"The answer is over {writer.ANSWER_LIMIT} characters of escaped JSON; the target refuses it.",
            advice="Leave the problem on legacy, or limit its answers.",
        ),
        _Rule(
            code="unreadable",
            severity=WARNING,
            effect="The row cannot be read as a submission; it can have no copy.",
            advice="Let legacy drain it.",
        ),
        _Rule(
            code="submission_time_format",
            severity=NOTE,
            effect="The grader gets the submission time as epoch seconds instead of YYYYMMDDHHMMSS.",
            advice=_SEAM,
            seam=True,
        ),
        _Rule(
            code="queue_unknown",
            severity=BLOCKER,
            effect="XQueue does not know the queue (get_queuelen), or cannot be asked.",
            advice="Check XQUEUES and the submitting account.",
        ),
        _Rule(
            code="reverse_queue_unknown",
            severity=BLOCKER,
            effect="XQueue does not know the queue of the reverse shadows; in live they would all be refused.",
            advice="Add the queue to XQUEUES with the value null, and let a grader poll it.",
        ),
        _Rule(
            code="site",
            severity=BLOCKER,
            effect="The installation's own checks fail.",
            advice="Run: manage.py check --tag migration_shim",
        ),
    )
}


def findings_of(body: Body) -> Iterator[str]:
    """The codes of everything in a body that the target's own endpoint would not hand to the grader as it came."""
    yield from _payload_findings(body.grader_payload)
    if body.random_seed != 1 or isinstance(body.random_seed, bool):
        yield "random_seed"
    if body.extra:
        yield "body_extra_keys"
    if body.submission_time:
        yield "submission_time_format"
    if body.student_response is None or answer_size(body.student_response) > writer.ANSWER_LIMIT:
        yield "answer_over_limit"


def _payload_findings(payload: str | None) -> Iterator[str]:
    try:
        value = json.loads(payload or "")
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        yield "payload_not_an_object"
        return
    if not isinstance(value.get("grader"), str) or not value["grader"]:
        yield "payload_no_grader"
    if set(value) - {"grader"}:
        yield "payload_extra_keys"
    if len(grader_name(payload)) > NAME_LIMIT:
        yield "grader_name_too_long"


def run(course_id: str, progress: Progress) -> Document:
    """
    Look at every legacy row of a course, and at the queues it uses, and put the findings on record.

    Nothing is written on legacy or on the target.

    Raises:
        RunLocked: a preflight of this course is at work.
        ConfigurationError: the settings are not usable.
    """
    with runs.running("preflight", course_id) as record:
        content = _content(course_id, record, progress)
        record.document, record.complete = content, True
    blocked = any(item["severity"] == BLOCKER for item in content["findings"])
    return Document(content=content, exit_code=ExitCode.DIFFERENCES if blocked else ExitCode.OK)


def _content(course_id: str, record: Run, progress: Progress) -> dict[str, Any]:
    counts: dict[tuple[str, str, str], list[int]] = {}  # (code, queue, problem) -> [rows, an example's id]
    rows, queues, read = 0, set(), 0
    total = legacy_rows.count(after=0, unretired_only=False)
    for parsed in _course_rows(course_id, record):
        read = read + 1
        progress(read, total)
        if parsed is None:
            continue
        rows += 1
        queues.add(parsed.row.queue_name)
        problem = parsed.envelope.callback.item_id if parsed.envelope else ""
        codes = findings_of(parsed.envelope.body) if parsed.envelope else ("unreadable",)
        for code in codes:
            counts.setdefault((code, parsed.row.queue_name, problem), [0, parsed.row.id])[0] += 1
    findings = [
        _finding(code, rows=number, example=example, queue=queue, problem=problem)
        for (code, queue, problem), (number, example) in sorted(counts.items())
    ]
    findings += [_finding("queue_unknown", queue=queue) for queue in sorted(queues) if not _known(queue)]
    reverse = [queue + load().reverse_queue_suffix for queue in sorted(queues)]
    findings += [_finding("reverse_queue_unknown", queue=queue) for queue in reverse if not _known(queue)]
    findings += [_finding("site", problem=check.msg) for check in (*check_settings(None), *check_databases(None))]
    order = (BLOCKER, WARNING, NOTE)
    findings.sort(key=lambda item: (order.index(item["severity"]), item["code"], item["queue"], item["problem"]))
    return {
        "schema": SCHEMA,
        "course": course_id,
        "at": now().isoformat(),
        "rows": rows,
        "queues": sorted(queues),
        "findings": findings,
        "versions": runs.versions(),
    }


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
    rule = _RULES[code]
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
    return tuple(_RULES)
