"""A course's evidence for the gate, gathered from run records, ledger entries and divergences."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Q
from django.utils.timezone import now

from ..conf import ShimSettings
from ..core import cohorts
from ..core.buckets import Flag
from ..core.data import GRAVE, Authority, DivergenceClass, PairStatus, Phase
from ..core.evidence import CohortEvidence, Evidence, Latency, Override
from ..core.overrides import signers
from ..core.wording import counted
from ..ledger import aggregates, counts, known_differences, recount
from ..ledger.entries import owed_since
from ..lms import state as lms_state
from ..models import CoursePhase, LedgerEntry, PhaseChange, Run
from ..runs import records as run_records
from . import invariants, override_records

#: Grave classes for which the evidence has a field of its own.
_OWN_FIELD = {
    DivergenceClass.FENCE_LEAK,
    DivergenceClass.DOUBLE_AUTHORITY,
    DivergenceClass.UNDELIVERED,
    DivergenceClass.WRONG_SIDE,
    DivergenceClass.LOST,
}


def gather(course_id: str, settings: ShimSettings) -> Evidence:
    """
    Gather the evidence on record of a course.

    What was never measured is None or empty, and the gate holds that against the course. The register of known
    differences is applied first, so that divergences whose entry has expired count again.

    Args:
        course_id: the course.
        settings: the settings in force.
    """
    moment = now()
    newest = run_records.last("reconcile", course_id)
    reconciled = run_records.last_complete("reconcile", course_id)
    preflight = run_records.last_complete("preflight", course_id)
    findings = preflight.document.get("findings") if preflight else None
    record = CoursePhase.objects.filter(course_id=course_id).first()
    authority = Phase(record.phase).authority if record else Authority.LEGACY
    compared = known_differences.apply(course_id, moment)
    if compared and not recount.is_of_counters(reconciled):
        reconciled = None  # it was made before there were counters, and they may lack what it found
    # Submissions that arrived after the last reconcile are left to the next one.
    unseen = None if reconciled is None else Q(compared_at=None, created_at__gte=reconciled.started_at)
    seen = None if unseen is None else ~unseen
    of_reconcile = counts.joined(compared, counts.loose(course_id, seen))
    everything = of_reconcile if unseen is None else counts.joined(of_reconcile, counts.loose(course_id, unseen))
    numbers = cohorts.numbers_that_count(of_reconcile, authority)
    window = _window(course_id, everything, moment - timedelta(days=settings.evidence_days))
    classes, grave = cohorts.by_class(numbers), invariants.grave_on_record(course_id)
    leaks = max(grave[DivergenceClass.FENCE_LEAK], record.fence_leaks if record else 0)
    return Evidence(
        reconcile_age=_age(reconciled),
        # A preflight whose document has no list of findings is none: it has not said what it found.
        preflight_age=_age(preflight) if findings is not None else None,
        preflight_blockers=(*_blockers(findings or ()), *_unknown_lms_blockers(findings or (), reconciled)),
        problems=_tallies(everything, numbers, "item_id", window, frozenset()),
        queues=_queues(everything, numbers, window, frozenset(settings.side_effect_queues)),
        missing=classes[DivergenceClass.PRESENCE],
        overdue=_overdue(course_id, numbers, authority, seen, settings, moment),
        fence_leaks=_counted(reconciled, "fence_leaks", leaks),
        double_authority=_counted(reconciled, "double_authority", grave[DivergenceClass.DOUBLE_AUTHORITY]),
        undelivered=_undelivered(reconciled, grave[DivergenceClass.UNDELIVERED], record),
        learners_asked=lms_state.is_lms(),
        wrong_side=grave[DivergenceClass.WRONG_SIDE] or (0 if reconciled else None),
        lost=grave[DivergenceClass.LOST] if reconciled or grave[DivergenceClass.LOST] else None,
        stuck=classes[DivergenceClass.STUCK] if reconciled else None,
        latency=_latency(course_id, authority, window, seen) if reconciled else None,
        overrides=tuple(
            Override(
                owner=signers(row.signed_by, row.seconded_by),
                reason=row.reason,
                step_to=Phase(row.step_to),
                used_at=override_records.used_at(row) or row.created_at,
                causes=tuple(row.causes),
            )
            for row in override_records.standing(course_id)
        ),
        grave=tuple((klass, grave[klass]) for klass in sorted(GRAVE - _OWN_FIELD)),
        taken_back=window.taken_back_on is not None,
        # Last: a reconcile that began in the meantime may have moved counts that were then read on neither side.
        reconcile_complete=newest is not None and newest.complete and run_records.is_newest(newest),
    )


def _window(course_id: str, numbers: counts.Numbers, since: datetime) -> cohorts.Window:
    """Return since when pairs count, and how many of the day of a step back were graded after it."""
    day, back = since.astimezone(UTC).date(), _taken_back_at(course_id)
    if back is None:
        return cohorts.Window(since=day)
    window = cohorts.Window(since=day, taken_back_on=back.astimezone(UTC).date())
    asked = [
        facts for facts, _ in numbers if facts.graded_on == window.taken_back_on and cohorts.is_real(facts, window)
    ]
    after = counts.among(course_id, asked, Q(target_graded_at__gte=back))
    return dataclasses.replace(window, graded_after=after)


def _taken_back_at(course_id: str) -> datetime | None:
    """
    Return when the course last went back from ``live`` or ``complete``; None if it never did.

    Whatever the reason on record, its graders have to be shown to work anew.
    """
    order = list(Phase)
    back = [Q(step_from=one, step_to__in=order[: order.index(one)]) for one in (Phase.LIVE, Phase.COMPLETE)]
    steps = PhaseChange.objects.filter(back[0] | back[1], course_id=course_id)
    return steps.order_by("-id").values_list("changed_at", flat=True).first()


def _tallies(
    everything: counts.Numbers,
    numbers: counts.Numbers,
    by: str,
    window: cohorts.Window,
    side_effects: frozenset[str],
) -> tuple[CohortEvidence, ...]:
    arrived = {getattr(facts, by) for facts, _ in everything if window.is_recent(facts)}
    return cohorts.evidence_by_cohort(numbers, by, window, side_effects, arrived)


def _queues(
    everything: counts.Numbers, numbers: counts.Numbers, window: cohorts.Window, side_effects: frozenset[str]
) -> tuple[CohortEvidence, ...]:
    """Return the tallies of the queues, with those that learners used lately on the target and that have no pair."""
    tallied = _tallies(everything, numbers, "queue_name", window, side_effects)
    lately = {
        facts.queue_name
        for facts, _ in everything
        if facts.authority == Authority.TARGET and window.is_recent(facts) and not facts.has(Flag.NO_COPY)
    }
    return tallied + tuple(
        CohortEvidence(
            name=name, entries=0, graded_pairs=0, diverged=0, deterministic=0, side_effects=name in side_effects
        )
        for name in sorted(lately - {tally.name for tally in tallied})
    )


def _overdue(
    course_id: str,
    numbers: counts.Numbers,
    authority: Authority,
    seen: Q | None,
    settings: ShimSettings,
    moment: datetime,
) -> int:
    """Count the submissions that are overdue by their comparison, and the copies that are overdue in the outbox."""
    late = owed_since(moment - timedelta(seconds=settings.grading_deadline_seconds))
    asked = Q(authority=authority)
    if authority is Authority.LEGACY:
        asked |= Q(authority=Authority.TARGET, result=PairStatus.DIVERGED)
    owed = LedgerEntry.objects.filter(late & asked, course_id=course_id, superseded_at=None)
    owed = owed.exclude(result=PairStatus.OVERDUE).exclude(history=True, echo=False)
    compared = sum(number for facts, number in numbers if facts.result == PairStatus.OVERDUE)
    return compared + (owed if seen is None else owed.filter(seen)).count()


def _latency(course_id: str, authority: Authority, window: cohorts.Window, seen: Q | None) -> Latency:
    places = aggregates.seconds(course_id, wanted=seen)
    found = aggregates.latency(
        (place, number)
        for place, number in places
        if place.authority == authority and place.day is not None and place.day > window.since
    )
    # Without timed pairs the quantiles are missing; ``timed`` says so to the gate.
    legacy, target = (found[side]["p95"] or 0.0 for side in ("legacy", "target"))
    return Latency(timed=found["legacy"]["graded"], legacy=legacy, target=target)


def _counted(reconciled: Run | None, key: str, found: int) -> int | None:
    """Return the count on record, or that of the last reconcile if more; None where no reconcile has counted."""
    said = reconciled.document.get(key) if reconciled else None
    return found or None if said is None else max(found, said)


def _undelivered(reconciled: Run | None, found: int, record: CoursePhase | None) -> int | None:
    """
    Return how many learners are on record as undelivered; None where no reconcile has read their states.

    Outside an LMS their states cannot be read. Before ``live`` they need not be: legacy delivers, and holds no course
    back.
    """
    if found or not lms_state.is_lms():
        return found or None
    if record is None or Phase(record.phase).authority is Authority.LEGACY:
        return 0
    asked = reconciled is not None and reconciled.document.get("learners", {}).get("applies")
    return 0 if asked else None


def _age(run: Run | None) -> float | None:
    return (now() - run.finished_at).total_seconds() if run and run.finished_at else None


def _blockers(findings: Iterable[dict[str, Any]]) -> tuple[str, ...]:
    """Return a line for each kind of blocker: its code, and in how many rows or about which queue it was found."""
    rows: dict[str, int] = {}
    for item in findings:
        if item["severity"] == "blocker":
            about = "" if item["rows"] else f" {item['queue'] or item['problem'] or item.get('about', '')}".rstrip()
            name = item["code"] + about
            rows[name] = rows.get(name, 0) + item["rows"]
    return tuple(f"{code} ({counted(number, 'row')})" if number else code for code, number in rows.items())


def _unknown_lms_blockers(findings: Iterable[dict[str, Any]], reconciled: Run | None) -> tuple[str, ...]:
    """Return a line for each host that no setting names and whose rows came after the preflight, by the reconcile."""
    code = "callback_host_unknown"
    if reconciled is None or any(item["code"] == code and item["severity"] == "blocker" for item in findings):
        return ()
    rows = reconciled.document.get("strangers", {})
    return tuple(f"{code} {host} ({counted(number, 'row')})" for host, number in rows.items())
