"""Guarding one course: what there is to be seen of it, the alarm, and the one step back."""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Count, Q, QuerySet
from django.utils.timezone import now

from . import cutover, in_vain, ledger, phase_memory, proofs, queue_names, runs, tallies, toggles
from .conf import ShimSettings
from .core.evidence import Tally
from .core.guard import OUTCOME, Bounds, Breach, Seen, Stuck, breaches
from .data import Authority, DivergenceClass, Move, PairStatus, Phase, State
from .errors import ConfigurationError
from .legacy.client import LegacyClient
from .metrics import count
from .models import Checkpoint, CoursePhase, Divergence, LedgerEntry
from .signals import course_out_of_bounds
from .target import reader, waiting

log = logging.getLogger(__name__)

#: Who stands in the record of a course that the watch has stepped back.
WATCH = "xqueue_watch"
_HANDOFF = "xqueue_backfill --mode handoff --course {course} --execute"
_RETURN = "xqueue_backfill --mode return --course {course} --execute"
#: How long a submission that has failed for good is said.
_LATELY = timedelta(days=1)
_SAID_LIMIT = 200  # characters of XQueue's own text
_GRADED = (State.GRADED, State.FAILED)
_FINAL = [state.value for state in State if state.is_final]


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
    seen = look(course_id, decision.phase, since, settings, reconciled)
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
        then.append(in_vain.command(course_id))
    return {
        "phase": decision.phase.value,
        "breaches": [_described(breach) for breach in found],
        **step,
        "next": commands + then,
    }


def _is_legacy(phase: Phase, step: dict[str, Any]) -> bool:
    """Whether new submissions go to legacy by now: only then rows may be taken back there."""
    return step["stepped_back"] or phase.authority is Authority.LEGACY


def look(
    course_id: str, phase: Phase, since: datetime | None, settings: ShimSettings, reconciled: dict[str, Any] | None
) -> Seen:
    """What there is to be seen of a course; of its submissions, of those that came ``since`` it is in its phase."""
    entries = LedgerEntry.objects.filter(course_id=course_id, authority=phase.authority)
    if since is not None:
        entries = entries.filter(Q(arrived_at__gte=since) | Q(moved_at__gte=since))
    classes = tallies.classes(course_id)
    shadow_leaks = classes[DivergenceClass.FENCE_LEAK] + reader.half_fenced(course_id)
    compared: dict[str, Any] = {}
    if reconciled is not None:
        compared = {
            "reverse_leaks": max(reconciled["fence_leaks"] - shadow_leaks, 0),
            "lost": classes[DivergenceClass.LOST],
            "problems": _problems(entries),
            **_overdue(entries, settings),
        }
    return Seen(
        phase=phase,
        compared=reconciled is not None,
        shadow_leaks=shadow_leaks,
        leaks_answered=_answered(course_id),
        double_authority=proofs.double_authority(course_id).count(),
        undelivered=proofs.undelivered(course_id).count(),
        undelivered_by_target=proofs.undelivered(course_id).filter(authority=Authority.TARGET).count(),
        undeliverable=proofs.undelivered(course_id).exclude(undeliverable="").count(),
        wrong_side=proofs.wrong_side(course_id),
        stuck=_stuck(course_id, phase, since, settings),
        in_vain=len(in_vain.rows([course_id], settings).get(course_id, [])),
        failed=waiting.failed_since(course_id, now() - _LATELY),
        unknown_queues=_unknown_queues(course_id, phase, settings),
        **compared,
    )


def _overdue(entries: QuerySet[LedgerEntry], settings: ShimSettings) -> dict[str, int]:
    """By side: what is overdue there, handed out for too long, or missing though it should be there."""
    entries = entries.filter(superseded_at=None).exclude(history=True, echo=False)
    classes = (DivergenceClass.PRESENCE, DivergenceClass.STUCK)
    diverged = Q(result=PairStatus.DIVERGED, pk__in=_with(classes).values("entry"))
    late = {
        "overdue_on_target": Q(target_state__in=(State.MISSING, State.STUCK))
        | Q(result=PairStatus.OVERDUE) & ~Q(target_state__in=_FINAL),
        "overdue_on_legacy": Q(legacy_state__in=("", State.MISSING, State.STUCK))
        | Q(result=PairStatus.OVERDUE) & ~Q(legacy_state__in=_FINAL),
    }
    # A copy that stands in the outbox waits for a worker; so long it should not.
    owed = ledger.owed_since(now() - timedelta(seconds=settings.watch_stuck_seconds))
    late["overdue_on_target"] |= owed & Q(authority=Authority.LEGACY)
    late["overdue_on_legacy"] |= owed & Q(authority=Authority.TARGET)
    wanted = entries.filter(Q(result=PairStatus.OVERDUE) | diverged | owed)
    return wanted.aggregate(**{name: Count("id", filter=condition) for name, condition in late.items()})


def _with(classes: tuple[DivergenceClass, ...]) -> QuerySet[Divergence]:
    return Divergence.objects.filter(klass__in=classes, known=None, cured_at=None)


def _problems(entries: QuerySet[LedgerEntry]) -> tuple[Tally, ...]:
    """
    The pairs of each problem on which both systems have said their last word, and how many of them differ in that.

    A row that has failed for good on the target is its last word too: that is how a target fails that stores no grade.
    """
    pairs = entries.filter(legacy_state=State.GRADED, target_state__in=_GRADED, echo=False)
    pairs = pairs.exclude(result__in=(PairStatus.NONE, PairStatus.KNOWN))
    differ = Q(result=PairStatus.DIVERGED, pk__in=_with(OUTCOME).values("entry"))
    rows = pairs.values("item_id").annotate(
        pairs=Count("id"),
        differ=Count("id", filter=differ),
        twins=Count("id", filter=Q(twin_agrees__isnull=False)),
        twins_differ=Count("id", filter=Q(twin_agrees=False)),
    )
    return tuple(
        Tally(
            name=row["item_id"],
            entries=row["pairs"],
            graded_pairs=row["pairs"],
            diverged=row["differ"],
            deterministic=0,
            twins=row["twins"],
            twins_differ=row["twins_differ"],
        )
        for row in rows.order_by("item_id")
    )


def _stuck(course_id: str, phase: Phase, since: datetime | None, settings: ShimSettings) -> tuple[Stuck, ...]:
    """
    The queues of the target in which submissions wait for nobody: learners' own, and in shadow those of the shadows.

    How long a submission has waited is told by the ledger: an imported row carries the time of its arrival on legacy.
    """
    moment = now()
    before = moment - timedelta(seconds=settings.watch_stuck_seconds)
    names = dict.fromkeys(tallies.queues(course_id), False)
    if phase is Phase.SHADOW:
        names |= {queue + settings.shadow_queue_suffix: True for queue in list(names)}
    queue_of = waiting.in_flight(course_id, names)
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
        if not waiting.answered_since(queue, before)
    )


def _unknown_queues(course_id: str, phase: Phase, settings: ShimSettings) -> tuple[tuple[str, str, int], ...]:
    if phase is not Phase.LIVE:
        return ()  # nobody writes reverse shadows
    refused = queue_names.unknown([course_id]).get(course_id, {})
    return tuple((queue, queue + settings.reverse_queue_suffix, rows) for queue, rows in refused.items())


def _memory(course_id: str) -> str:
    return f"watch:{runs.digest({'course': course_id})[:32]}"


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
        cutover.run(course_id, Phase.LEGACY, reason=reason, execute=True, user=WATCH, login=None)
        Checkpoint.objects.update_or_create(
            name=_memory(course_id), defaults={"counts": {"shadow_leaks": seen.shadow_leaks}}
        )
    count("watch_stepped_back")
    return {"stepped_back": True, "not_stepped_back": ""}


def _legacy_refusal(course_id: str) -> str:
    """Why legacy may not be given the course now; empty when it answers for every queue that the course uses."""
    queues = tallies.queues(course_id)
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
