"""What preflight looks for: every rule, what the target does about it, and what to do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from .mapping import answer_size
from .wire import NAME_LIMIT, Body, grader_name

BLOCKER, WARNING, NOTE = "blocker", "warning", "note"
#: From the worst on, as a report lists them.
SEVERITIES = (BLOCKER, WARNING, NOTE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One thing to look for: what the target does with it, and what to do."""

    code: str
    severity: str
    effect: str
    advice: str
    #: Whether the watcher seam takes care of it; then ``effect`` is what edx-submissions' own endpoint would do.
    seam: bool = False


_SEAM = "Let graders poll the watcher seam, never edx-submissions' own endpoint."
RULES = {
    rule.code: rule
    for rule in (
        Rule(
            code="payload_extra_keys",
            severity=NOTE,
            effect='The grader gets only "grader"; the payload\'s other keys are lost.',
            advice=_SEAM,
            seam=True,
        ),
        Rule(
            code="payload_not_an_object",
            severity=NOTE,
            effect="The payload is not a JSON object; the grader gets an empty grader name instead of it.",
            advice=_SEAM,
            seam=True,
        ),
        Rule(
            code="payload_no_grader",
            severity=NOTE,
            effect='The payload names no "grader"; the grader gets an empty name.',
            advice=_SEAM,
            seam=True,
        ),
        Rule(
            code="grader_name_too_long",
            severity=BLOCKER,
            effect=f"The grader's name is over {NAME_LIMIT} characters; the target refuses the submission.",
            advice="Shorten the path in the course.",
        ),
        Rule(
            code="random_seed",
            severity=NOTE,
            effect="The grader gets seed 1 whatever the problem's seed is.",
            advice=_SEAM,
            seam=True,
        ),
        Rule(
            code="body_extra_keys",
            severity=NOTE,
            effect="Extra keys of the body (Matlab's token, for one) are lost.",
            advice=_SEAM,
            seam=True,
        ),
        Rule(
            code="answer_over_limit",
            severity=BLOCKER,
            effect="The answer, as escaped JSON, is longer than the target's limit; it refuses the submission.",
            advice="Leave the problem on legacy, or limit its answers.",
        ),
        Rule(
            code="unreadable",
            severity=WARNING,
            effect="The row cannot be read as a submission; it can have no copy.",
            advice="Let legacy drain it.",
        ),
        Rule(
            code="submission_time_format",
            severity=NOTE,
            effect="The grader gets the submission time as epoch seconds instead of YYYYMMDDHHMMSS.",
            advice=_SEAM,
            seam=True,
        ),
        Rule(
            code="queue_unknown",
            severity=BLOCKER,
            effect="XQueue does not know the queue (get_queuelen), or cannot be asked.",
            advice="Check XQUEUES and the submitting account.",
        ),
        Rule(
            code="reverse_queue_unknown",
            severity=BLOCKER,
            effect="XQueue does not know the queue of the reverse shadows; in live they would all be refused.",
            advice="Add the queue to XQUEUES with the value null, and let a grader poll it.",
        ),
        Rule(
            code="reverse_queue_not_polled",
            severity=BLOCKER,
            effect="No grader has lately pulled from the queue of the reverse shadows; in live they would pile up.",
            advice="Let a grader poll it, run xqueue_preflight --probe, and once it had time xqueue_preflight again.",
        ),
        Rule(
            code="site",
            severity=BLOCKER,
            effect="The installation's own checks fail.",
            advice="Run: manage.py check --tag migration_shim",
        ),
    )
}


def findings_of(body: Body, answer_limit: int) -> Iterator[str]:
    """The codes of everything in a body that the target's own endpoint would not hand to the grader as it came."""
    yield from _payload_findings(body.grader_payload)
    if body.random_seed != 1 or isinstance(body.random_seed, bool):
        yield "random_seed"
    if body.extra:
        yield "body_extra_keys"
    if body.submission_time:
        yield "submission_time_format"
    if body.student_response is None or answer_size(body.student_response) > answer_limit:
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
