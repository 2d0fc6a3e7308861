"""
The way back of one submission from the target to legacy, in three commits.

First the target row is fenced and its ledger entry becomes ``returning``. Then, under the lock of that entry, legacy's
row is revived or inserted and the entry becomes ``returned``. The ledger's statement comes before legacy's commit, so
that a session that has lost its lock commits nothing on legacy. Legacy commits before the ledger: if a run is cut off
between the two commits, the next one finds legacy's row by its header and body.
"""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.utils.timezone import now

from ...conf import ShimSettings
from ...core.classification import Decision
from ...core.data import Authority, Leg, Move, PairStatus, RowClass, State
from ...core.moves import may_follow
from ...db.retry import on_contention
from ...ledger import moves
from ...ledger.buckets import counted
from ...ledger.entries import REFUSED
from ...legacy import give_back as legacy_give_back
from ...legacy import writes
from ...legacy.files import Source
from ...legacy.give_back import WayBack
from ...models import LedgerEntry
from ...target import outcomes, transitions
from ...target.open_rows import RealRow
from ...target.transitions import FenceResult
from .plan import SUPERSEDED, ReturnPlan, is_replaced, plan_of

_CHANGED = Decision(row_class=RowClass.DRAIN, reason="changed_meanwhile")
#: Moves of a row that the target's graders have. A held row must be finished by the handoff first.
_MOVABLE = tuple(move for move in Move if may_follow(move, Move.RETURNING))


def _stays(row: RealRow, entry: LedgerEntry) -> str | None:
    """Return why a row has to stay on the target for now; None where it can go back."""
    if entry.move not in _MOVABLE:
        return f"handoff_{entry.move}"
    if entry.authority != Authority.TARGET or entry.target_submission_id != row.submission_id:
        return "not_authoritative"  # an unfenced row besides the submission's own one, which a reconcile reports
    if not entry.raw_header:
        return "no_residue"
    return "under_live_lease" if row.leased else None


def give_back(
    row: RealRow, entry: LedgerEntry | None, settings: ShimSettings, source: Source, *, execute: bool
) -> Decision:
    """
    Take one in-flight row back to legacy, as far as it goes, and return what became of it.

    Args:
        row: the target's row.
        entry: its ledger entry, if it has one.
        settings: the settings in force.
        source: where legacy's files are.
        execute: do it; without it only return what would be done.

    Raises:
        DatabaseError: a database refused it. A row that is fenced by then is finished by the next run.
    """
    if entry is None:
        return Decision(row_class=RowClass.DRAIN, reason="no_ledger_entry")
    if (reason := _stays(row, entry)) is not None:
        return Decision(row_class=RowClass.DRAIN, reason=reason)
    if entry.superseded_at is not None:
        plan = ReturnPlan(decision=SUPERSEDED)
    else:
        plan = plan_of(entry, row.submission_id, source, store=execute)
    if not execute or plan.decision.row_class not in (RowClass.IMPORTED, RowClass.SUPERSEDED):
        return plan.decision
    to = None if plan.decision == SUPERSEDED else Move.RETURNING
    if to is None:
        values: dict[str, Any] = {"superseded_at": entry.superseded_at or now()}
    else:
        values = {"moved_at": now(), "real_submission_id": row.submission_id}
        # A body that CAPA did not write is made anew in CAPA's form: the new row must be found by its own digest.
        values |= {"identity": plan.identity} if plan.identity else {}
    kept = on_contention(lambda: _fence(row, entry, to, values, settings))
    if kept is not None:
        return kept
    return plan.decision if plan.decision == SUPERSEDED else on_contention(lambda: _write(entry.pk, plan))


def _fence(
    row: RealRow, entry: LedgerEntry, to: Move | None, values: dict[str, Any], settings: ShimSettings
) -> Decision | None:
    """Make the first commit: the target row's fence, and the ledger's note of it. Return why it failed, or None."""
    with transaction.atomic():
        # The target row before its entry, as graders' sessions lock them.
        fenced = transitions.fence(row.submission_id, settings.lease_seconds)
        if fenced is not FenceResult.FENCED:
            return Decision(row_class=RowClass.DRAIN, reason=fenced)
        same = LedgerEntry.objects.filter(target_submission_id=row.submission_id)
        if to is None:
            written = same.filter(pk=entry.pk, move=entry.move).update(**values) > 0
        else:
            written = moves.compare_and_set(entry, to, same, **values)
        if not written:
            transaction.set_rollback(True)
            return _CHANGED
    return None


def finish(pk: int, source: Source, *, execute: bool) -> Decision:
    """
    Finish an entry that an earlier run has fenced but not written to legacy, and return what became of it.

    Args:
        pk: the id of the ledger entry.
        source: where legacy's files are.
        execute: do it; without it only return what would be done.

    Raises:
        DatabaseError: a database refused it; the next run finishes it.
    """
    entry = LedgerEntry.objects.get(pk=pk)
    plan = plan_of(entry, entry.real_submission_id or 0, source, store=execute)
    if not execute or plan.item is None:
        return plan.decision
    return on_contention(lambda: _write(pk, plan))


def _write(pk: int, plan: ReturnPlan) -> Decision:
    """Make the second and third commit, legacy's first. Of two returns at once the second finds nothing to do."""
    item = plan.item
    assert item is not None
    with transaction.atomic():
        entry = LedgerEntry.objects.select_for_update().get(pk=pk)
        if entry.move != Move.RETURNING:
            return Decision(row_class=RowClass.PRESENT, reason="returned_by_another_run")
        with legacy_give_back.writing():
            family = legacy_give_back.siblings(item)
            row = legacy_give_back.own_row(item, family)
            way = legacy_give_back.way_back(item, row)
            if is_replaced(entry, item, family):
                # THERE: a run was cut off after legacy's commit, and legacy's graders have had the row.
                if row is not None and way is WayBack.THERE:
                    writes.retire([row.id])
                    _returned(entry, row.id)
                _supersede(entry)
                return SUPERSEDED
            if row is None:
                if plan.columns is None:
                    return _CHANGED  # legacy's row has just been removed; the next run stores its files
                row_id = legacy_give_back.insert(item, *plan.columns)
            elif way is WayBack.REVIVED and not writes.revive(row.id, item.mark):
                return _CHANGED
            else:
                row_id = row.id
            _returned(entry, row_id)
    if way is not WayBack.THERE and is_replaced(entry, item, legacy_give_back.siblings(item)):
        # A live submit came between the check and the commit, when XQueue had nothing to retire yet.
        writes.retire([row_id])
        _supersede(entry)
        return SUPERSEDED
    return Decision(row_class=RowClass.IMPORTED, reason=way)


def _supersede(entry: LedgerEntry) -> None:
    """End a return whose submission a newer attempt has replaced. A row that is back on legacy keeps its move."""
    entry.superseded_at = now()
    columns = ["superseded_at"]
    if entry.move == Move.RETURNING:  # read under the entry's lock, which is still held
        moves.assign(entry, Move.NONE)
        columns.append("move")
    entry.save(update_fields=columns)


def _returned(entry: LedgerEntry, row_id: int) -> None:
    """
    Record on the entry that legacy's graders have the row again.

    A shadow that a handoff set aside becomes its copy again, unless it was retired since.
    """
    shadow = entry.shadow_submission_id
    side = outcomes.sides([shadow]).get(shadow) if shadow is not None else None
    kept = side is not None and side.outcome.state is not State.SUPERSEDED
    values = {
        "moved_at": now(),
        "authority": Authority.LEGACY,
        "legacy_leg": Leg.STORED,
        "legacy_reason": entry.legacy_reason if entry.legacy_reason == REFUSED else "",  # its sender was told so
        "legacy_id": row_id,
        "copy_due": None,
        "target_leg": Leg.STORED if kept else Leg.NONE,
        "target_reason": "" if kept else "returned",
        "target_submission_id": shadow if kept else None,
        "lease_key": entry.shadow_lease_key if kept else "",
        "leased_at": None,
        "shadow_submission_id": None,
        "shadow_lease_key": "",
        # The earlier comparison was of another pair.
        "result": PairStatus.NONE,
        "divergences": "",
        "known": "",
        "graded_pair": False,
        "seen": "",
        "settled_at": None,
        "payload_compared_at": None,
        "learner_said": "",
        "learner_settled_at": None,
    }
    for name, value in values.items():
        setattr(entry, name, value)
    moves.assign(entry, Move.RETURNED)
    with counted([entry.pk]):  # here and not at the end: no statement of ours may come after legacy's commit
        entry.save(update_fields=["move", *values])
