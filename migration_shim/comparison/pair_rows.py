"""
The pairs that a short path may judge, as both databases have them: each row is read once.

Two statements read a batch, one on each server. The servers check the columns: ``OF_ENTRY`` here,
``legacy.fingerprints.PLAIN`` there. What is left to check of the texts is for ``core/plain_pair.py``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection

from ..core.data import Authority, Leg, Move, Origin
from ..core.plain_pair import Pair
from ..db import bulk, fingerprint
from ..legacy import fingerprints as legacy_fingerprints
from ..models import LedgerEntry
from ..target.fingerprints import CROWD, DUPLICATES, HAS_FILES, digest, joins
from .candidates import DEPENDS_ON

_TABLE = LedgerEntry._meta.db_table
#: How many duplicates there are where the condition "no_twin" holds; to count them once more is a join for each row.
_NO_TWIN = "0"
#: What must hold of an entry ``l`` and its target row, by name: each by itself, so that a test can leave one out.
OF_ENTRY: dict[str, str] = {
    "on_both": f"l.legacy_leg = '{Leg.STORED}' AND l.target_leg = '{Leg.STORED}'",
    "legacys": f"l.authority = '{Authority.LEGACY}'",
    "not_moved": f"l.move = '{Move.NONE}'",
    "not_superseded": "l.superseded_at IS NULL",
    "not_on_both_for_real": "NOT l.double_authority",
    "to_be_compared": "(NOT l.history OR l.echo)",
    "not_refused": "l.legacy_reason = ''",
    "nothing_on_record": "l.divergences = ''",
    "no_key_of_its_own": "l.extra_body = ''",
    "graded": "d.status = 'retired' AND d.grader_reply IS NOT NULL",
    "no_twin": f"{DUPLICATES} = {_NO_TWIN}",
    "no_files": f"NOT {HAS_FILES}",
    "in_order": "(l.input_key = '' OR CASE WHEN"
    f" (SELECT o.id FROM {_TABLE} o WHERE o.input_key = l.input_key LIMIT 1 OFFSET {CROWD}) IS NULL"
    f" THEN l.leased_at IS NULL OR NOT EXISTS (SELECT 1 FROM {_TABLE} o"
    # Told by the index, that most inputs have no other attempt.
    " WHERE o.input_key = l.input_key AND o.id <> l.id"
    " AND o.arrived_at > l.arrived_at AND o.leased_at < l.leased_at) ELSE 0 END)",
}
#: Whether the learner of an entry ``l`` is to be asked and never was, and whether there is no newer attempt. The
#: condition "in_order" has left crowds out.
_TO_ASK = "NOT l.history AND l.learner_said = '' AND l.learner_settled_at IS NULL"
_NEWEST = (
    f"NOT EXISTS (SELECT 1 FROM {_TABLE} o WHERE o.input_key = l.input_key AND o.id <> l.id AND o.input_key <> ''"
    " AND (o.arrived_at > l.arrived_at OR (o.arrived_at = l.arrived_at AND o.id > l.id)))"
)
#: Columns of an entry that must be under its lock what they were when it was read.
AS_READ = (*DEPENDS_ON, "divergences")
_LEGACY_ID = AS_READ.index("legacy_id")
_OF_PAIR = (
    "l.queue_name, l.learner, l.item_id, l.lease_key, "
    f"l.origin = '{Origin.ROUTER}' AND NOT l.echo, "
    "l.raw_header, l.grader_payload, l.student_info, i.student_id, i.course_id, i.item_id, d.queue_name, d.queue_key,"
    f" d.pullkey, d.grader_reply, d.points_possible, p.points_earned"
)

#: A copy that was written later has legacy's time of arrival, but no grader could have it before it was written.
_BEGAN = "CASE WHEN l.copied_at > d.created_at THEN l.copied_at ELSE d.created_at END"


class EntryRow(NamedTuple):
    """An entry with its target row, as the database returns them."""

    depends_on: tuple[Any, ...]
    digest: str
    graded_at: str
    payload_compared_at: str
    ended: int
    to_ask: int
    arrived_at: str
    newest: int
    of_pair: tuple[Any, ...]

    @property
    def legacy_id(self) -> int:
        return self.depends_on[_LEGACY_ID]


def read_pairs(
    ids: Sequence[int],
    moment: datetime,
    ended_before: datetime,
    of_entry: Mapping[str, str] = OF_ENTRY,
    of_legacy: Mapping[str, str] = legacy_fingerprints.PLAIN,
    *,
    asks_learners: bool = True,
) -> Iterator[tuple[Pair, EntryRow, str, bool]]:
    """
    Yield the pairs whose columns meet all conditions. Two statements, one on each server.

    Args:
        ids: the entries.
        moment: when a payload was compared that no comparison has seen before.
        ended_before: what a side is asked for: whether it had ended by then.
        of_entry: the conditions of entry and target row.
        of_legacy: those of legacy's row.
        asks_learners: whether to read what tells if learners are to be asked. Nothing but the condition "in_order"
            keeps a crowd of attempts from being held against itself there.

    Yields:
        The pair, its entry with the target row, the digest of legacy's row, and whether legacy had ended by then.
    """
    entries = _read(ids, moment, ended_before, of_entry, asks_learners=asks_learners)
    rows = legacy_fingerprints.plain_rows((row.legacy_id for row in entries.values()), ended_before, of_legacy)
    for pk, row in entries.items():
        if (legacy := rows.get(row.legacy_id)) is not None:
            seen, header, body, reply, took, ended = legacy
            yield Pair._make((pk, *row.of_pair, header, body, reply, took)), row, seen, bool(ended)


def _read(
    ids: Sequence[int],
    moment: datetime,
    ended_before: datetime,
    conditions: Mapping[str, str],
    *,
    asks_learners: bool,
) -> dict[int, EntryRow]:
    """Return by id the entries whose columns meet all conditions, with their target rows."""
    if not ids:
        return {}
    took = fingerprint.microseconds(connection, _BEGAN, "d.status_time")
    depends_on = ", ".join(f"l.{name}" for name in AS_READ)
    at = connection.ops.adapt_datetimefield_value
    # As text: what is only passed on needs no conversion.
    asked = f"{_TO_ASK}, CAST(l.arrived_at AS CHAR), {_NEWEST}" if asks_learners else "0, '', 0"
    times = "CAST(d.status_time AS CHAR), COALESCE(CAST(l.payload_compared_at AS CHAR), %s)"
    with connection.cursor() as cursor:
        cursor.execute(
            f"{fingerprint.uncached(connection)}"
            f"SELECT l.id, {depends_on}, {fingerprint.known(digest(_NO_TWIN))}, {times}, d.status_time < %s,"
            f" {asked}, {_OF_PAIR}, {took}, s.raw_answer"
            f" FROM {_TABLE} l {joins()} WHERE l.id IN ({bulk.numbers(ids)}) AND l.legacy_id IS NOT NULL"
            f" AND {' AND '.join(conditions.values())} ORDER BY l.id",
            [str(at(moment)), at(ended_before)],
        )
        rows = cursor.fetchall()
    end = 1 + len(AS_READ)
    pair = end + len(EntryRow._fields) - 2  # without the first field and the last, which hold several columns
    several = {pk for pk, times in Counter(row[0] for row in rows).items() if times > 1}
    return {row[0]: EntryRow._make((row[1:end], *row[end:pair], row[pair:])) for row in rows if row[0] not in several}
