"""
The short path of pairs that a newer attempt of the learner has replaced on both sides before they were graded.

They are read, judged and stored as plainly equal ones are (``equal_pairs``), and after those. Such a result may follow
from a neighbour's row, so it is looked at again until it is settled. It settles by the time of its last change: so
nothing is written where nothing has changed.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from django.db import transaction
from django.utils.timezone import now

from ..core import plain_pair
from ..core.buckets import replaced_facts, replaced_flags
from ..core.data import PairStatus, State
from ..db import bulk, bulk_update
from ..db.retry import on_contention
from ..ledger import buckets, hosts
from ..legacy import fingerprints as legacy_fingerprints
from ..models import LedgerEntry
from . import pair_rows
from .candidates import Fingerprints, Rules
from .equal_pairs import COUNTED, NEWS, PlainResult, add_alike, day_of
from .pair_rows import AS_READ
from .pairs import ComparisonContext

#: What must hold of an entry ``l`` and its target row, by name: each by itself, so that a test can leave one out. The
#: order in which attempts were handed out does not matter once one of them is superseded.
OF_ENTRY: dict[str, str] = {
    name: condition
    for name, condition in pair_rows.OF_ENTRY.items()
    if name not in ("not_superseded", "graded", "in_order")
} | {
    "superseded": "l.superseded_at IS NOT NULL",
    "retired": "d.status = 'retired'",
    "ungraded": "d.grader_reply IS NULL",
}
#: What is written of all of them, and of each.
_SAME: dict[str, Any] = {
    "result": PairStatus.EQUAL.value,
    "known": "",
    "graded_pair": False,
    "legacy_state": State.SUPERSEDED.value,
    "legacy_correct": None,
    "legacy_score": None,
    "legacy_seconds": None,
    "target_state": State.SUPERSEDED.value,
    "target_correct": None,
    "target_score": None,
    "target_seconds": None,
    "target_graded_at": None,
}
_COLUMNS = ("payload_compared_at", *Fingerprints._fields)
_SAME_COUNTED = {name: value for name, value in _SAME.items() if name in buckets.COLUMNS}


def store(ids: Sequence[int], context: ComparisonContext, rules: Rules) -> list[int]:
    """
    Store the results of the entries that were plainly replaced on both sides; return the ids of all others, in order.

    An entry that another session has changed since it was read is among the others.
    """
    moment, known = now(), hosts.known()
    equal: dict[int, PlainResult] = {}
    found = pair_rows.read_pairs(ids, moment, moment, OF_ENTRY, legacy_fingerprints.REPLACED, asks_learners=False)
    for pair, row, seen, _ in found:
        of_copies = context.copies_queues.are_for(pair.queue_name, pair.target_queue_name)
        if of_copies and plain_pair.is_replaced(pair, known):
            stored_with = Fingerprints(rules.of_queue(pair.queue_name), seen, row.digest)
            equal[pair.entry_id] = PlainResult(row.depends_on, (row.payload_compared_at, *stored_with))
    done = on_contention(functools.partial(_write, equal, moment)) if equal else set()
    return [pk for pk in ids if pk not in done]


def _write(batch: dict[int, PlainResult], moment: datetime) -> set[int]:
    """Store the results that have changed; return the ids of all entries that are as they were read."""
    end = 1 + len(AS_READ)
    changes = buckets.Changes()
    with transaction.atomic():
        columns = ("id", *AS_READ, *COUNTED, *_SAME, *_COLUMNS)
        locked = bulk.select(LedgerEntry, columns, lock=True, id=list(batch))
        same = {row[0]: row[end:] for row in locked if row[1:end] == batch[row[0]].depends_on}
        there = {pk: row[: len(COUNTED)] for pk, row in same.items() if not _stands(row, batch[pk].columns)}
        ids = _count({pk: row[NEWS:] for pk, row in there.items() if not any(row[:NEWS])}, changes)
        if others := [pk for pk in there if pk not in ids]:
            for pk, old in buckets.counted_entries(others).items():
                compared_at = datetime.fromisoformat(batch[pk].columns[0]).replace(tzinfo=UTC)
                ids[pk] = changes.move(old, old.row._replace(**_SAME_COUNTED, payload_compared_at=compared_at))
        rows = {pk: (*batch[pk].columns, ids[pk]) for pk in there}
        of_all = {"compared_at": moment, "settled_at": None, "room": "", **_SAME}
        bulk_update.update(LedgerEntry, (*_COLUMNS, "bucket_id"), rows, **of_all)
        changes.write()
    return set(same)


def _stands(row: tuple[Any, ...], columns: tuple[str, ...]) -> bool:
    """Tell whether an entry is counted and holds these values already; the time of payload comparison is kept."""
    bucket_id, stored = row[0], row[len(COUNTED) :]
    compared_at, *seen = stored[len(_SAME) :]
    same = stored[: len(_SAME)] == tuple(_SAME.values()) and seen == [*columns[1:]]
    return same and bucket_id is not None and compared_at is not None


def _count(rows: dict[int, tuple[Any, ...]], changes: buckets.Changes) -> dict[int, int]:
    """Count entries that were never counted, and return the bucket of each by its id."""
    alike: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for pk, (course_id, queue_name, item_id, arrived_at, history, leases, echo, _) in rows.items():
        flags = replaced_flags(echo=echo, history=history, leased=leases)
        alike[course_id, queue_name, item_id, day_of(arrived_at), flags].append(pk)
    return add_alike(alike, replaced_facts, changes)
