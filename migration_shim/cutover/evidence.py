"""Gathering a course's evidence for the gate out of run records, ledger entries and divergences."""

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
from ..core.evidence import Evidence, Latency, Override, Tally
from ..ledger import aggregates, counts, known_differences, recount
from ..ledger.entries import owed_since
from ..lms import state
from ..models import CoursePhase, LedgerEntry, PhaseChange, Run
from ..runs import records as run_records
from . import invariants, overrides

#: Grave classes that the evidence has a field of its own for.
_TOLD = {
    DivergenceClass.FENCE_LEAK,
    DivergenceClass.DOUBLE_AUTHORITY,
    DivergenceClass.UNDELIVERED,
    DivergenceClass.WRONG_SIDE,
    DivergenceClass.LOST,
}


def gather(course_id: str, settings: ShimSettings) -> Evidence:
    """
    All that is on record of a course. What is not there stays None or empty, and the gate holds that against it.

    The register of known differences is applied first: what has expired counts again from now on.
    """
    moment = now()
    known_differences.apply(course_id, moment)
    newest = run_records.last("reconcile", course_id)
    reconciled = run_records.last_complete("reconcile", course_id)
    preflight = run_records.last_complete("preflight", course_id)
    findings = preflight.document.get("findings") if preflight else None
    record = CoursePhase.objects.filter(course_id=course_id).first()
    authority = Phase(record.phase).authority if record else Authority.LEGACY
    compared = counts.bucketed(course_id)
    if compared and not recount.is_of_counters(reconciled):
        reconciled = None  # what it has found may be in no counter
    # What has arrived since the last reconcile is the next one's.
    unseen = None if reconciled is None else Q(compared_at=None, created_at__gte=reconciled.started_at)
    seen = None if unseen is None else ~unseen
    told = counts.joined(compared, counts.loose(course_id, seen))
    everything = told if unseen is None else counts.joined(told, counts.loose(course_id, unseen))
    numbers = cohorts.counting(told, authority)
    window = _window(course_id, everything, moment - timedelta(days=settings.evidence_days))
    classes, grave = cohorts.by_class(numbers), invariants.grave_on_record(course_id)
    leaks = max(grave[DivergenceClass.FENCE_LEAK], record.fence_leaks if record else 0)
    return Evidence(
        reconcile_age=_age(reconciled),
        # One without findings, not even none, has not told what it found.
        preflight_age=_age(preflight) if findings is not None else None,
        preflight_blockers=(*_blockers(findings or ()), *_strangers(findings or (), reconciled)),
        problems=_tallies(everything, numbers, "item_id", window, frozenset()),
        queues=_queues(everything, numbers, window, frozenset(settings.side_effect_queues)),
        missing=classes[DivergenceClass.PRESENCE],
        overdue=_overdue(course_id, numbers, authority, seen, settings, moment),
        fence_leaks=_counted(reconciled, "fence_leaks", leaks),
        double_authority=_counted(reconciled, "double_authority", grave[DivergenceClass.DOUBLE_AUTHORITY]),
        undelivered=_undelivered(reconciled, grave[DivergenceClass.UNDELIVERED], record),
        learners_asked=state.is_lms(),
        wrong_side=grave[DivergenceClass.WRONG_SIDE] or (0 if reconciled else None),
        lost=grave[DivergenceClass.LOST] if reconciled or grave[DivergenceClass.LOST] else None,
        stuck=classes[DivergenceClass.STUCK] if reconciled else None,
        latency=_latency(course_id, authority, window, seen) if reconciled else None,
        overrides=tuple(
            Override(owner=row.signed_by, reason=row.reason, expires_at=row.expires_at)
            for row in overrides.in_force(course_id, moment)
        ),
        grave=tuple((klass, grave[klass]) for klass in sorted(GRAVE - _TOLD)),
        taken_back=window.taken_back_on is not None,
        # Last: what a reconcile that has begun meanwhile took from here to there may have been read on neither side.
        reconcile_complete=newest is not None and newest.complete and run_records.is_newest(newest),
    )


def _window(course_id: str, numbers: counts.Numbers, since: datetime) -> cohorts.Window:
    """Since when pairs count, and which of those of the day of a step back were graded after it."""
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
    When the course was last stepped back from ``live`` or ``complete``, if it was.

    Whatever reason was written down, that was for cause: that its graders work is to be shown anew.
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
) -> tuple[Tally, ...]:
    arrived = {getattr(facts, by) for facts, _ in everything if window.is_recent(facts)}
    return cohorts.tallies(numbers, by, window, side_effects, arrived)


def _queues(
    everything: counts.Numbers, numbers: counts.Numbers, window: cohorts.Window, side_effects: frozenset[str]
) -> tuple[Tally, ...]:
    """The queues, and those without a pair that learners have used lately while the target was authoritative."""
    tallied = _tallies(everything, numbers, "queue_name", window, side_effects)
    lately = {
        facts.queue_name
        for facts, _ in everything
        if facts.authority == Authority.TARGET and window.is_recent(facts) and not facts.has(Flag.NO_COPY)
    }
    return tallied + tuple(
        Tally(name=name, entries=0, graded_pairs=0, diverged=0, deterministic=0, side_effects=name in side_effects)
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
    """What is overdue by its comparison, and copies that stand in the outbox for too long, as the outbox has them."""
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
    # Where no pair is timed there is none, and the gate is told that none is.
    legacy, target = (found[side]["p95"] or 0.0 for side in ("legacy", "target"))
    return Latency(timed=found["legacy"]["graded"], legacy=legacy, target=target)


def _counted(reconciled: Run | None, key: str, found: int) -> int | None:
    """What is on record, or what the last reconcile has counted if that is more. None: nobody has looked."""
    said = reconciled.document.get(key) if reconciled else None
    return found or None if said is None else max(found, said)


def _undelivered(reconciled: Run | None, found: int, record: CoursePhase | None) -> int | None:
    """
    How many learners are on record as undelivered. None: nobody has asked their states, or outside an LMS nobody can.

    Before ``live`` nothing has to have been asked: what is legacy's to deliver holds no course back.
    """
    if found or not state.is_lms():
        return found or None
    if record is None or Phase(record.phase).authority is Authority.LEGACY:
        return 0
    asked = reconciled is not None and reconciled.document.get("learners", {}).get("applies")
    return 0 if asked else None


def _age(run: Run | None) -> float | None:
    return (now() - run.finished_at).total_seconds() if run and run.finished_at else None


def _blockers(findings: Iterable[dict[str, Any]]) -> tuple[str, ...]:
    """One line for each kind of blocker, with the rows that it was found in, or else the queue or check it is about."""
    rows: dict[str, int] = {}
    for item in findings:
        if item["severity"] == "blocker":
            about = "" if item["rows"] else f" {item['queue'] or item['problem'] or item.get('about', '')}".rstrip()
            name = item["code"] + about
            rows[name] = rows.get(name, 0) + item["rows"]
    return tuple(f"{code} ({number} rows)" if number else code for code, number in rows.items())


def _strangers(findings: Iterable[dict[str, Any]], reconciled: Run | None) -> tuple[str, ...]:
    """The same of rows whose LMS nobody has named and that came after the preflight: a reconcile counts them too."""
    code = "callback_host_unknown"
    if reconciled is None or any(item["code"] == code and item["severity"] == "blocker" for item in findings):
        return ()
    rows = reconciled.document.get("strangers", {})
    return tuple(f"{code} {host} ({number} rows)" for host, number in rows.items())
