"""Gathering a course's evidence for the gate out of run records, ledger entries and divergences."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from django.db.models import Count, Q, QuerySet
from django.utils.timezone import now

from . import known, overrides, runs, tallies
from .conf import ShimSettings
from .core.evidence import Evidence, Latency, Override, Tally
from .core.gate import DETERMINISTIC
from .data import Authority, DivergenceClass, Leg, PairStatus, Phase, State
from .models import CoursePhase, Divergence, LedgerEntry, Run

#: Classes that the gate counts for themselves; they say nothing of how often two graders disagree.
_APART = (
    DivergenceClass.FENCE_LEAK,
    DivergenceClass.DOUBLE_AUTHORITY,
    DivergenceClass.WRONG_SIDE,
    DivergenceClass.LOST,
    DivergenceClass.STUCK,
)
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
    findings = preflight.document.get("findings", []) if preflight else []
    entries = _entries(course_id, reconciled)
    classes = _unexplained(entries)
    return Evidence(
        reconcile_age=_age(reconciled),
        reconcile_complete=newest is not None and newest.complete,
        preflight_age=_age(preflight),
        preflight_blockers=_blockers(findings),
        problems=_tallies(entries, "item_id", frozenset()),
        queues=_tallies(entries, "queue_name", frozenset(settings.side_effect_queues)),
        missing=classes[DivergenceClass.PRESENCE],
        overdue=entries.filter(result=PairStatus.OVERDUE).count(),
        fence_leaks=max(_counted(reconciled, "fence_leaks"), _found(course_id, DivergenceClass.FENCE_LEAK)),
        double_authority=max(_counted(reconciled, "double_authority"), _double_authority(course_id)),
        wrong_side=_found(course_id, DivergenceClass.WRONG_SIDE) or (0 if reconciled else None),
        lost=classes[DivergenceClass.LOST] if reconciled else None,
        stuck=classes[DivergenceClass.STUCK] if reconciled else None,
        latency=_latency(entries) if reconciled else None,
        overrides=tuple(
            Override(owner=row.signed_by, reason=row.reason, expires_at=row.expires_at)
            for row in overrides.in_force(course_id, moment)
        ),
    )


def _entries(course_id: str, reconciled: Run | None) -> QuerySet[LedgerEntry]:
    """
    The entries that count: those whose copy was wanted, and that the last reconcile could see.

    In live and after it the question is whether the target's own grades hold, so the pairs of live answer it; before,
    those of shadow.
    """
    record = CoursePhase.objects.filter(course_id=course_id).first()
    authority = Phase(record.phase).authority if record else Authority.LEGACY
    # History counts once it has been echoed: it proves the pipeline. Without that it has nothing to compare.
    wanted = LedgerEntry.objects.filter(course_id=course_id, authority=authority).exclude(history=True, echo=False)
    copy = "target_leg" if authority is Authority.LEGACY else "legacy_leg"
    # Without a copy there is no pair, but a row that legacy has stored after all is a divergence for all that.
    wanted = wanted.exclude(**{copy: Leg.NONE, "divergences": ""})
    if reconciled is not None:  # what has arrived since is the next reconcile's
        wanted = wanted.exclude(compared_at=None, created_at__gte=reconciled.started_at)
    return wanted


def _tallies(entries: QuerySet[LedgerEntry], by: str, side_effects: frozenset[str]) -> tuple[Tally, ...]:
    explained = Q(result=PairStatus.KNOWN)
    graded = Q(graded_pair=True) & ~explained
    on_its_way = Q(result=PairStatus.WAITING) & (
        Q(target_state=State.MISSING) | Q(legacy_state__in=("", State.MISSING))
    )
    no_copy = Q(authority=Authority.LEGACY, target_leg=Leg.NONE) | Q(authority=Authority.TARGET, legacy_leg=Leg.NONE)
    rows = (
        entries.values(by)
        .annotate(
            entries=Count("id", filter=~explained),
            known=Count("id", filter=explained),
            pairs=Count("id", filter=graded),
            echoed=Count("id", filter=graded & Q(echo=True)),
            elsewhere=Count("id", filter=graded & Q(echo=False, leases=0)),
            diverged=Count("id", filter=Q(result=PairStatus.DIVERGED)),
            no_payload=Count("id", filter=Q(payload_compared_at=None) & ~explained & ~on_its_way & ~no_copy),
            # Of the same pairs as the rate against legacy: the gate works on the difference of the two.
            twins=Count("id", filter=graded & Q(twin_agrees__isnull=False)),
            twins_differ=Count("id", filter=graded & Q(twin_agrees=False)),
        )
        .order_by(by)
    )
    apart, deterministic, classes = _by_class(entries, _BY[by])
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
            side_effects=row[by] in side_effects,
        )
        for row in rows
    )


def _uncovered(entries: QuerySet[LedgerEntry]) -> QuerySet[Divergence]:
    return Divergence.objects.filter(entry__in=entries.values("id"), known=None).order_by()


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
    legacy, target = (found[side]["p95"] or 0.0 for side in ("legacy", "target"))
    return Latency(timed=found["legacy"]["graded"], legacy=legacy, target=target)


def _counted(reconciled: Run | None, key: str) -> int:
    return reconciled.document.get(key, 0) if reconciled else 0


def _found(course_id: str, klass: DivergenceClass) -> int:
    """Also what a run has found that was stopped afterwards."""
    return Divergence.objects.filter(course_id=course_id, klass=klass).count()


def _double_authority(course_id: str) -> int:
    """What a handoff has seen since the last reconcile counts at once."""
    seen = Q(double_authority=True) | Q(differences__klass=DivergenceClass.DOUBLE_AUTHORITY)
    return LedgerEntry.objects.filter(seen, course_id=course_id).distinct().count()


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
