"""Guarding one course: what there is to be seen of it, the alarm, and the one step back."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils.timezone import now

from .. import toggles
from ..conf import ShimSettings
from ..core.bounds import OUTCOME, Bounds, Breach, Seen, Stuck, breaches
from ..core.buckets import Flag, uncovered
from ..core.data import Authority, DivergenceClass, Move, PairStatus, Phase, State
from ..core.errors import ConfigurationError
from ..core.evidence import Tally
from ..core.reconcile_document import fence_known_upto
from ..cutover import invariants
from ..cutover import steps as cutover_steps
from ..delivery import ungradable
from ..ledger import aggregates, counts, phase_memory
from ..ledger.entries import owed_since
from ..legacy.client import LegacyClient
from ..metrics import count
from ..models import Checkpoint, CoursePhase, LedgerEntry
from ..runs import records as run_records
from ..signals import course_out_of_bounds
from ..status import unknown_queues
from ..target import open_rows, reader

log = logging.getLogger(__name__)

#: Who stands in the record of a course that the watch has stepped back.
WATCH = "xqueue_watch"
_HANDOFF = "xqueue_backfill --mode handoff --course {course} --execute"
_RETURN = "xqueue_backfill --mode return --course {course} --execute"
#: How long a submission that has failed for good is said.
_LATELY = timedelta(days=1)
_SAID_LIMIT = 200  # characters of XQueue's own text
_GRADED = (State.GRADED, State.FAILED)
_FINAL = frozenset(state.value for state in State if state.is_final)
_NOT_THERE = {DivergenceClass.PRESENCE, DivergenceClass.STUCK}


def guard(course_id: str, settings: ShimSettings, reconciled: dict[str, Any] | None) -> dict[str, Any]:
    """
    Hold a course to its bounds: say every breach, and step the course back where that is asked for and mends it.

    Args:
        course_id: the course.
        settings: those in force.
        reconciled: the course's part of a comparison that came to its end just now, or None.
    """
    decision = toggles.phase_of(course_id)
    phase_memory.leave(course_id, decision.phase)  # the cache may have been emptied since the step
    record = CoursePhase.objects.filter(course_id=course_id).first()
    since = record.since if record else None
    seen = observe(course_id, decision.phase, since, settings, reconciled)
    found = breaches(seen, Bounds(thresholds=settings.thresholds(), overdue=settings.watch_overdue_limit))
    failed = [breach for breach in found if breach.target_failed]
    step: dict[str, Any] = {"stepped_back": False, "not_stepped_back": ""}
    if failed:
        step = _step_back(course_id, seen, since, failed, settings)
    if found:
        _tell(course_id, seen.phase, found, stepped_back=step["stepped_back"])
    commands = []
    if seen.wrong_side and not _is_legacy(seen.phase, step):
        commands.append(_HANDOFF.format(course=course_id))
    mend = bool(failed) or any(item.side is Authority.TARGET and not item.copies for item in seen.stuck)
    then = [_RETURN.format(course=course_id)] if mend and _is_legacy(seen.phase, step) else []
    if seen.in_vain:
        then.append(ungradable.command(course_id))
    return {
        "phase": decision.phase.value,
        "breaches": [_described(breach) for breach in found],
        **step,
        "next": commands + then,
    }


def _is_legacy(phase: Phase, step: dict[str, Any]) -> bool:
    """Whether new submissions go to legacy by now: only then rows may be taken back there."""
    return step["stepped_back"] or phase.authority is Authority.LEGACY


def observe(
    course_id: str, phase: Phase, since: datetime | None, settings: ShimSettings, reconciled: dict[str, Any] | None
) -> Seen:
    """What there is to be seen of a course; of its submissions, of those that came ``since`` it is in its phase."""
    numbers = counts.facts(course_id)
    classes = aggregates.classes(numbers)
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
    return Seen(
        phase=phase,
        compared=reconciled is not None,
        shadow_leaks=shadow_leaks,
        leaks_answered=_answered(course_id),
        double_authority=invariants.double_authority_entries(course_id).count(),
        undelivered=invariants.undelivered_entries(course_id).count(),
        undelivered_by_target=invariants.undelivered_entries(course_id).filter(authority=Authority.TARGET).count(),
        undeliverable=invariants.undelivered_entries(course_id).exclude(undeliverable="").count(),
        wrong_side=invariants.wrong_side(course_id),
        stuck=_stuck(course_id, phase, since, settings),
        in_vain=len(ungradable.rows([course_id], settings).get(course_id, [])),
        failed=open_rows.failed_since(course_id, now() - _LATELY),
        unknown_queues=_unknown_queues(course_id, phase, settings),
        **compared,
    )


def _of_phase(course_id: str, numbers: counts.Numbers, authority: Authority, since: datetime | None) -> counts.Numbers:
    """The submissions of a phase: those that came, or changed sides, ``since`` the course is in it."""
    mine = [(facts, number) for facts, number in numbers if facts.authority == authority]
    if since is None:
        return mine
    day = since.astimezone(UTC).date()
    began = [(max(facts.arrived_on, facts.moved_on or facts.arrived_on), facts, number) for facts, number in mine]
    # A bucket knows no hour: of the day of the step the entries are asked.
    of_day = [facts for begin, facts, _ in began if begin == day]
    asked = counts.among(course_id, of_day, Q(arrived_at__gte=since) | Q(moved_at__gte=since))
    return [(facts, number) for begin, facts, number in began if begin > day] + list(asked.items())


def _overdue(
    course_id: str, mine: counts.Numbers, phase: Phase, since: datetime | None, settings: ShimSettings
) -> dict[str, int]:
    """By side: what is overdue there, handed out for too long, or missing though it should be there."""
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
    # A copy that stands in the outbox waits for a worker; so long it should not.
    owed = owed_since(now() - timedelta(seconds=settings.watch_stuck_seconds))
    rows = LedgerEntry.objects.filter(owed, course_id=course_id, authority=phase.authority, superseded_at=None)
    rows = rows.exclude(history=True, echo=False).exclude(result=PairStatus.OVERDUE)
    for klass in _NOT_THERE:
        rows = rows.exclude(result=PairStatus.DIVERGED, divergences__contains=klass.value)
    if since is not None:
        rows = rows.filter(Q(arrived_at__gte=since) | Q(moved_at__gte=since))
    late["overdue_on_target" if phase.authority is Authority.LEGACY else "overdue_on_legacy"] += rows.count()
    return late


def _problems(mine: counts.Numbers) -> tuple[Tally, ...]:
    """
    The pairs of each problem on which both systems have said their last word, and how many of them differ in that.

    A row that has failed for good on the target is its last word too: that is how a target fails that stores no grade.
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
        Tally(
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
    The queues of the target in which submissions wait for nobody: learners' own, and in shadow those of the shadows.

    How long a submission has waited is told by the ledger: an imported row carries the time of its arrival on legacy.
    """
    moment = now()
    before = moment - timedelta(seconds=settings.watch_stuck_seconds)
    names = dict.fromkeys(counts.queues(course_id), False)
    if phase is Phase.SHADOW:
        names |= {queue + settings.shadow_queue_suffix: True for queue in list(names)}
    # Where graders give results whatever waits does so for its turn, and there may be a great deal of it: not read.
    answered = open_rows.answered_since(names, before)
    queue_of = open_rows.in_queues(course_id, names.keys() - answered)
    found: dict[str, list[datetime]] = defaultdict(list)
    ids = sorted(queue_of)
    for start in range(0, len(ids), 1000):
        entries = LedgerEntry.objects.filter(target_submission_id__in=ids[start : start + 1000])
        columns = ("target_submission_id", "created_at", "move", "moved_at")
        for submission_id, created_at, move, moved_at in entries.values_list(*columns):
            began = moved_at if move != Move.NONE and moved_at else created_at
            # In legacy the rows of the phase before are all that is left: they are not to be forgotten.
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
    if phase is not Phase.LIVE:
        return ()  # nobody writes reverse shadows
    refused = unknown_queues.unknown_to_xqueue([course_id]).get(course_id, {})
    return tuple((queue, queue + settings.reverse_queue_suffix, rows) for queue, rows in refused.items())


def _memory(course_id: str) -> str:
    return f"watch:{run_records.digest({'course': course_id})[:32]}"


def _answered(course_id: str) -> int:
    memory = Checkpoint.objects.filter(name=_memory(course_id)).first()
    return memory.counts.get("shadow_leaks", 0) if memory else 0


def _step_back(
    course_id: str, seen: Seen, since: datetime | None, failed: list[Breach], settings: ShimSettings
) -> dict[str, Any]:
    """To legacy, if the settings say so, legacy answers, and the course still stands where it was seen."""
    why_not = "WATCH_STEP_BACK is off" if not settings.watch_step_back else _legacy_refusal(course_id)
    if why_not:
        return {"stepped_back": False, "not_stepped_back": why_not}
    reason = "the target failed: " + "; ".join(breach.text for breach in failed)
    with transaction.atomic():
        # The course's row is the lock of every step. Whoever was quicker has had a reason, too.
        record = CoursePhase.objects.select_for_update().get(course_id=course_id)
        if (record.phase, record.since) != (seen.phase, since):
            return {"stepped_back": False, "not_stepped_back": "somebody has moved the course meanwhile"}
        cutover_steps.run(course_id, Phase.LEGACY, reason=reason, execute=True, user=WATCH, login=None)
        Checkpoint.objects.update_or_create(
            name=_memory(course_id), defaults={"counts": {"shadow_leaks": seen.shadow_leaks}}
        )
    count("watch_stepped_back")
    return {"stepped_back": True, "not_stepped_back": ""}


def _legacy_refusal(course_id: str) -> str:
    """Why legacy may not be given the course now; empty when it answers for every queue that the course uses."""
    queues = counts.queues(course_id)
    try:
        client = LegacyClient()
    except ConfigurationError as error:
        return str(error)
    for queue in queues:
        if refusal := client.refusal(queue):
            return f"legacy does not answer for queue {queue}: {refusal}"[:_SAID_LIMIT]
    return "" if queues else "no queue of the course is known"


def _tell(course_id: str, phase: Phase, found: tuple[Breach, ...], *, stepped_back: bool) -> None:
    count("watch_breach")
    texts = "; ".join(f"{breach.bound}: {breach.text}" for breach in found)
    what = "stepped back to legacy" if stepped_back else f"in {phase}"
    log.error("migration_shim: %s is out of its bounds, %s: %s", course_id, what, texts)
    answers = course_out_of_bounds.send_robust(
        sender=WATCH,
        course_id=course_id,
        phase=phase.value,
        breaches=[_described(breach) for breach in found],
        stepped_back=stepped_back,
    )
    for receiver, answer in answers:
        if isinstance(answer, Exception):
            name = getattr(receiver, "__name__", type(receiver).__name__)
            log.error("migration_shim: the receiver %s failed: %s", name, type(answer).__name__)


def _described(breach: Breach) -> dict[str, Any]:
    described = asdict(breach)
    return described | {"bound": breach.bound.value}
