"""
Echo grading: legacy's stored reply is stored on the copy through the same path as a grader's put_result.

It is for courses whose graders cannot run twice, and for imported history. It proves the target's pipeline, not the
grader, so the ledger and every report mark it.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..conf import ShimSettings
from ..core.data import Authority, Leg, LegacyRow, State
from ..models import LedgerEntry
from ..target import leases, results
from .entries import Entry


def feed(entries: Iterable[Entry], rows: dict[int, tuple[State, LegacyRow]], settings: ShimSettings) -> int:
    """
    Give each ungraded copy legacy's reply, where legacy has one, and return how many copies got one.

    Args:
        entries: ledger entries with a shadow on the target.
        rows: legacy's state and row, by legacy id.
        settings: the settings in force.
    """
    fed = 0
    for entry in entries:
        state, row = rows.get(entry.legacy_id or 0, (State.MISSING, None))
        if row is None or state is not State.GRADED or entry.target_leg != Leg.STORED:
            continue
        if entry.authority != Authority.LEGACY:
            continue  # its target row is the learner's own, and its grade is a grader's to give
        key = leases.lease_one(entry.target_submission_id or 0, settings)
        if key is None:
            continue
        # Not settled any more: if the process dies before the result is stored, the next echo looks here again.
        LedgerEntry.objects.filter(pk=entry.id).update(echo=True, settled_at=None, seen="")
        entry.echo, entry.lease_key = True, key  # what the database has by now
        reply = results.Result(submission_id=entry.target_submission_id or 0, key=key, reply=row.grader_reply)
        results.store(reply, settings)
        fed += 1
    return fed
