"""What is known of one course of a campaign, gathered from records, and its next step by them."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta

from django.utils.timezone import now

from .. import toggles
from ..conf import ShimSettings
from ..core.campaign import CourseFacts, MemberState, Next, Preflight, Wish, next_step, steps_to
from ..core.campaign_plan import Plan
from ..core.data import Phase, Verdict
from ..core.evidence import Evidence
from ..core.findings import BLOCKER
from ..core.forecast import forecast
from ..core.gate import evaluate
from ..cutover.evidence import gather as gather_evidence
from ..cutover.health import health, is_reconciled
from ..legacy import rows as legacy_rows
from ..models import Campaign, CampaignCourse, CoursePhase
from ..runs import records as run_records
from .standing import foreign_step, resume_command, turn

#: Of what a probe is sent for: it is expected before anybody has set up a grader.
_UNPOLLED = "reverse_queue_not_polled"
#: The line of a history which says that a probe was not sent, or not to every queue.
UNSENT = "no probe"
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
    record = CoursePhase.objects.filter(course_id=course_id).first() or CoursePhase(course_id=course_id)
    stopped = member.said if member.state in (MemberState.PARKED, MemberState.FAILED) else ""
    if not stopped and (step := foreign_step(campaign, member)):
        stopped = f"parked: {step}; {resume_command(campaign, course_id)}"
    facts = CourseFacts(
        phase=decision.phase,
        since=now() - record.since,
        entered=record.since,
        stopped=stopped,
        drift=decision.asked.value if decision.drift else "",
        preflight=_preflight(course_id),
        probed=_since_line(campaign, member, record, "probe") if stored else None,
        unprobed=_since_line(campaign, member, record, UNSENT) if stored else None,
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
        history=stored and _since_line(campaign, member, record, "history") is not None,
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
    findings = run.document.get("findings") if run else None
    if run is None or run.finished_at is None or findings is None:
        return Preflight()
    blockers = [item for item in findings if item["severity"] == BLOCKER]
    unpolled = tuple(item["queue"] for item in blockers if item["code"] == _UNPOLLED)
    others = (item for item in blockers if item["code"] != _UNPOLLED)
    ended = run.finished_at
    return Preflight(
        age=now() - ended,
        blockers=tuple(
            f"{item['code']} {item['queue'] or item['problem'] or item.get('about', '')}".strip()[:_REASON_LIMIT]
            for item in others
        ),
        unpolled=unpolled,
        polled_since=bool(unpolled) and all(legacy_rows.was_pulled_since(queue, ended) for queue in unpolled),
    )


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


def _since_line(campaign: Campaign, member: CampaignCourse, record: CoursePhase, what: str) -> timedelta | None:
    """Return how long ago a campaign has done something with a course in its present phase; None if it has not."""
    lines = campaign.lines.filter(course_id=member.course_id, what=what, at__gte=record.since)
    at = lines.order_by("-id").values_list("at", flat=True).first()
    return None if at is None else now() - at


def _line(reasons: list[str]) -> str:
    line = "; ".join(reasons)
    return line if len(line) <= _REASON_LIMIT else f"{line[: _REASON_LIMIT - 1]}…"
