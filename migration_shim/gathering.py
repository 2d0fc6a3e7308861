"""Gathering a course's evidence for the gate out of run records, ledger entries and divergences."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Q, QuerySet
from django.utils.timezone import now

from . import known, ledger, overrides, proofs, runs, tallies
from .conf import ShimSettings
from .core.evidence import Evidence, Latency, Override, Tally
from .data import DETERMINISTIC, GRAVE, Authority, DivergenceClass, Leg, PairStatus, Phase, State
from .fields import exact
from .lms import state
from .models import CoursePhase, Divergence, LedgerEntry, PhaseChange, Run

#: Classes that the gate counts for themselves; they say nothing of how often two graders disagree.
_APART = GRAVE | {DivergenceClass.STUCK}
#: Grave classes that the evidence has a field of its own for.
_TOLD = {
    DivergenceClass.FENCE_LEAK,
    DivergenceClass.DOUBLE_AUTHORITY,
    DivergenceClass.UNDELIVERED,
    DivergenceClass.WRONG_SIDE,
    DivergenceClass.LOST,
}
_FINAL = [state.value for state in State if state.is_final]
#: A copy was wanted.
_COPIED = (*ledger.UNWRITTEN, Leg.STORED)
_BY = {"item_id": "entry__item_id", "queue_name": "entry__queue_name"}


def gather(course_id: str, settings: ShimSettings) -> Evidence:
    """
    All that is on record of a course. What is not there stays None or empty, and the gate holds that against it.

    The register of known differences is applied first: what has expired counts again from now on.
    """
    moment = now()
    known.apply(course_id, moment)
    newest = runs.last("reconcile", course_id)
    reconciled = runs.last_complete("reconcile", course_id)
    preflight = runs.last_complete("preflight", course_id)
    findings = preflight.document.get("findings") if preflight else None
    record = CoursePhase.objects.filter(course_id=course_id).first()
    entries = _entries(course_id, record, reconciled)
    window = _Window(since=moment - timedelta(days=settings.evidence_days), taken_back_at=_taken_back_at(course_id))
    # Missing nowhere, and never graded: a worker that fails at each of one kind owes them for ever.
    late = ledger.owed_since(moment - timedelta(seconds=settings.grading_deadline_seconds))
    owed = late & Q(superseded_at=None)
    classes, grave = _unexplained(entries), proofs.on_record(course_id)
    leaks = max(grave[DivergenceClass.FENCE_LEAK], record.fence_leaks if record else 0)
    return Evidence(
        reconcile_age=_age(reconciled),
        reconcile_complete=newest is not None and newest.complete,
        # One without findings, not even none, has not told what it found.
        preflight_age=_age(preflight) if findings is not None else None,
        preflight_blockers=(*_blockers(findings or ()), *_strangers(findings or (), reconciled)),
        problems=_tallies(course_id, entries, "item_id", window, frozenset()),
        queues=_queues(course_id, entries, window, frozenset(settings.side_effect_queues)),
        missing=classes[DivergenceClass.PRESENCE],
        overdue=entries.filter(Q(result=PairStatus.OVERDUE) | owed).count(),
        fence_leaks=_counted(reconciled, "fence_leaks", leaks),
        double_authority=_counted(reconciled, "double_authority", grave[DivergenceClass.DOUBLE_AUTHORITY]),
        undelivered=_undelivered(reconciled, grave[DivergenceClass.UNDELIVERED], record),
        learners_asked=state.is_lms(),
        wrong_side=grave[DivergenceClass.WRONG_SIDE] or (0 if reconciled else None),
        lost=grave[DivergenceClass.LOST] if reconciled or grave[DivergenceClass.LOST] else None,
        stuck=classes[DivergenceClass.STUCK] if reconciled else None,
        latency=_latency(entries.filter(target_graded_at__gte=window.since)) if reconciled else None,
        overrides=tuple(
            Override(owner=row.signed_by, reason=row.reason, expires_at=row.expires_at)
            for row in overrides.in_force(course_id, moment)
        ),
        grave=tuple((klass, grave[klass]) for klass in sorted(GRAVE - _TOLD)),
        taken_back=window.taken_back_at is not None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Window:
    """From when a clean pair counts, and from when one shows that the graders work; see ``_taken_back_at``."""

    since: datetime
    taken_back_at: datetime | None


def _taken_back_at(course_id: str) -> datetime | None:
    """
    When the course was last stepped back from ``live`` or ``complete``, if it was.

    Whatever reason was written down, that was for cause: that its graders work is to be shown anew.
    """
    order = list(Phase)
    back = [Q(step_from=one, step_to__in=order[: order.index(one)]) for one in (Phase.LIVE, Phase.COMPLETE)]
    steps = PhaseChange.objects.filter(back[0] | back[1], course_id=course_id)
    return steps.order_by("-id").values_list("changed_at", flat=True).first()


def _entries(course_id: str, record: CoursePhase | None, reconciled: Run | None) -> QuerySet[LedgerEntry]:
    """
    The entries that count: those whose copy was wanted, and that the last reconcile could see.

    In live and after it the question is whether the target's own grades hold, so the pairs of live answer it; before,
    those of shadow, and what has failed in live and is not explained.
    """
    authority = Phase(record.phase).authority if record else Authority.LEGACY
    asked = Q(authority=authority)
    if authority is Authority.LEGACY:
        late = Q(result=PairStatus.OVERDUE) & ~Q(target_state__in=_FINAL)
        asked |= Q(authority=Authority.TARGET) & (Q(result=PairStatus.DIVERGED) | late)
    # History counts once it has been echoed: it proves the pipeline. Without that it has nothing to compare.
    wanted = LedgerEntry.objects.filter(asked, course_id=course_id).exclude(history=True, echo=False)
    # Without a copy there is no pair, but a row that legacy has stored after all is a divergence for all that.
    for side, copy in ((Authority.LEGACY, "target_leg"), (Authority.TARGET, "legacy_leg")):
        wanted = wanted.exclude(**{"authority": side, copy: Leg.NONE, "divergences": ""})
    if reconciled is not None:  # what has arrived since is the next reconcile's
        wanted = wanted.exclude(compared_at=None, created_at__gte=reconciled.started_at)
    return wanted


def _tallies(
    course_id: str, entries: QuerySet[LedgerEntry], by: str, window: _Window, side_effects: frozenset[str]
) -> tuple[Tally, ...]:
    """
    The counts of each problem or queue. A queue is idle if nothing has come to it, in whatever phase, with or without a
    copy: what came in live before a course was taken back shows that its graders will be needed.
    """
    explained, diverged = Q(result=PairStatus.KNOWN), Q(result=PairStatus.DIVERGED)
    # A pair of which nobody knows when the target graded it is as old as can be. A divergence does not age.
    young = Q(target_graded_at__gte=window.since)
    recent = Q(arrived_at__gte=window.since)
    graded = Q(graded_pair=True) & ~explained & (diverged | young)
    counts = ~explained & (diverged | young | recent)
    real = graded & Q(echo=False, leases__gt=0)
    before = Q(pk=None) if window.taken_back_at is None else real & ~Q(target_graded_at__gte=window.taken_back_at)
    on_its_way = Q(result=PairStatus.WAITING) & (
        Q(target_state=State.MISSING) | Q(legacy_state__in=("", State.MISSING))
    )
    no_copy = Q(authority=Authority.LEGACY, target_leg=Leg.NONE) | Q(authority=Authority.TARGET, legacy_leg=Leg.NONE)
    rows = (
        entries.values(by)
        .annotate(
            entries=Count("id", filter=counts),
            known=Count("id", filter=explained),
            pairs=Count("id", filter=graded),
            echoed=Count("id", filter=graded & Q(echo=True)),
            elsewhere=Count("id", filter=graded & Q(echo=False, leases=0)),
            diverged=Count("id", filter=diverged),
            no_payload=Count("id", filter=Q(payload_compared_at=None) & counts & ~on_its_way & ~no_copy),
            before=Count("id", filter=before),
            aged=Count("id", filter=Q(graded_pair=True) & ~explained & ~diverged & ~young),
            # Of the same pairs as the rate against legacy: the gate works on the difference of the two.
            twins=Count("id", filter=graded & Q(twin_agrees__isnull=False)),
            twins_differ=Count("id", filter=graded & Q(twin_agrees=False)),
        )
        .order_by(by)
    )
    apart, deterministic, classes = _by_class(entries, _BY[by])
    arrived = set(exact(LedgerEntry.objects.filter(recent, course_id=course_id), by))
    return tuple(
        Tally(
            name=row[by],
            entries=row["entries"],
            graded_pairs=row["pairs"],
            echoed=row["echoed"],
            diverged=row["diverged"] - apart.get(row[by], 0),
            deterministic=deterministic.get(row[by], 0),
            classes=tuple(sorted(classes.get(row[by], ()))),
            known=row["known"],
            payload_compared=row["entries"] - row["no_payload"],
            twins=row["twins"],
            twins_differ=row["twins_differ"],
            elsewhere=row["elsewhere"],
            before=row["before"],
            aged=row["aged"],
            idle=row[by] not in arrived,
            side_effects=row[by] in side_effects,
        )
        for row in rows
    )


def _queues(
    course_id: str, entries: QuerySet[LedgerEntry], window: _Window, side_effects: frozenset[str]
) -> tuple[Tally, ...]:
    """The queues, and those without a pair that learners have used lately while the target was authoritative."""
    tallied = _tallies(course_id, entries, "queue_name", window, side_effects)
    lately = LedgerEntry.objects.filter(
        course_id=course_id, authority=Authority.TARGET, arrived_at__gte=window.since, legacy_leg__in=_COPIED
    )
    names = {tally.name for tally in tallied}
    return tallied + tuple(
        Tally(name=name, entries=0, graded_pairs=0, diverged=0, deterministic=0, side_effects=name in side_effects)
        for name in exact(lately, "queue_name")
        if name not in names
    )


def _uncovered(entries: QuerySet[LedgerEntry]) -> QuerySet[Divergence]:
    return Divergence.objects.filter(entry__in=entries.values("id"), known=None, cured_at=None).order_by()


def _unexplained(entries: QuerySet[LedgerEntry]) -> dict[str, int]:
    rows = _uncovered(entries).values_list("klass").annotate(number=Count("id"))
    return defaultdict(int, rows)


def _by_class(entries: QuerySet[LedgerEntry], by: str) -> tuple[dict[str, int], dict[str, int], dict[str, set[str]]]:
    """By problem or queue: how many diverge in a class apart only, in a deterministic one; these classes, and STUCK."""
    found = _uncovered(entries)
    ordinary, fixed = ~Q(klass__in=_APART), Q(klass__in=DETERMINISTIC)
    counts = {"all": Count("entry", distinct=True), "ordinary": Count("entry", distinct=True, filter=ordinary)}
    rows = list(found.values(by).annotate(**counts, fixed=Count("entry", distinct=True, filter=fixed)))
    classes: dict[str, set[str]] = defaultdict(set)
    for name, klass in found.filter(fixed | Q(klass=DivergenceClass.STUCK)).values_list(by, "klass").distinct():
        classes[name].add(klass)
    apart = {row[by]: row["all"] - row["ordinary"] for row in rows}
    return apart, {row[by]: row["fixed"] for row in rows}, classes


def _latency(entries: QuerySet[LedgerEntry]) -> Latency:
    found = tallies.latency(entries)
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
