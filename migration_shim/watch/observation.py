"""What the watch sees of one course: leaks, overdue and stuck submissions, divergences by problem."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Q
from django.utils.timezone import now

from ..conf import ShimSettings
from ..core.bounds import OUTCOME, Observed, Stuck
from ..core.buckets import Flag, uncovered
from ..core.data import Authority, DivergenceClass, Move, PairStatus, Phase, State
from ..core.documents.reconcile_course import ReconciledCourse
from ..core.evidence import CohortEvidence
from ..core.reconcile_document import fence_known_upto
from ..cutover import invariants
from ..delivery import ungradable
from ..ledger import aggregates, counts
from ..ledger.entries import owed_since
from ..models import LedgerEntry
from ..status import unknown_queues
from ..target import open_rows as target_open_rows
from ..target import reader
from . import step_back

#: For how long a submission that failed for good counts as a breach.
_LATELY = timedelta(days=1)
_GRADED = (State.GRADED, State.FAILED)
_FINAL = frozenset(state.value for state in State if state.is_final)
_NOT_THERE = {DivergenceClass.PRESENCE, DivergenceClass.STUCK}


def observe(
    course_id: str, phase: Phase, since: datetime | None, settings: ShimSettings, reconciled: ReconciledCourse | None
) -> Observed:
    """
    Read what a course's bounds are checked against.

    Args:
        course_id: the course.
        phase: the phase in force.
        since: when that phase began: submissions before it do not count as overdue, stuck or diverging. None: all do.
        settings: the settings in force.
        reconciled: the course's part of a reconcile that has just come to its end. Without it nothing is read of what
            only a comparison tells (``lost``, overdue submissions, problems).
    """
    numbers = counts.facts(course_id)
    classes: Mapping[str, Any] = aggregates.classes(numbers)
    known_upto = fence_known_upto(reconciled or {})
    shadow_leaks = classes[DivergenceClass.FENCE_LEAK] + reader.half_fenced(course_id, known_upto=known_upto)
    compared: dict[str, Any] = {}
    if reconciled is not None:
        mine = _of_phase(course_id, numbers, phase.authority, since)
        compared = {
            "reverse_leaks": max(reconciled["fence_leaks"] - shadow_leaks, 0),
            "lost": classes[DivergenceClass.LOST],
            "problems": _problems(mine),
            **_overdue(course_id, mine, phase, since, settings),
        }
    return Observed(
        phase=phase,
        compared=reconciled is not None,
        shadow_leaks=shadow_leaks,
        leaks_answered=step_back.leaks_answered(course_id),
        double_authority=invariants.double_authority_entries(course_id).count(),
        undelivered=invariants.undelivered_entries(course_id).count(),
        undelivered_by_target=invariants.undelivered_entries(course_id).filter(authority=Authority.TARGET).count(),
        undeliverable=invariants.undelivered_entries(course_id).exclude(undeliverable="").count(),
        wrong_side=invariants.wrong_side_count(course_id),
        stuck=_stuck(course_id, phase, since, settings),
        in_vain=len(ungradable.rows([course_id], settings).get(course_id, [])),
        failed=target_open_rows.count_failed_since(course_id, now() - _LATELY),
        unknown_queues=_unknown_queues(course_id, phase, settings),
        **compared,
    )


def _of_phase(course_id: str, numbers: counts.Numbers, authority: Authority, since: datetime | None) -> counts.Numbers:
    """Return the submissions that arrived or changed sides since the phase began, of the side that is authoritative."""
    mine = [(facts, number) for facts, number in numbers if facts.authority == authority]
    if since is None:
        return mine
    day = since.astimezone(UTC).date()
    began = [(max(facts.arrived_on, facts.moved_on or facts.arrived_on), facts, number) for facts, number in mine]
    # Buckets count by day: the entries of the day of the step are counted one by one.
    of_day = [facts for begin, facts, _ in began if begin == day]
    asked = counts.among(course_id, of_day, Q(arrived_at__gte=since) | Q(moved_at__gte=since))
    return [(facts, number) for begin, facts, number in began if begin > day] + list(asked.items())


def _overdue(
    course_id: str, mine: counts.Numbers, phase: Phase, since: datetime | None, settings: ShimSettings
) -> dict[str, int]:
    """Return how many submissions are overdue on each side: not graded, handed out for too long, or missing there."""
    late = {"overdue_on_target": 0, "overdue_on_legacy": 0}
    for facts, number in mine:
        diverged = facts.result == PairStatus.DIVERGED and uncovered(facts.differences) & _NOT_THERE
        overdue = facts.result == PairStatus.OVERDUE
        if facts.has(Flag.SUPERSEDED) or (facts.has(Flag.HISTORY) and not facts.has(Flag.ECHO)):
            continue
        if diverged or overdue:
            for side, state in (("target", facts.target_state), ("legacy", facts.legacy_state or State.MISSING)):
                if state in (State.MISSING, State.STUCK) or (overdue and state not in _FINAL):
                    late[f"overdue_on_{side}"] += number
    # Copies that have waited in the outbox for longer than a worker should take.
    owed = owed_since(now() - timedelta(seconds=settings.watch_stuck_seconds))
    rows = LedgerEntry.objects.filter(owed, course_id=course_id, authority=phase.authority, superseded_at=None)
    rows = rows.exclude(history=True, echo=False).exclude(result=PairStatus.OVERDUE)
    for klass in _NOT_THERE:
        rows = rows.exclude(result=PairStatus.DIVERGED, divergences__contains=klass.value)
    if since is not None:
        rows = rows.filter(Q(arrived_at__gte=since) | Q(moved_at__gte=since))
    late["overdue_on_target" if phase.authority is Authority.LEGACY else "overdue_on_legacy"] += rows.count()
    return late


def _problems(mine: counts.Numbers) -> tuple[CohortEvidence, ...]:
    """
    Return, for each problem, the pairs that are final on both sides and how many of them differ in their outcome.

    A row that has failed for good on the target is final too: a target that stores no grades fails in that way.
    """
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for facts, number in mine:
        graded = facts.legacy_state == State.GRADED and facts.target_state in _GRADED and not facts.has(Flag.ECHO)
        if not graded or facts.result in (PairStatus.NONE, PairStatus.KNOWN):
            continue
        pairs = found[facts.item_id]
        pairs["pairs"] += number
        if facts.result == PairStatus.DIVERGED and not uncovered(facts.differences).isdisjoint(OUTCOME):
            pairs["differ"] += number
        pairs["twins"] += number * facts.has(Flag.TWIN_JUDGED)
        pairs["twins_differ"] += number * facts.has(Flag.TWIN_DIFFERS)
    return tuple(
        CohortEvidence(
            name=name,
            entries=pairs["pairs"],
            graded_pairs=pairs["pairs"],
            diverged=pairs["differ"],
            deterministic=0,
            twins=pairs["twins"],
            twins_differ=pairs["twins_differ"],
        )
        for name, pairs in sorted(found.items())
    )


def _stuck(course_id: str, phase: Phase, since: datetime | None, settings: ShimSettings) -> tuple[Stuck, ...]:
    """
    Return the queues of the target in which submissions wait and no result has come for ``WATCH_STUCK_SECONDS``.

    In ``shadow`` the queues of the shadows are among them. The ledger tells how long a submission has waited: an
    imported row carries the time of its arrival on legacy.
    """
    moment = now()
    before = moment - timedelta(seconds=settings.watch_stuck_seconds)
    names = dict.fromkeys(counts.queues(course_id), False)
    if phase is Phase.SHADOW:
        names |= {queue + settings.shadow_queue_suffix: True for queue in list(names)}
    # In a queue that gets results whatever waits is only waiting for its turn. It may be long, so it is not read.
    answered = target_open_rows.queues_answered_since(names, before)
    queue_of = target_open_rows.in_flight_of_course(course_id, names.keys() - answered)
    found: dict[str, list[datetime]] = defaultdict(list)
    ids = sorted(queue_of)
    for start in range(0, len(ids), 1000):
        entries = LedgerEntry.objects.filter(target_submission_id__in=ids[start : start + 1000])
        columns = ("target_submission_id", "created_at", "move", "moved_at")
        for submission_id, created_at, move, moved_at in entries.values_list(*columns):
            began = moved_at if move != Move.NONE and moved_at else created_at
            # In legacy the only rows left on the target are those of the phase before.
            if began < before and (since is None or began >= since or phase is Phase.LEGACY):
                found[queue_of[submission_id]].append(began)
    return tuple(
        Stuck(
            queue=queue,
            side=Authority.TARGET,
            copies=names[queue],
            rows=len(times),
            oldest_seconds=(moment - min(times)).total_seconds(),
        )
        for queue, times in sorted(found.items())
    )


def _unknown_queues(course_id: str, phase: Phase, settings: ShimSettings) -> tuple[tuple[str, str, int], ...]:
    """Return (queue, queue of its reverse shadows, refused copies) for each queue that XQueue does not know."""
    if phase is not Phase.LIVE:
        return ()  # reverse shadows are written in live only
    refused = unknown_queues.unknown_to_xqueue([course_id]).get(course_id, {})
    return tuple((queue, queue + settings.reverse_queue_suffix, rows) for queue, rows in refused.items())
