"""
The purge: drop the residue of settled entries, which is raw header, payload, student_info and extra keys.

Residue is kept while a grader, a handoff, a return, an owed copy or a comparison may need it. Counts and results stay
on the entry. See docs/decisions/0015.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db.models import Max, Q, QuerySet
from django.utils.timezone import now

from ..conf import ShimSettings
from ..core.data import Authority, Leg, Move
from ..core.delivered import Learner
from ..core.documents.watch import LedgerResidue, PurgeTotals
from ..ledger import counts, stamp
from ..ledger.buckets import counted
from ..models import CoursePhase, LedgerEntry, Run
from ..target import open_rows as target_open_rows

#: Entries dropped in one statement; writers of the ledger wait for no longer than that.
BATCH = 500
#: Entries that a plan looks at; of a longer list it says only that there are more.
PLANNED = 1000
#: Moves that are finished, or never began.
_AT_REST = (Move.NONE, Move.WATCHED, Move.RETURNED)
_ROWS = ("target_submission_id", "real_submission_id", "shadow_submission_id", "twin_submission_id")
#: Runs of one kind and scope that are kept, beside those that a permit refers to.
RUNS_KEPT = 20
#: Kinds of runs that each round of the watch makes.
_ROUTINE = ("reconcile", "watch", "backfill")


@dataclass(slots=True, kw_only=True)
class PurgeCounts:
    """
    The counts of a purge.

    Args:
        found: entries whose time has come.
        dropped: those whose residue was dropped, or in a plan can be.
        kept: those whose residue is still needed, by reason.
        more: there are more entries, which a plan has not looked at.
    """

    found: int = 0
    dropped: int = 0
    kept: Counter[str] = field(default_factory=Counter)
    more: bool = False

    def content(self) -> PurgeTotals:
        """Return the counts as plain data."""
        return {
            "found": self.found,
            "dropped": self.dropped,
            "kept": dict(sorted(self.kept.items())),
            "more": self.more,
        }


def purge(settings: ShimSettings, *, execute: bool, check: Callable[[], None]) -> PurgeCounts:
    """
    Drop the residue of entries that were settled ``PURGE_AFTER_SECONDS`` ago.

    Args:
        settings: the settings in force.
        execute: drop it; without it up to about ``PLANNED`` entries are counted.
        check: called before every batch; it may raise to stop, and the next purge goes on with the rest.

    Raises:
        LedgerNotOurs: the ledger belongs to another LMS, and ``execute`` was asked for.
    """
    if execute:
        stamp.check()
    before = now() - timedelta(seconds=settings.purge_after_seconds)
    due = LedgerEntry.objects.filter(purged_at=None, settled_at__lt=before)
    return drop_residue(due, execute=execute, check=check)


def drop_residue(
    due: QuerySet[LedgerEntry], *, execute: bool, check: Callable[[], None], failed_too: bool = False
) -> PurgeCounts:
    """
    Drop the residue of the given entries where it is no longer needed.

    Args:
        due: the entries.
        execute, check: as for ``purge``.
        failed_too: drop also that of rows that failed for good on the target, which somebody may want to try again.
    """
    purged, after = PurgeCounts(), 0
    undelivered = due.filter(learner_said=Learner.WAITS, learner_settled_at=None)
    columns = ("pk", "authority", "move", "legacy_leg", "target_leg", *_ROWS)
    while page := list(due.filter(id__gt=after).order_by("id").values_list(*columns)[:BATCH]):
        check()
        if not execute and purged.found >= PLANNED:
            purged.more = True
            break
        after = page[-1][0]
        purged.found += len(page)
        status = target_open_rows.statuses_of_unfinished(
            {row for _, _, _, _, _, *rows in page for row in rows if row is not None}
        )
        mine = undelivered.filter(pk__in=[row[0] for row in page])
        wait = set() if failed_too else set(mine.values_list("pk", flat=True))
        free = []
        for pk, authority, move, legacy_leg, target_leg, *rows in page:
            reason = _needed(authority, move, legacy_leg, target_leg, {status.get(row) for row in rows}, failed_too)
            if not reason and pk in wait:
                reason = "undelivered"
            if reason:
                purged.kept[reason] += 1
            else:
                free.append(pk)
        if not execute:
            purged.dropped += len(free)
            continue
        with counted(free):
            purged.dropped += _drop(due.filter(pk__in=free))
    return purged


def _needed(
    authority: str, move: str, legacy_leg: str, target_leg: str, statuses: set[str | None], failed_too: bool
) -> str:
    """Return why the residue of an entry is needed; empty where it is not."""
    if move not in _AT_REST:
        return "on_its_way"
    if (target_leg if authority == Authority.LEGACY else legacy_leg) in (Leg.MISSING, Leg.FAILED):
        return "copy_owed"
    unfinished = statuses - {None}
    if unfinished == {"failed"}:
        return "" if failed_too else "failed_on_target"
    return "unfinished_on_target" if unfinished else ""


def _drop(entries: QuerySet[LedgerEntry]) -> int:
    """Drop the residue in one statement that checks the moves again: a handoff may have begun since."""
    entries = entries.filter(move__in=_AT_REST)
    residue = {"raw_header": "", "grader_payload": None, "student_info": "", "extra_body": ""}
    return entries.update(**residue, learner_correct=None, learner_score=None, purged_at=now())


def ledger_size() -> LedgerResidue:
    """Return the number of entries, of those that hold residue, and since when the oldest of these is settled."""
    sizes = counts.sizes().values()
    entries, dropped = sum(size.entries for size in sizes), sum(size.dropped for size in sizes)
    residue = LedgerEntry.objects.filter(purged_at=None, settled_at__isnull=False)
    oldest = residue.order_by("settled_at").values_list("settled_at", flat=True).first()
    return {
        "entries": entries,
        "with_residue": entries - dropped,
        "oldest_settled_at": oldest.isoformat() if oldest else None,
    }


def prune_runs(before: datetime) -> int:
    """
    Remove the records of routine runs that ended before a moment, and return how many.

    Of each kind and scope the newest ``RUNS_KEPT`` stay, and the newest complete one; so does a run that a permit rests
    on.
    """
    removed = 0
    runs = Run.objects.filter(kind__in=_ROUTINE)
    for row in runs.values("kind", "scope").annotate(complete=Max("id", filter=Q(complete=True))):
        same = Run.objects.filter(kind=row["kind"], scope=row["scope"])
        last_kept = same.order_by("-id").values_list("id", flat=True)[RUNS_KEPT - 1 : RUNS_KEPT].first()
        if last_kept is None:
            continue
        kept = [row["complete"], *CoursePhase.objects.exclude(permit_run=None).values_list("permit_run", flat=True)]
        old = same.filter(id__lt=last_kept, finished_at__lt=before).exclude(pk__in=[pk for pk in kept if pk])
        removed += old.delete()[0]
    return removed
