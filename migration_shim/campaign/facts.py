"""What is known of one course of a campaign, gathered from records, and its next step by them."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Max
from django.utils.timezone import now

from .. import toggles
from ..conf import ShimSettings
from ..core.campaign import STOPPED, CourseFacts, Next, Preflight, Wish, next_step, steps_to
from ..core.campaign_plan import Plan
from ..core.data import Phase, Verdict
from ..core.evidence import ROUTINE, UNPOLLED, Evidence
from ..core.findings import BLOCKER
from ..core.forecast import forecast
from ..core.gate import evaluate
from ..cutover.evidence import gather as gather_evidence
from ..cutover.health import health, is_reconciled
from ..legacy import rows as legacy_rows
from ..models import Campaign, CampaignCourse, CoursePhase
from ..runs import records as run_records
from .standing import foreign_step, resume_command, turn

#: Lines of a history that later rounds go by: a probe was not sent, or not to every queue; what reads all of
#: XQueue was cut off; an import has come to its end, and the comparison behind it has not.
UNSENT, CUT_OFF, IMPORTED = "no probe", "no preflight", "imported"
#: A reason on one line.
_REASON_LIMIT = 200


def wish_of(campaign: Campaign, settings: ShimSettings) -> Wish:
    """Return what a campaign asks for. Half of the time that evidence lasts is left for the step that rests on it."""
    fresh = timedelta(seconds=settings.evidence_max_age_seconds) / 2
    soak = Plan.from_json(campaign.plan).soak_time
    return Wish(to=Phase(campaign.to), soak=soak, fresh_for=fresh, preflight_again=min(fresh, timedelta(hours=1)))


def gather(campaign: Campaign, member: CampaignCourse, settings: ShimSettings, *, stored: bool = True) -> CourseFacts:
    """
    Return what is known of a course. A step that somebody's flags ask for is recorded on the way, as by a submission.

    ``stored`` says whether the campaign is on record, and may have a history.

    Raises:
        ConfigurationError: the settings are not usable.
        DatabaseError: something cannot be read.
    """
    toggles.new_work_cycle()
    course_id, decision = member.course_id, toggles.phase_of(member.course_id)
    record = CoursePhase.objects.filter(course_id=course_id).first()
    record = record or CoursePhase(course_id=course_id, since=campaign.started_at)
    stopped = member.said if member.state in STOPPED else ""
    if not stopped and (step := foreign_step(campaign, member)):
        stopped = f"parked: {step}; {resume_command(campaign, course_id)}"
    lines = _since_lines(campaign, course_id, record.since) if stored else {}
    facts = CourseFacts(
        phase=decision.phase,
        since=now() - record.since,
        entered=record.since,
        stopped=stopped,
        drift=decision.asked.value if decision.drift else "",
        preflight=_preflight(course_id),
        probed=lines.get("probe"),
        unprobed=lines.get(UNSENT),
        cut_off=lines.get(CUT_OFF),
    )
    if decision.phase is Phase.LEGACY:
        return facts
    found = gather_evidence(course_id, settings)
    state, reasons = health(record, found)
    lacks, more_pairs = _lacks(found, settings)
    return dataclasses.replace(
        facts,
        health=state,
        health_said=_line(reasons),
        history="history" in lines,
        reconciled=is_reconciled(record),
        lacks=lacks,
        more_pairs=more_pairs,
        pairs=found.pairs,
        permitted=_permitted(record, decision.phase),
    )


def next_of(campaign: Campaign, course_id: str, facts: CourseFacts, settings: ShimSettings) -> Next:
    """Return the next step of a course at this moment."""
    closed = Plan.from_json(campaign.plan).calendar().closed(now())
    to = steps_to(facts.phase)
    # Who waits for a person needs no turn, and to ask for it costs statements.
    waits = "" if facts.stopped or to is None else turn(campaign, course_id, to)
    return next_step(facts, wish_of(campaign, settings), closed=closed, turn=waits)


def _preflight(course_id: str) -> Preflight:
    run = run_records.last_complete("preflight", course_id)
    return preflight_of(run.finished_at, run.document.get("findings"), polled=True) if run else Preflight()


def preflight_of(ended: datetime | None, findings: list[dict[str, Any]] | None, *, polled: bool) -> Preflight:
    """
    Return what a complete preflight says. One whose document has no list of findings is none.

    ``polled`` says whether to ask XQueue's table if a grader has polled since.
    """
    if ended is None or findings is None:
        return Preflight()
    blockers = [item for item in findings if item["severity"] == BLOCKER]
    unpolled = tuple(item["queue"] for item in blockers if item["code"] == UNPOLLED)
    return Preflight(
        age=now() - ended,
        blockers=tuple(_said(item) for item in blockers if item["code"] not in ROUTINE),
        unready=tuple(_said(item) for item in blockers if item["code"] in ROUTINE - {UNPOLLED}),
        unpolled=unpolled,
        polled_since=polled and bool(unpolled) and all(legacy_rows.was_pulled_since(one, ended) for one in unpolled),
    )


def _said(blocker: dict[str, Any]) -> str:
    about = blocker["queue"] or blocker["problem"] or blocker.get("about", "")
    return f"{blocker['code']} {about}".strip()[:_REASON_LIMIT]


def expected_at(course_id: str, found: CourseFacts, settings: ShimSettings) -> datetime | None:
    """Return when a course that lacks pairs will have them at its own traffic; None where no date can be told."""
    run = run_records.last_complete("reconcile", course_id)
    if not found.more_pairs or run is None:
        return None
    daily = run.document.get("daily") or []
    return forecast(found.more_pairs, found.pairs, daily, now(), counts_for_days=settings.evidence_days).at


def _lacks(found: Evidence, settings: ShimSettings) -> tuple[str, int]:
    """
    Return what the gate still asks for if the preflight is left out, which is run last, when the rest is there.

    The number says how many pairs are missing; 0 where no number alone would do.
    """
    result = evaluate(dataclasses.replace(found, preflight_age=0.0, preflight_blockers=()), settings.thresholds())
    if result.verdict is Verdict.PASS:
        return "", 0
    # No number of pairs alone makes up for what differs: then all the reasons are told.
    if found.diverged or not result.needed:
        return _line(list(result.reasons)), 0
    return _line(list(result.needed[:1])), max(result.more_pairs or 0, *(lack for _, lack in result.more_by_queue), 0)


def _permitted(record: CoursePhase, phase: Phase) -> bool:
    to = steps_to(phase)
    return to is not None and record.permit == to and record.permit_until is not None and record.permit_until > now()


def _since_lines(campaign: Campaign, course_id: str, since: datetime) -> dict[str, timedelta]:
    """Return how long ago a campaign has last done what with a course in its present phase, by the word for it."""
    lines = campaign.lines.filter(course_id=course_id, at__gte=since).order_by()
    return {what: now() - at for what, at in lines.values_list("what").annotate(Max("at"))}


def is_imported(campaign: Campaign, course_id: str) -> bool:
    """Tell whether the history of a course is imported since its step to ``shadow``, and only its echo is missing."""
    record = CoursePhase.objects.get(course_id=course_id)
    return campaign.lines.filter(course_id=course_id, what=IMPORTED, at__gte=record.since).exists()


def _line(reasons: list[str]) -> str:
    line = "; ".join(reasons)
    return line if len(line) <= _REASON_LIMIT else f"{line[: _REASON_LIMIT - 1]}…"
